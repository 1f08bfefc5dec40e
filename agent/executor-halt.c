/*
 * Ending things early: a signed halt, root's halt, the file, SIGTERM, lost contact. Whoever asks, the holders
 * hear it first: before that, nothing is written and nothing is allocated. Out of memory while a halt is read
 * ends everything: too much stopped is a small mistake.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "common/log.h"
#include "executor-state.h"

#define HALT_FILE "halt"

static void record_interrupted(struct executor *executor, const char *reason)
{
    struct supervised fault;

    for (size_t i = 0; supervisor_get(executor->supervisor, i, &fault); i++)
        executor_record(executor, "fault.interrupted", fault.run, fault.order, fault.step,
                        json_pack("{s:s s:s}", "fault", fault.fault, "reason", reason));
}

size_t executor_end_all(struct executor *executor, const char *run, enum supervisor_end end,
                        const char *scope, const char *by)
{
    size_t count = supervisor_end(executor->supervisor, run, end);

    executor_halt_waiting(executor, run);
    if (end == SUPERVISOR_HALT)
        executor_record(executor, "halt.received", run, NULL, NULL,
                        json_pack("{s:s s:s}", "scope", scope, "by", by));
    else
        record_interrupted(executor, by);
    executor_say(executor, LOG_LEVEL_NOTICE, "%zu faults are ended early: %s", count, by);
    return count;
}

bool executor_is_halted(const struct executor *executor, const struct order *order)
{
    if (order->step_started_usec <= executor->halted_usec)
        return true;
    for (size_t i = 0; i < executor->n_halted_runs && i < EXECUTOR_HALTED_MAX; i++)
        if (!strcmp(executor->halted_runs[i], order->run))
            return true;
    return false;
}

/* Orders of what was halted may still be on their way. */
static void remember_halt(struct executor *executor, const struct halt *halt)
{
    if (!halt->run)
        executor->halted_usec =
            halt->issued_usec > executor->halted_usec ? halt->issued_usec : executor->halted_usec;
    else
        snprintf(executor->halted_runs[executor->n_halted_runs++ % EXECUTOR_HALTED_MAX], UUID_TEXT_MAX, "%s",
                 halt->run);
}

static int read_halt(struct executor *executor, int fd, struct halt **ret, struct error *error)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_HALT};
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    int64_t now_usec = time_now_usec();
    int r = bundle_from_memfd(&bundle, fd, kinds, ARRAY_SIZE(kinds), error);

    if (r == 0)
        r = roots_require(executor->roots, bundle.documents[0], ROOTS_HALT, 1, now_usec, error);
    if (r == 0)
        r = halt_parse(ret, bundle.documents[0]->payload, bundle.documents[0]->payload_length, error);
    if (r == 0 && now_usec > (*ret)->expires_usec)
        r = error_set(error, EKEYEXPIRED, "halt: expires_at: expired");
    return r;
}

int executor_on_halt(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    _cleanup_(halt_freep) struct halt *halt = NULL;
    struct error why = {0};
    int r = read_halt(executor, message->fd, &halt, &why);

    if (r == -ENOMEM) {
        supervisor_end(executor->supervisor, NULL, SUPERVISOR_HALT);
        executor_halt_waiting(executor, NULL);
        return 0;
    }
    if (r < 0) {
        executor_say(executor, LOG_LEVEL_WARNING, "halt refused: %s", why.text);
        return 0;
    }
    if (halt->host && strcmp(halt->host, executor->policy->host))
        return 0;
    executor_end_all(executor, halt->run, SUPERVISOR_HALT, halt->scope, "signed halt");
    executor_watch_end(executor, halt->run);
    remember_halt(executor, halt);
    return 0;
}

static void answer_halted(struct peer *peer)
{
    char body[64];

    peer->waits_halted = false;
    snprintf(body, sizeof(body), "{\"ended\":%zu}", peer->n_halted);
    peer_send(peer, CHANNEL_HALTED, body, -1);
}

/* Answered when all are gone. */
int executor_on_halt_local(void *context, struct message *message, struct error *error)
{
    struct peer *peer = context;

    peer->n_halted = executor_end_all(peer->executor, NULL, SUPERVISOR_HALT, "host", "root on the host");
    peer->waits_halted = true;
    executor_watch_end(peer->executor, NULL);
    executor_on_changed(peer->executor);
    return 0;
}

void executor_on_changed(void *context)
{
    struct executor *executor = context;

    readiness_check(executor);
    if (supervisor_count(executor->supervisor) > 0)
        return;
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        if (executor->peers[i].role && executor->peers[i].waits_halted)
            answer_halted(&executor->peers[i]);
    if (executor->is_stopping)
        event_base_loopbreak(executor->base);
}

/* ---- the file */

static void check_halt_file(struct executor *executor)
{
    char path[128];
    struct stat status;
    bool was_halted = executor->is_halted;

    snprintf(path, sizeof(path), "%s/" HALT_FILE, executor->config->run);
    executor->is_halted = lstat(path, &status) == 0;
    if (executor->is_halted && !was_halted) {
        executor_end_all(executor, NULL, SUPERVISOR_HALT, "host", "the file /run/grivet/halt");
        executor_watch_end(executor, NULL);
    }
}

static void on_inotify(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;
    _Alignas(struct inotify_event) char buffer[4096];

    while (read(fd, buffer, sizeof(buffer)) > 0) {
        /* What happened is of no interest: we look. */
    }
    check_halt_file(executor);
    supervisor_take_results(executor->supervisor);
}

/* ---- SIGTERM */

static void on_signal(evutil_socket_t number, short what, void *context)
{
    struct executor *executor = context;

    executor->is_stopping = true;
    executor_end_all(executor, NULL, SUPERVISOR_EXECUTOR, "host", "grivetd is being stopped");
    executor_watch_end(executor, NULL);
    executor_on_changed(executor);
}

/* ---- lost contact */

static void on_contact(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;
    int64_t now = time_boot_nsec(), quiet_nsec = now - executor->heard_boot_nsec;
    char text[TIME_TEXT_MAX];

    if (quiet_nsec < executor->policy->lost_contact_after_s * NSEC_PER_SEC ||
        !supervisor_count(executor->supervisor))
        return;
    supervisor_end(executor->supervisor, NULL, SUPERVISOR_EXECUTOR);
    executor->heard_boot_nsec = now; /* once an outage, not with every tick */
    executor_record(
        executor, "contact.lost", NULL, NULL, NULL,
        json_pack("{s:s}", "since", time_format(time_now_usec() - quiet_nsec / NSEC_PER_USEC, text)));
    record_interrupted(executor, "no coordinator was reached for lost_contact_after_s");
}

int executor_open_halts(struct executor *executor, struct error *error)
{
    const struct timeval tick = {.tv_sec = 1};
    char results[128];

    executor->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    snprintf(results, sizeof(results), "%s/results", executor->config->run);
    if (executor->inotify_fd < 0 ||
        inotify_add_watch(executor->inotify_fd, executor->config->run, IN_CREATE | IN_DELETE | IN_MOVE) < 0)
        return error_errno(error, errno, "%s: can't watch for the halt file", executor->config->run);
    inotify_add_watch(executor->inotify_fd, results, IN_MOVED_TO | IN_CLOSE_WRITE);
    executor->on_inotify =
        event_new(executor->base, executor->inotify_fd, EV_READ | EV_PERSIST, on_inotify, executor);
    executor->on_term = evsignal_new(executor->base, SIGTERM, on_signal, executor);
    executor->on_int = evsignal_new(executor->base, SIGINT, on_signal, executor);
    executor->on_contact = event_new(executor->base, -1, EV_PERSIST, on_contact, executor);
    if (!executor->on_inotify || !executor->on_term || !executor->on_int || !executor->on_contact ||
        event_add(executor->on_inotify, NULL) < 0 || event_add(executor->on_term, NULL) < 0 ||
        event_add(executor->on_int, NULL) < 0 || event_add(executor->on_contact, &tick) < 0)
        return error_oom(error);
    check_halt_file(executor);
    return 0;
}

void executor_close_halts(struct executor *executor)
{
    struct event *events[] = {executor->on_inotify, executor->on_term, executor->on_int,
                              executor->on_contact};

    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (events[i])
            event_free(events[i]);
    cleanup_close(&executor->inotify_fd);
}
