/* grivet doctor: is this host fit for an agent? It looks and changes nothing. */
#include <errno.h>
#include <linux/magic.h>
#include <netlink/msg.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "agent/lifeline.h"
#include "common/record.h"
#include "common/roots.h"
#include "faults/fault.h"
#include "faults/kernel/forwarding.h"
#include "faults/kernel/nft.h"
#include "local.h"

#define ROOTS_PATH "/etc/grivet/roots.json"
#define WORDS_MAX  512

enum level { LEVEL_OK, LEVEL_WARN, LEVEL_FAIL };

static const char *const level_names[] = {"ok", "warn", "fail"};

static enum level say(char words[WORDS_MAX], enum level level, const char *format, ...) _printf_(3, 4);

static enum level say(char words[WORDS_MAX], enum level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(words, WORDS_MAX, format, arguments);
    va_end(arguments);
    return level;
}

static enum level check_root(char words[WORDS_MAX])
{
    return geteuid() == 0 ? say(words, LEVEL_OK, "we are root")
                          : say(words, LEVEL_WARN, "not root: some of this can't be seen; use sudo");
}

static enum level check_kernel(char words[WORDS_MAX])
{
    struct utsname name;
    int major = 0, minor = 0;

    uname(&name);
    sscanf(name.release, "%d.%d", &major, &minor);
    if (major * 1000 + minor < 5012)
        return say(words, LEVEL_FAIL, "%s: network faults need 5.12 (tables that die with their owner)",
                   name.release);
    if (major * 1000 + minor < 5016)
        return say(words, LEVEL_WARN, "%s: below 5.16, UDP senders notice a block (EPERM)", name.release);
    return say(words, LEVEL_OK, "%s", name.release);
}

static enum level check_clock(char words[WORDS_MAX])
{
    _cleanup_(policy_freep) struct policy *policy = NULL;

    if (time_is_synchronised() > 0)
        return say(words, LEVEL_OK, "synchronised");
    if (policy_load(&policy, POLICY_PATH, NULL) == 0 && !policy->requires_synchronised_clock)
        return say(words, LEVEL_WARN, "not synchronised, and the policy does not want it to be");
    return say(words, LEVEL_FAIL,
               "not synchronised: orders will be refused; start chrony or systemd-timesyncd");
}

static enum level check_cgroups(char words[WORDS_MAX])
{
    struct statfs fs;

    if (statfs("/sys/fs/cgroup", &fs) == 0 && fs.f_type == CGROUP2_SUPER_MAGIC)
        return say(words, LEVEL_OK, "unified (v2)");
    return say(words, LEVEL_WARN, "not unified v2: faults on cgroups are not available here");
}

static bool has_device(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), "/sys/class/net/%s", name);
    return access(path, F_OK) == 0;
}

static const char *forwarded_families(void)
{
    bool is_4 = forwarding_is_on(AF_INET), is_6 = forwarding_is_on(AF_INET6);

    return is_4 && is_6 ? "IPv4 and IPv6 are" : is_4 ? "IPv4 is" : is_6 ? "IPv6 is" : NULL;
}

static enum level check_containers(char words[WORDS_MAX])
{
    static const char *const bridges[] = {"docker0", "cni0", "podman0", "virbr0"};
    const char *forwarded = forwarded_families();
    const char *bridge = NULL;

    if (has_device("cilium_host"))
        return say(words, LEVEL_WARN,
                   "cilium_host: its eBPF data path may bypass netfilter, and with it network faults");
    for (size_t i = 0; i < ARRAY_SIZE(bridges) && !bridge; i++)
        bridge = has_device(bridges[i]) ? bridges[i] : NULL;
    if (!forwarded)
        return say(words, bridge ? LEVEL_WARN : LEVEL_OK,
                   "%s%snothing is forwarded here: scope: containers reaches nothing, and is refused",
                   bridge ? bridge : "", bridge ? ": " : "");
    return say(words, LEVEL_OK, "%s%s%s forwarded here, and reached by scope: containers or all",
               bridge ? bridge : "", bridge ? ": " : "", forwarded);
}

static enum level check_policy(char words[WORDS_MAX])
{
    _cleanup_(policy_freep) struct policy *policy = NULL;
    struct error error;

    if (access(POLICY_PATH, F_OK) < 0)
        return say(words, LEVEL_WARN, "%s: not there yet; grivet join writes it", POLICY_PATH);
    if (policy_load(&policy, POLICY_PATH, &error) < 0)
        return say(words, LEVEL_FAIL, "%s", error.text);
    return say(words, LEVEL_OK, "host %s in environment %s", policy->host, policy->environment);
}

/* When faults may be under way here, and the next time in which one of a second could be. */
static enum level check_windows(char words[WORDS_MAX])
{
    _cleanup_(policy_freep) struct policy *policy = NULL;
    int64_t now_usec = time_now_usec(), next_usec;
    char list[256], text[TIME_TEXT_MAX];
    size_t length = 0;

    if (policy_load(&policy, POLICY_PATH, NULL) < 0)
        return say(words, LEVEL_WARN, "not known without a policy");
    for (const struct policy_class *class = policy->classes;
         class < policy->classes + policy->n_classes && length < WORDS_MAX; class ++) {
        if (!class->windows.count)
            continue;
        next_usec = windows_next(&class->windows, now_usec, USEC_PER_SEC);
        length += (size_t)snprintf(words + length, WORDS_MAX - length, "%s%s: %s, %s%s", length ? "; " : "",
                                   class->name,
                                   windows_describe(&class->windows, policy->time_zone, list, sizeof(list)),
                                   next_usec == now_usec ? "open now" : "opens at ",
                                   next_usec == now_usec ? "" : time_format(next_usec, text));
    }
    return length ? LEVEL_OK : say(words, LEVEL_OK, "none: at any time");
}

/* What no fault cuts off. */
static enum level check_lifeline(char words[WORDS_MAX])
{
    _cleanup_(policy_freep) struct policy *policy = NULL;
    const struct lifeline_reported reported = {0};
    const char *gaps[LIFELINE_GAPS_MAX];
    struct lifeline lifeline;
    size_t n_gaps;

    if (policy_load(&policy, POLICY_PATH, NULL) < 0)
        return say(words, LEVEL_WARN, "not known without a policy");
    lifeline_make(&lifeline, policy, 0, &reported, "");
    n_gaps = lifeline_gaps(&lifeline, gaps);
    if (n_gaps)
        return say(words, LEVEL_WARN, "%s%s%s", gaps[0], n_gaps > 1 ? "; " : "", n_gaps > 1 ? gaps[1] : "");
    return say(words, LEVEL_OK, "%zu name servers, time servers and SSH stay within reach",
               lifeline.n_resolvers);
}

static enum level check_roots(char words[WORDS_MAX])
{
    _cleanup_(roots_freep) struct roots *roots = NULL;
    char until[TIME_TEXT_MAX];
    struct error error;

    if (access(ROOTS_PATH, F_OK) < 0)
        return say(words, LEVEL_WARN, "%s: not there yet; grivet join writes it", ROOTS_PATH);
    if (roots_load(&roots, ROOTS_PATH, &error) < 0)
        return say(words, LEVEL_FAIL, "%s", error.text);
    if (roots->expires_usec <= time_now_usec())
        return say(words, LEVEL_FAIL, "%s: expired; nobody is believed any more, except who halts",
                   ROOTS_PATH);
    return say(words, LEVEL_OK, "%zu keys, good until %s", roots->n_keys,
               time_format(roots->expires_usec, until));
}

static enum level check_users(char words[WORDS_MAX])
{
    static const char *const users[] = {"grivet-courier", "grivet-prober", "grivet-holder"};

    for (size_t i = 0; i < ARRAY_SIZE(users); i++)
        if (!getpwnam(users[i]))
            return say(words, LEVEL_WARN, "no user %s: systemd-sysusers makes it on installation", users[i]);
    return say(words, LEVEL_OK, "courier, prober and holders have their own");
}

static enum level check_executor(char words[WORDS_MAX])
{
    struct error error;
    _cleanup_close_ int fd = channel_connect(EXECUTOR_SOCKET, &error);

    if (fd < 0)
        return say(words, LEVEL_WARN, "not running (%s)", error.text);
    if (access("/run/grivet/halt", F_OK) == 0)
        return say(words, LEVEL_WARN, "/run/grivet/halt is there: nothing is accepted until it is removed");
    return say(words, LEVEL_OK, "listens at " EXECUTOR_SOCKET);
}

/* Asks the kernel about each mechanism, an nft table with OWNER included, where that is possible without a
 * trace. */
static enum level check_fault(const struct fault *fault, char words[WORDS_MAX])
{
    struct error error = {.text = "not supported"};

    if (fault->supported && fault->supported(NULL, &error) < 0)
        return say(words, LEVEL_WARN, "%s", error.text);
    return say(words, LEVEL_OK, "can be done here");
}

struct tables {
    size_t ours, others;
};

static int count_table(const struct nlmsghdr *message, void *context)
{
    const struct nlattr *name =
        nlmsg_find_attr((struct nlmsghdr *)message, sizeof(struct nfgenmsg), NFTA_TABLE_NAME);
    struct tables *tables = context;

    if (name && strncmp(nla_get_string(name), UNDO_NAME_PREFIX, strlen(UNDO_NAME_PREFIX)) == 0)
        tables->ours++;
    else
        tables->others++;
    return 0;
}

static enum level check_rules(char words[WORDS_MAX])
{
    struct tables tables = {0};
    struct error error;
    _cleanup_close_ int fd = nft_open(&error);

    if (fd < 0 || nft_read(fd, NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_UNSPEC, NULL, NULL, count_table, &tables,
                           &error) < 0)
        return say(words, LEVEL_WARN, "can't be read: %s", error.text);
    if (tables.ours)
        return say(words, LEVEL_WARN, "%zu tables of ours: a fault is active, or grivet-sweep has work",
                   tables.ours);
    return say(words, LEVEL_OK, "%zu nftables tables of others, which stay as they are", tables.others);
}

static const struct {
    const char *name;
    enum level (*check)(char words[WORDS_MAX]);
} checks[] = {
    {"privileges", check_root},   {"kernel", check_kernel}, {"clock", check_clock},
    {"cgroups", check_cgroups},   {"rules", check_rules},   {"containers", check_containers},
    {"users", check_users},       {"policy", check_policy}, {"windows", check_windows},
    {"lifeline", check_lifeline}, {"roots", check_roots},   {"executor", check_executor},
};

/* Return: whether it failed. */
static bool add_line(json_t *lines, const char *name, enum level level, const char *words)
{
    json_array_append_new(
        lines, json_pack("{s:s, s:s, s:s}", "check", name, "level", level_names[level], "text", words));
    return level == LEVEL_FAIL;
}

int command_doctor(const struct call *call, struct error *error)
{
    static const struct column columns[] = {
        {"LEVEL", "level"}, {"CHECK", "check"}, {"WHAT WAS FOUND", "text"}, {}};
    json_auto_t *lines = json_array();
    char words[WORDS_MAX];
    bool has_failed = false;

    for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
        has_failed |= add_line(lines, checks[i].name, checks[i].check(words), words);
    for (const struct fault *const *fault = fault_registry; *fault; fault++)
        has_failed |= add_line(lines, (*fault)->name, check_fault(*fault, words), words);
    if (call->is_json)
        output_json(lines);
    else
        output_table(NULL, columns, lines, NULL);
    return has_failed ? EXIT_ERROR : EXIT_MET;
}
