/*
 * Ending things early: a signed halt, root's halt, the file, SIGTERM. Whoever asks, the holders hear it
 * first: before that, nothing is written and nothing is allocated. Out of memory while a halt is read ends
 * everything: too much stopped is a small mistake.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "executor.h"

#define HALTS_BURST_NSEC (60 * NSEC_PER_SEC)

/* Orders of what was halted may still be on their way. */
static void remember_until(struct halts *halts, int64_t usec)
{
    if (usec > halts->until_usec)
        halts->until_usec = usec;
}

size_t executor_end_all(struct executor *executor, const char *run, enum supervisor_end end,
                        const char *scope, const char *by)
{
    size_t count = supervisor_end(executor->supervisor, run, end);
    const struct slot *fault = NULL;

    executor_halt_orders(executor, run);
    if (end == SUPERVISOR_HALT && !run)
        remember_until(&executor->halts, time_now_usec());
    if (end == SUPERVISOR_HALT && scope)
        executor_record(executor, "halt.received", run, NULL, NULL,
                        json_pack("{s:s s:s}", "scope", scope, "by", by));
    while (end == SUPERVISOR_EXECUTOR && (fault = supervisor_next(executor->supervisor, fault)))
        slot_event(fault, "fault.interrupted", json_pack("{s:s}", "reason", by));
    executor_say(LOG_LEVEL_NOTICE, "%zu faults are ended early: %s", count, by);
    return count;
}

void executor_on_changed(void *context)
{
    struct executor *executor = context;

    executor_check_ready(executor);
    if (supervisor_count(executor->supervisor, NULL) > 0)
        return;
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++) {
        struct peer *peer = &executor->peers[i];

        if (peer->awaits != CHANNEL_HALTED)
            continue;
        peer->awaits = 0;
        peer_send(peer, CHANNEL_HALTED, "{\"ended\":%zu}", peer->n_halted);
    }
    if (executor->is_stopping || executor->is_to_restart)
        event_base_loopbreak(executor->base);
}

/* ---- a signed halt */

bool executor_is_halted(const struct executor *executor, const struct order *order)
{
    const struct halts *halts = &executor->halts;

    if (order->step_started_usec <= halts->until_usec)
        return true;
    for (size_t i = 0; i < halts->n_runs && i < EXECUTOR_HALTED_MAX; i++)
        if (!strcmp(halts->runs[i], order->run))
            return true;
    return false;
}

/* One from the future keeps no later orders away. */
static void remember(struct halts *halts, const struct halt *halt)
{
    int64_t latest = time_now_usec() + HALT_AHEAD_USEC;

    if (halt->run)
        snprintf(halts->runs[halts->n_runs++ % EXECUTOR_HALTED_MAX], UUID_TEXT_MAX, "%s", halt->run);
    else
        remember_until(halts, halt->issued_usec < latest ? halt->issued_usec : latest);
}

static int read_halt(struct executor *executor, const struct message *message, struct halt **ret,
                     struct error *error)
{
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    int r = message_verify(executor, message, ENVELOPE_HALT, ROOTS_HALT, &bundle, error);

    if (r == 0)
        r = halt_parse(ret, bundle.documents[0]->payload, bundle.documents[0]->payload_length, error);
    if (r == 0 && time_now_usec() > (*ret)->expires_usec)
        r = error_set(error, EKEYEXPIRED, "halt: expires_at: expired");
    return r;
}

int executor_on_halt(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    _cleanup_(halt_freep) struct halt *halt = NULL;
    struct error why = {0};
    bool is_told;
    int r = read_halt(executor, message, &halt, &why);

    if (r == -ENOMEM) {
        supervisor_end(executor->supervisor, NULL, SUPERVISOR_HALT);
        executor_halt_orders(executor, NULL);
        remember_until(&executor->halts, time_now_usec());
        return 0;
    }
    if (r < 0) {
        executor_say(LOG_LEVEL_WARNING, "halt refused: %s", why.text);
        return 0;
    }
    if (halt->host && strcmp(halt->host, executor->policy->host))
        return 0;
    /* A courier may bring the same one again and again. */
    is_told = executor_is_within_rate(&executor->halts_nsec, NSEC_PER_SEC, HALTS_BURST_NSEC);
    executor_end_all(executor, halt->run, SUPERVISOR_HALT, is_told ? halt->scope : NULL, "signed halt");
    executor_watch_end(executor, halt->run);
    remember(&executor->halts, halt);
    return 0;
}

/* ---- root */

/* Answered when all are gone. */
int executor_on_halt_local(void *context, struct message *message, struct error *error)
{
    struct peer *peer = context;

    peer->n_halted = executor_end_all(peer->executor, NULL, SUPERVISOR_HALT, "host", "root on the host");
    peer->awaits = CHANNEL_HALTED;
    executor_watch_end(peer->executor, NULL);
    executor_on_changed(peer->executor);
    return 0;
}

void executor_look_for_halt(struct executor *executor)
{
    bool had_file = executor->halts.has_file;
    struct stat status;

    executor->halts.has_file = lstat(HALT_FILE, &status) == 0;
    if (executor->halts.has_file && !had_file) {
        executor_end_all(executor, NULL, SUPERVISOR_HALT, "host", "the file " HALT_FILE);
        executor_watch_end(executor, NULL);
    }
}

/* Without them nobody reaches us and no fault has a record: the next life makes them anew. */
static void look_for_folders(struct executor *executor)
{
    static const char *const ours[] = {EXECUTOR_SOCKET, RECORD_FOLDER, RESULT_FOLDER};

    for (size_t i = 0; i < ARRAY_SIZE(ours) && !executor->lost; i++)
        if (access(ours[i], F_OK) < 0 && errno == ENOENT)
            executor->lost = ours[i];
    if (executor->lost)
        event_base_loopbreak(executor->base);
}

static void on_inotify(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;
    _Alignas(struct inotify_event) char buffer[4096];

    while (read(fd, buffer, sizeof(buffer)) > 0) {
        /* What happened is of no interest: we look. */
    }
    executor_look_for_halt(executor);
    look_for_folders(executor);
    supervisor_take_results(executor->supervisor);
}

static void on_signal(evutil_socket_t number, short what, void *context)
{
    struct executor *executor = context;

    executor->is_stopping = true;
    executor_end_all(executor, NULL, SUPERVISOR_EXECUTOR, "host", "grivetd is being stopped");
    executor_watch_end(executor, NULL);
    executor_on_changed(executor);
}

int executor_open_halts(struct executor *executor, struct error *error)
{
    int fd = executor->halts.inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);

    if (fd < 0 || inotify_add_watch(fd, RUN_FOLDER, IN_CREATE | IN_DELETE | IN_MOVE) < 0)
        return error_errno(error, errno, RUN_FOLDER ": can't watch for the halt file");
    inotify_add_watch(fd, RESULT_FOLDER, IN_MOVED_TO | IN_CLOSE_WRITE);
    if (!executor_event(executor, fd, EV_READ | EV_PERSIST, on_inotify, NULL) ||
        !executor_event(executor, SIGTERM, EV_SIGNAL | EV_PERSIST, on_signal, NULL) ||
        !executor_event(executor, SIGINT, EV_SIGNAL | EV_PERSIST, on_signal, NULL))
        return error_oom(error);
    executor_look_for_halt(executor);
    return 0;
}
