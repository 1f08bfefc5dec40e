/* Boot readiness: a replacement born during a zone outage has to lose the zone before it fetches anything. So
 * whoever waits is answered when a coordinator was reached and what it ordered is armed, or when time is up.
 */
#include <stdio.h>
#include <string.h>

#include "executor-state.h"

static bool is_arming(const struct executor *executor)
{
    struct supervised fault;

    if (executor->waiting)
        return true;
    for (size_t i = 0; supervisor_get(executor->supervisor, i, &fault); i++)
        if (fault.is_arming)
            return true;
    return false;
}

static const char *why_not(const struct executor *executor)
{
    if (!executor->contact_usec)
        return "no coordinator was reached";
    return is_arming(executor) ? "a fault is not armed yet" : NULL;
}

static void answer(const struct executor *executor, struct peer *peer, const char *reason)
{
    char body[256];

    peer->waits_ready = false;
    snprintf(body, sizeof(body), "{\"is_ready\":%s,\"waited_ms\":%lld,\"reason\":%s%s%s}",
             executor->is_ready ? "true" : "false", (long long)executor->ready_waited_msec,
             reason ? "\"" : "", reason ? reason : "null", reason ? "\"" : "");
    peer_send(peer, CHANNEL_READY, body, -1);
}

static void finish(struct executor *executor, const char *reason)
{
    executor->is_ready_over = true;
    executor->is_ready = !reason;
    executor->ready_waited_msec = (time_boot_nsec() - executor->started_boot_nsec) / NSEC_PER_MSEC;
    event_del(executor->on_ready);
    executor_record(executor, "agent.ready", NULL, NULL, NULL,
                    json_pack("{s:b s:I s:s*}", "is_ready", executor->is_ready, "waited_ms",
                              (json_int_t)executor->ready_waited_msec, "reason", reason));
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        if (executor->peers[i].role && executor->peers[i].waits_ready)
            answer(executor, &executor->peers[i], reason);
}

void readiness_check(struct executor *executor)
{
    if (!executor->is_ready_over && !why_not(executor))
        finish(executor, NULL);
}

static void on_ready_timeout(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;

    if (!executor->is_ready_over)
        finish(executor, why_not(executor));
}

int readiness_open(struct executor *executor, struct error *error)
{
    const struct timeval limit = {.tv_sec = EXECUTOR_READY_MSEC / 1000};

    executor->on_ready = evtimer_new(executor->base, on_ready_timeout, executor);
    if (!executor->on_ready || event_add(executor->on_ready, &limit) < 0)
        return error_oom(error);
    return 0;
}

int executor_on_wait_ready(void *context, struct message *message, struct error *error)
{
    struct peer *peer = context;

    peer->waits_ready = true;
    if (peer->executor->is_ready_over)
        answer(peer->executor, peer, peer->executor->is_ready ? NULL : "it took too long at the start");
    return 0;
}
