/* The executor put together: what it reads at the start, in which order it opens, and its loop. See
 * executor.h. */
#include "executor.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/io.h"
#include "common/log.h"
#include "executor-state.h"

#define RUNNING_FILE "running" /* beside the replay memory: there while we live */

static void on_event(void *context, const char *kind, const char *run, const char *order, const char *step,
                     json_t *body)
{
    executor_record(context, kind, run, order, step, body);
}

static void on_say(void *context, const struct error *error)
{
    executor_say(context, LOG_LEVEL_WARNING, "%s", error->text);
}

static const struct supervisor_events supervisor_events = {on_event, executor_on_changed, on_say};

static int find_user(const char *name, uid_t *ret, struct error *error)
{
    const struct passwd *user = getpwnam(name);

    if (!user)
        return error_set(error, ENOENT, "user %s: does not exist; run systemd-sysusers", name);
    if (user->pw_uid == 0)
        return error_set(error, EPERM, "user %s: must not be root", name);
    *ret = user->pw_uid;
    return 0;
}

static int read_files(struct executor *executor, struct error *error)
{
    const struct executor_config *config = executor->config;
    int r = policy_load(&executor->policy, config->policy, error);

    if (r == 0)
        r = io_check_root_only(config->roots, error);
    if (r == 0)
        r = roots_load(&executor->roots, config->roots, error);
    if (r == 0)
        r = secret_key_load(&executor->key, config->key, NULL, error);
    if (r == 0)
        r = find_user("grivet-courier", &executor->courier_uid, error);
    if (r == 0)
        r = find_user("grivet-prober", &executor->prober_uid, error);
    return r;
}

/* A memory that is lost is not the same as one that is empty: an order may still be on its way a second time.
 */
static void open_replay(struct executor *executor)
{
    const struct public_key key = secret_key_public(executor->key);
    const char *path = executor->config->replay;
    bool may_forget = !executor->policy->requires_synchronised_clock || time_is_synchronised();
    struct error error = {0};
    int64_t now_usec = time_now_usec();

    if (replay_open(&executor->replay, path, &key, now_usec, may_forget, &error) == 0)
        return;
    executor_say(executor, LOG_LEVEL_ERROR, "replay memory lost, quarantine for %lld s: %s",
                 ORDER_START_WINDOW_USEC / USEC_PER_SEC, error.text);
    if (replay_replace(path, &key, now_usec + ORDER_START_WINDOW_USEC, &error) < 0 ||
        replay_open(&executor->replay, path, &key, now_usec, false, &error) < 0) {
        snprintf(executor->broken, sizeof(executor->broken), "%s", error.text);
        executor_say(executor, LOG_LEVEL_ERROR, "no orders are taken: %s", error.text);
    }
}

static void describe_host(struct executor *executor)
{
    executor->host = (struct fault_host){.name = executor->policy->host,
                                         .zone = executor->policy->zone,
                                         .lifeline = &executor->lifeline,
                                         .protected_processes = executor->policy->protected_processes,
                                         .protected_cidrs = &executor->policy->protected_cidrs};
    executor_make_lifeline(executor);
}

static void running_path(const struct executor *executor, char ret[256])
{
    const char *slash = strrchr(executor->config->replay, '/');

    snprintf(ret, 256, "%.*s/" RUNNING_FILE, (int)(slash - executor->config->replay),
             executor->config->replay);
}

/* Return: was the last life ended without a word? */
static bool note_start(const struct executor *executor)
{
    char path[256];
    _cleanup_close_ int fd = -1;

    running_path(executor, path);
    fd = open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    return fd < 0 && errno == EEXIST;
}

/* A line that a crash left unfinished is cut off, and that is told: what was handed over before can't be
 * missing. */
static void tell_start(struct executor *executor)
{
    bool is_unclean = note_start(executor);
    size_t cut_bytes = executor->journal ? journal_cut_bytes(executor->journal) : 0;

    if (cut_bytes)
        executor_say(executor, LOG_LEVEL_WARNING,
                     "event journal: the last line was unfinished, and its %zu bytes are cut off", cut_bytes);
    executor_record(executor, "agent.started", NULL, NULL, NULL,
                    json_pack("{s:s s:b s:I}", "version", GRIVET_VERSION, "is_unclean", is_unclean,
                              "journal_cut_bytes", (json_int_t)cut_bytes));
}

static void note_end(const struct executor *executor)
{
    char path[256];

    running_path(executor, path);
    unlink(path);
}

static int make_folders(const struct executor *executor, struct error *error)
{
    int r = io_mkdir(executor->config->run, 0755, error);

    if (r == 0)
        r = io_mkdir(RECORD_FOLDER, 0755, error);
    return r < 0 ? r : io_mkdir(RESULT_FOLDER, 0755, error);
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
    executor->on_watchdog = event_new(executor->base, -1, EV_PERSIST, on_watchdog, executor);
    if (!executor->on_watchdog || event_add(executor->on_watchdog, &tick) < 0)
        return error_oom(error);
    return 0;
}

/* First what may have to be undone, then what is told about it, last whoever wants something new. */
static int open_all(struct executor *executor, struct error *error)
{
    int r = make_folders(executor, error);

    if (r < 0)
        return r;
    open_replay(executor);
    describe_host(executor);
    r = executor_open_events(executor, error);
    if (r == 0)
        r = supervisor_new(&executor->supervisor, executor->base, &supervisor_events, executor, error);
    if (r == 0)
        r = answers_new(&executor->answers, executor->base, executor_answer_done, executor, error);
    if (r == 0)
        r = readiness_open(executor, error);
    if (r < 0)
        return r;
    tell_start(executor);
    executor_watch_forget(executor);
    supervisor_adopt(executor->supervisor, executor->unfinished.orders, executor->unfinished.count);
    r = executor_open_halts(executor, error);
    if (r == 0)
        r = open_watchdog(executor, error);
    return r < 0 ? r : executor_open_peers(executor, error);
}

int executor_new(struct executor **ret, const struct executor_config *config, struct error *error)
{
    _cleanup_(executor_freep) struct executor *executor = calloc(1, sizeof(*executor));
    int r;

    if (!executor)
        return error_oom(error);
    executor->config = config;
    executor->listen_fd = executor->inotify_fd = -1;
    executor->started_boot_nsec = executor->heard_boot_nsec = time_boot_nsec();
    executor->base = event_base_new();
    if (!executor->base)
        return error_oom(error);
    r = syncer_new(&executor->syncer, executor->base, error);
    if (r == 0)
        r = read_files(executor, error);
    if (r == 0)
        r = open_all(executor, error);
    if (r == 0)
        *ret = TAKE_PTR(executor);
    return r;
}

int executor_run(struct executor *executor, struct error *error)
{
    sd_notify(0, "READY=1");
    executor_say(executor, LOG_LEVEL_INFO, "host %s takes orders in environment %s", executor->policy->host,
                 executor->policy->environment);
    if (event_base_dispatch(executor->base) < 0)
        return error_set(error, EIO, "the event loop failed");
    executor_flush(executor);
    note_end(executor);
    return 0;
}

struct executor *executor_free(struct executor *executor)
{
    if (!executor)
        return NULL;
    syncer_free(executor->syncer);
    executor_close_orders(executor);
    executor_watch_end(executor, NULL);
    answers_free(executor->answers);
    supervisor_free(executor->supervisor);
    executor_close_peers(executor);
    executor_close_halts(executor);
    executor_close_events(executor);
    if (executor->on_ready)
        event_free(executor->on_ready);
    if (executor->on_watchdog)
        event_free(executor->on_watchdog);
    json_decref(executor->clock);
    replay_free(executor->replay);
    secret_key_free(executor->key);
    roots_free(executor->roots);
    policy_free(executor->policy);
    if (executor->base)
        event_base_free(executor->base);
    free(executor);
    return NULL;
}
