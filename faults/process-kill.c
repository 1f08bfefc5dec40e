/* process.kill: processes of a service die, by a signal. There is nothing to undo: what restarts them is the
 * point. */
#include <errno.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>

#include "common/passwd.h"
#include "fault.h"
#include "kernel/listener.h"
#include "kernel/victims.h"

#define SUMMARY_LIST 8

enum pick {
    PICK_ONE,
    PICK_N,
    PICK_ALL,
    PICK_PERCENT,
};

static const char *const picks[] = {"one", "n", "all", "percent", NULL};
static const char *const signals[] = {"KILL", "TERM", "INT", "HUP", NULL};
static const int signal_numbers[] = {SIGKILL, SIGTERM, SIGINT, SIGHUP};

struct kill_parameters {
    const char *exe, *cmdline, *cgroup, *unit;
    struct parameter_user user;
    int pick, signal;
    int64_t port, count, percent;
};

static const struct fault_parameter kill_table[] = {
    {"exe", PARAMETER_STRING, NULL, 1, 255, NULL, true, NULL, "glob for the whole path of the program",
     offsetof(struct kill_parameters, exe)},
    {"cmdline", PARAMETER_REGEX, NULL, 1, 256, NULL, true, NULL,
     "extended regular expression for the command line", offsetof(struct kill_parameters, cmdline)},
    {"cgroup", PARAMETER_STRING, NULL, 1, 255, NULL, true, NULL,
     "end of the cgroup's path, like nginx.service", offsetof(struct kill_parameters, cgroup)},
    {"unit", PARAMETER_STRING, NULL, 1, 255, NULL, true, NULL,
     "systemd's unit, whole, like nginx.service: the last part of the cgroup's path",
     offsetof(struct kill_parameters, unit)},
    {"user", PARAMETER_USER, NULL, 0, 0, NULL, true, NULL,
     "whose rights it has: a number, or a name that /etc/passwd has", offsetof(struct kill_parameters, user)},
    {"listens_on", PARAMETER_INTEGER, NULL, 1, UINT16_MAX, NULL, true, NULL,
     "TCP or UDP port that it has a socket open on (kernel 5.14)", offsetof(struct kill_parameters, port)},
    {"pick", PARAMETER_CHOICE, NULL, 0, 0, "one", false, picks,
     "how many of those that match, chosen at random", offsetof(struct kill_parameters, pick)},
    {"count", PARAMETER_INTEGER, "processes", 0, VICTIMS_MAX, "0", false, NULL, "how many with `pick: n`",
     offsetof(struct kill_parameters, count)},
    {"percent", PARAMETER_INTEGER, "%", 0, 100, "0", false, NULL,
     "how many with `pick: percent`: of those that match, rounded up",
     offsetof(struct kill_parameters, percent)},
    {"signal", PARAMETER_CHOICE, NULL, 0, 0, "KILL", false, signals, "how",
     offsetof(struct kill_parameters, signal)},
    {},
};

static int kill_check(const void *parameters, const struct mandate *mandate, struct error *error)
{
    const struct kill_parameters *own = parameters;

    if (!own->exe && !own->cmdline && !own->cgroup && !own->unit && !own->user.is_given && !own->port)
        return error_set(error, EINVAL, "process.kill needs exe, cmdline, cgroup, unit, user or listens_on");
    if (own->unit && own->cgroup)
        return error_set(error, EINVAL, "unit and cgroup name the same thing: give one of them");
    if (own->unit && (strchr(own->unit, '/') || !strchr(own->unit, '.')))
        return error_set(error, EINVAL, "unit: expected a unit's whole name, like nginx.service");
    if (own->exe && own->exe[0] != '/' && own->exe[0] != '*')
        return error_set(error, EINVAL, "exe is matched against the whole path: begin it with / or *");
    if ((own->pick == PICK_N) != (own->count > 0))
        return error_set(error, EINVAL, "count (1 to %d) belongs to `pick: n`, and only to it", VICTIMS_MAX);
    if ((own->pick == PICK_PERCENT) != (own->percent > 0))
        return error_set(error, EINVAL, "percent (1 to 100) belongs to `pick: percent`, and only to it");
    return 0;
}

static int find_user(const struct parameter_user *user, uid_t *ret, struct error *error)
{
    gid_t group;

    *ret = user->id;
    if (!user->name || passwd_find(user->name, ret, &group, error) == 0)
        return 0;
    return error_wrap(error, "user");
}

static int find_matches(const struct kill_parameters *parameters, const struct fault_host *host,
                        struct process_list *ret, struct error *error)
{
    uid_t user;
    struct process_query query = {.exe = parameters->exe,
                                  .cgroup = parameters->cgroup,
                                  .unit = parameters->unit,
                                  .user = parameters->user.is_given ? &user : NULL,
                                  .port = (uint16_t)parameters->port,
                                  .protected = host->protected_processes};
    regex_t regex;
    int r = find_user(&parameters->user, &user, error);

    if (r < 0)
        return r;
    if (parameters->cmdline && regcomp(&regex, parameters->cmdline, REG_EXTENDED | REG_NOSUB) != 0)
        return error_set(error, EINVAL, "cmdline is no regular expression");
    query.cmdline = parameters->cmdline ? &regex : NULL;
    r = process_find(&query, ret, error);
    if (parameters->cmdline)
        regfree(&regex);
    return r;
}

static size_t how_many(const struct kill_parameters *parameters, size_t matches)
{
    size_t wanted = parameters->pick == PICK_N ? (size_t)parameters->count : 1;

    if (parameters->pick == PICK_ALL)
        return matches;
    if (parameters->pick == PICK_PERCENT)
        return (matches * (size_t)parameters->percent + 99) / 100;
    return wanted < matches ? wanted : matches;
}

/* What only these two can't see. */
static int plan_limits(const struct kill_parameters *parameters, json_t *limits)
{
    int r = 0;

    if (parameters->port)
        r |= json_array_append_new(
            limits, json_string("listens_on: sockets in a container's own network are not seen"));
    if (parameters->port)
        r |= json_array_append_new(
            limits,
            json_sprintf("listens_on: of a process the %d lowest descriptors are seen", LISTENER_FDS_MAX));
    if (parameters->unit)
        r |= json_array_append_new(
            limits, json_string("unit: processes in cgroups of their own below the unit's are not meant"));
    return r;
}

static int plan_words(const struct kill_parameters *parameters, const struct process_list *list,
                      struct fault_plan *plan)
{
    int r = plan_limits(parameters, plan->limits);
    char exe[PROCESS_EXE_MAX];

    r |= json_array_append_new(
        plan->summary,
        list->n_unreadable
            ? json_sprintf("send SIG%s to processes that match; how many can't be told before it starts",
                           signals[parameters->signal])
            : json_sprintf("send SIG%s to %zu of %zu matching processes", signals[parameters->signal],
                           how_many(parameters, list->count), list->count));

    for (size_t i = 0; i < list->count && i < SUMMARY_LIST; i++)
        r |= json_array_append_new(plan->summary, json_sprintf("matches: %d %s", list->processes[i].pid,
                                                               process_exe_text(&list->processes[i], exe)));
    if (list->count > SUMMARY_LIST)
        r |= json_array_append_new(plan->summary,
                                   json_sprintf("matches: %zu more", list->count - SUMMARY_LIST));
    if (list->n_protected)
        r |= json_array_append_new(
            plan->limits, json_sprintf("%zu matching processes are protected and stay", list->n_protected));
    if (list->n_unreadable)
        r |= json_array_append_new(
            plan->limits,
            json_sprintf("%zu processes could not be looked at now (they will be, when it starts)",
                         list->n_unreadable));
    return r;
}

static int no_match(const struct process_list *list, struct error *error)
{
    return error_set(error, ESRCH, "no process matches (%zu that do are protected)", list->n_protected);
}

/* Those that match, and how many of them are meant: refused while nobody has been signalled. */
static int find_victims(const struct kill_parameters *parameters, const struct fault_host *host,
                        struct process_list *ret, size_t *ret_wanted, struct error *error)
{
    int r = find_matches(parameters, host, ret, error);

    if (r < 0)
        return r;
    *ret_wanted = how_many(parameters, ret->count);
    if (*ret_wanted > VICTIMS_MAX)
        return error_set(
            error, E2BIG,
            "%zu of %zu matching processes are meant, and at most %d can be killed at once: match "
            "fewer of them, or take fewer with `pick: n`",
            *ret_wanted, ret->count, VICTIMS_MAX);
    return 0;
}

static int kill_plan(const void *parameters, const struct mandate *mandate, const struct fault_host *host,
                     struct fault_plan *plan, struct error *error)
{
    _cleanup_(process_list_clear) struct process_list list = {0};
    size_t wanted;
    int r = find_victims(parameters, host, &list, &wanted, error);

    if (r < 0)
        return r;
    if (!list.count && !list.n_unreadable)
        return no_match(&list, error);
    plan->is_victim = true;
    return plan_words(parameters, &list, plan) < 0 ? error_oom(error) : 0;
}

/* Brings @wanted processes, chosen at random, to the front of the list. */
static void shuffle(struct process_list *list, size_t wanted)
{
    for (size_t i = 0; i < wanted && i + 1 < list->count; i++) {
        size_t k = i + randombytes_uniform(list->count - i);
        struct process other = list->processes[i];

        list->processes[i] = list->processes[k];
        list->processes[k] = other;
    }
}

static void kill_release(struct fault_run *run)
{
    run->state = victims_free(run->state);
}

/* A failure that keeps its state has signalled somebody. */
static int kill_inject(struct fault_run *run, struct error *error)
{
    const struct kill_parameters *parameters = run->parameters;
    _cleanup_(process_list_clear) struct process_list list = {0};
    struct victims *victims;
    size_t wanted;
    int r = find_victims(parameters, run->host, &list, &wanted, error);

    if (r < 0)
        return r;
    if (!list.count)
        return no_match(&list, error);
    victims = victims_new(wanted);
    if (!victims)
        return error_oom(error);
    run->state = victims;
    shuffle(&list, wanted);
    r = victims_signal(victims, &list, signal_numbers[parameters->signal], error);
    if (!victims->n_signalled)
        kill_release(run);
    return r;
}

static int kill_measure(struct fault_run *run, json_t *effect, struct error *error)
{
    size_t n_more;
    json_t *list = victims_list(run->state, &n_more);
    int r = json_object_set_new(effect, "processes", list);

    if (n_more)
        r |= json_object_set_new(effect, "more_processes", json_integer((json_int_t)n_more));
    return r < 0 ? error_oom(error) : 0;
}

static int kill_exercise(struct fault_run *run, json_t *effect, struct error *error)
{
    const struct victims *victims = run->state;
    size_t n_gone = 0;
    int r = kill_measure(run, effect, error);

    for (size_t i = 0; i < victims->n_signalled; i++)
        n_gone += victims->victims[i].is_gone;
    if (r == 0 && n_gone < victims->n_signalled)
        r = error_set(error, EAGAIN, "%zu of %zu processes have ended", n_gone, victims->n_signalled);
    return r;
}

static int kill_supported(const void *parameters, struct error *error)
{
    const struct kill_parameters *own = parameters;
    int fd = process_open(&(struct process){.pid = getpid()}, error);

    if (fd == -ENOSYS)
        return error_set(error, EOPNOTSUPP, "needs pidfds (kernel 5.3)");
    return own && !own->port ? 0 : listeners_supported(error);
}

const struct fault fault_process_kill = {
    .name = "process.kill",
    .summary = "processes of a service are killed",
    .class = "process",
    .flags = FAULT_SELF_EXERCISED,
    .mechanisms = MECHANISM_PROCESS,
    .capabilities = 1ULL << CAP_KILL | 1ULL << CAP_SYS_PTRACE,
    .parameters = kill_table,
    .parameters_size = sizeof(struct kill_parameters),
    .supported = kill_supported,
    .check = kill_check,
    .plan = kill_plan,
    .inject = kill_inject,
    .exercise = kill_exercise,
    .measure = kill_measure,
    .release = kill_release,
};
