/* grivetd: the executor of a host, and, re-executed with --holder, one fault. The executor put together: what
 * it reads at the start, in which order it opens, and its loop. The only file of it that logs. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/io.h"
#include "common/own-process.h"
#include "common/passwd.h"
#include "executor.h"
#include "holder.h"
#include "sandbox.h"

#define ROOTS_PATH   "/etc/grivet/roots.json"
#define KEY_PATH     "/var/lib/grivet/host.key"
#define RUNNING_PATH "/var/lib/grivet/running" /* there while we live */

/* MESSAGE_ID of a fault's start and end in the journal: `journalctl MESSAGE_ID=...` */
#define ID_FAULT_ARMED "6f2f4a7b0d5c4f6e9a3c1b8e7d2a5f10"
#define ID_FAULT_OVER  "c1d3e58f24a94b0fb7e69d0a3f7b6c22"

static const struct {
    const char *kind, *id;
} fault_messages[] = {
    {"fault.armed", ID_FAULT_ARMED},
    {"fault.reverted", ID_FAULT_OVER},
    {"fault.ended", ID_FAULT_OVER},
    {"fault.failed", ID_FAULT_OVER},
};

void executor_say(enum log_level level, const char *format, ...)
{
    char text[ERROR_TEXT_MAX + 256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_print(level, "%s", text);
}

void executor_say_fault(const char *kind, const char *run, const char *order, const char *fault)
{
    for (size_t i = 0; i < ARRAY_SIZE(fault_messages); i++)
        if (!strcmp(fault_messages[i].kind, kind))
            log_fault(fault_messages[i].id, run ? run : "", order ? order : "", "%s: %s", kind, fault);
}

void executor_break(struct executor *executor, const struct error *error)
{
    if (*executor->broken)
        return;
    snprintf(executor->broken, sizeof(executor->broken), "%s", error->text);
    executor_say(LOG_LEVEL_ERROR, "no orders are taken: %s", error->text);
}

struct event *executor_event(struct executor *executor, int fd, short what, event_callback_fn callback,
                             const struct timeval *after)
{
    bool is_added = fd >= 0 || after;
    struct event *event = executor->n_all_events < EXECUTOR_EVENTS_MAX
                              ? event_new(executor->base, fd, what, callback, executor)
                              : NULL;

    if (!event)
        return NULL;
    executor->all_events[executor->n_all_events++] = event;
    return is_added && event_add(event, after) < 0 ? NULL : event;
}

/* ---- what it reads */

static int find_user(const char *name, uid_t *ret, struct error *error)
{
    struct error why = {0};
    gid_t group;

    if (passwd_find(name, ret, &group, &why) < 0)
        return error_set(error, ENOENT, "user %s: %s; run systemd-sysusers", name, why.text);
    return *ret == 0 ? error_set(error, EPERM, "user %s: must not be root", name) : 0;
}

static int read_files(struct executor *executor, struct error *error)
{
    uid_t holder_uid;
    int r = policy_load(&executor->policy, POLICY_PATH, error);

    if (r == 0)
        r = roots_load(&executor->roots, ROOTS_PATH, error);
    if (r == 0)
        r = secret_key_load(&executor->key, KEY_PATH, NULL, error);
    if (r == 0)
        r = find_user("grivet-courier", &executor->courier_uid, error);
    if (r == 0)
        r = find_user("grivet-prober", &executor->prober_uid, error);
    if (r == 0)
        r = find_user(OWN_USER, &holder_uid, error); /* or faults would run as root */
    if (r < 0)
        return r;
    executor->host = (struct fault_host){.name = executor->policy->host,
                                         .zone = executor->policy->zone,
                                         .lifeline = &executor->lifeline,
                                         .protected_processes = executor->policy->protected_processes,
                                         .protected_cidrs = &executor->policy->protected_cidrs};
    return 0;
}

/* A memory that is lost is not the same as one that is empty: an order may still be on its way a second time.
 */
static int open_replay(struct executor *executor, struct error *ret_error)
{
    const struct public_key key = secret_key_public(executor->key);
    struct error error = {0};
    int64_t now_usec = time_now_usec();

    if (replay_open(&executor->replay, REPLAY_PATH, &key, &error) == 0)
        return 0;
    executor_say(LOG_LEVEL_ERROR, "replay memory lost, quarantine for %lld s: %s",
                 ORDER_START_WINDOW_USEC / USEC_PER_SEC, error.text);
    if (replay_replace(REPLAY_PATH, &key, now_usec + ORDER_START_WINDOW_USEC, &error) < 0 ||
        replay_open(&executor->replay, REPLAY_PATH, &key, &error) < 0)
        executor_break(executor, &error);
    return 0;
}

/* ---- in which order it opens */

/* Whether the last life was ended without a word, and what that left. A line that a crash left unfinished is
 * cut off: what was handed over before can't be missing. */
static int tell_start(struct executor *executor, struct error *error)
{
    _cleanup_close_ int fd = open(RUNNING_PATH, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    bool is_unclean = fd < 0 && errno == EEXIST;
    size_t cut_bytes = executor->events.journal ? journal_cut_bytes(executor->events.journal) : 0;

    if (cut_bytes)
        executor_say(LOG_LEVEL_WARNING,
                     "event journal: the last line was unfinished, and its %zu bytes are cut off", cut_bytes);
    executor_record(executor, "agent.started", NULL, NULL, NULL,
                    json_pack("{s:s s:b s:I}", "version", GRIVET_VERSION, "is_unclean", is_unclean,
                              "journal_cut_bytes", (json_int_t)cut_bytes));
    return 0;
}

/* Faults of an earlier life are ended; its observations are over, since their probes are not known any more.
 */
static int end_earlier_life(struct executor *executor, struct error *error)
{
    json_t *faults = json_object(), *event;
    const char *order, *run, *fault;

    json_object_foreach(executor->events.orders, order, event)
    {
        if (json_unpack(event, "{s:s s:{s:s}}", "run", &run, "body", "fault", &fault) < 0 ||
            strcmp(fault, MANDATE_OBSERVE))
            json_object_set(faults, order, event);
        else
            executor_record(executor, "fault.failed", run, order, MANDATE_OBSERVE,
                            json_pack("{s:s s:s s:b}", "fault", MANDATE_OBSERVE, "reason",
                                      "the executor was started again", "is_reverted", true));
    }
    supervisor_adopt(executor->supervisor, faults);
    json_decref(faults);
    return 0;
}

static void on_watchdog(evutil_socket_t fd, short what, void *context)
{
    sd_notify(0, "WATCHDOG=1");
}

static int open_watchdog(struct executor *executor, struct error *error)
{
    uint64_t limit_usec = 0;
    struct timeval tick;

    if (sd_watchdog_enabled(0, &limit_usec) <= 0)
        return 0;
    tick = (struct timeval){(time_t)(limit_usec / 3 / USEC_PER_SEC),
                            (suseconds_t)(limit_usec / 3 % USEC_PER_SEC)};
    return executor_event(executor, -1, EV_PERSIST, on_watchdog, &tick) ? 0 : error_oom(error);
}

static int make_folders(struct executor *executor, struct error *error)
{
    static const char *const folders[] = {RUN_FOLDER, RECORD_FOLDER, RESULT_FOLDER};
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(folders) && r == 0; i++)
        r = io_mkdir(folders[i], 0755, error);
    return r;
}

/* A holder inherits the filter and adds its own: so this one has what any holder needs. */
static int limit_calls(struct executor *executor, struct error *error)
{
    return sandbox_enter(SANDBOX_EXECUTOR | SANDBOX_ANY_HOLDER, error);
}

/* First the syncer, a process that shall know no keys; then what may have to be undone and what is told about
 * it, last whoever wants something new. */
static int (*const openings[])(struct executor *executor, struct error *error) = {
    executor_open_syncer, limit_calls,          read_files,          make_folders,
    open_replay,          executor_open_events, supervisor_open,     executor_open_contact,
    tell_start,           end_earlier_life,     executor_open_clock, executor_open_halts,
    open_watchdog,        executor_open_peers,
};

static void executor_close(struct executor *executor)
{
    executor_close_clock(executor);
    executor_close_orders(executor);
    executor_watch_end(executor, NULL);
    executor_close_asks(executor);
    supervisor_free(executor->supervisor);
    executor_close_peers(executor);
    executor_close_events(executor);
    json_decref(executor->contact.ready);
    for (size_t i = 0; i < executor->n_all_events; i++)
        event_free(executor->all_events[i]);
    cleanup_close(&executor->listen_fd);
    cleanup_close(&executor->halts.inotify_fd);
    replay_free(executor->replay);
    secret_key_free(executor->key);
    roots_free(executor->roots);
    policy_free(executor->policy);
    if (executor->base)
        event_base_free(executor->base);
}

/* Until SIGTERM and the last fault's end. */
static int executor_run(struct executor *executor, struct error *error)
{
    int r = 0;

    executor->base = event_base_new();
    if (!executor->base)
        return error_oom(error);
    for (size_t i = 0; i < ARRAY_SIZE(openings) && r == 0; i++)
        r = openings[i](executor, error);
    if (r < 0)
        return r;
    r = sd_notify(0, "READY=1"); /* 0: nobody wants to know */
    if (r < 0)
        return error_errno(error, -r, "can't say that we are ready; the next life may");
    executor_say(LOG_LEVEL_INFO, "host %s takes orders in environment %s", executor->policy->host,
                 executor->policy->environment);
    if (event_base_dispatch(executor->base) < 0)
        return error_set(error, EIO, "the event loop failed");
    if (executor->lost)
        return error_set(error, ENOENT, "%s: was taken away; starting anew", executor->lost);
    if (executor->is_to_restart && !executor->is_stopping)
        return error_set(error, EPIPE, "%s; starting anew", executor->broken);
    unlink(RUNNING_PATH);
    return 0;
}

static int executor_main(void)
{
    _cleanup_(executor_close) struct executor executor = {
        .listen_fd = -1, .spare_fds = {-1, -1}, .halts.inotify_fd = -1};
    struct error error = {0};

    if (executor_run(&executor, &error) == 0)
        return EXIT_SUCCESS;
    log_error("%s", error.text);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--holder"))
        return holder_main();
    log_open("grivetd");
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("grivetd " GRIVET_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc > 1) {
        log_error("usage: grivetd (no arguments; it is configured by " POLICY_PATH ")");
        return 2;
    }
    if (sodium_init() < 0) {
        log_error("libsodium can't start");
        return EXIT_FAILURE;
    }
    return executor_main();
}
