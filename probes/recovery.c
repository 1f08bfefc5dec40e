/*
 * Recovery arithmetic: see recovery.h.
 *
 * The same machine that a balancer runs: so many failures in a row while healthy declare unhealthy, so many
 * successes in a row while unhealthy declare healthy. Everything else is bookkeeping of when.
 */
#include "recovery.h"

#include <stdlib.h>

#include "common/cleanup.h"

static const char *const state_names[] = {
    [RECOVERY_UNKNOWN] = "unknown",     [RECOVERY_HEALTHY] = "healthy",       [RECOVERY_FAILING] = "failing",
    [RECOVERY_UNHEALTHY] = "unhealthy", [RECOVERY_RECOVERING] = "recovering",
};

const char *recovery_state_name(enum recovery_state state)
{
    return (size_t)state < ARRAY_SIZE(state_names) ? state_names[state] : "invalid";
}

void recovery_init(struct recovery *recovery, int64_t t0_usec, int64_t unhealthy_after, int64_t healthy_after,
                   int64_t stable_usec)
{
    *recovery = (struct recovery){
        .t0_usec = t0_usec,
        .unhealthy_after = unhealthy_after > 1 ? unhealthy_after : 1,
        .healthy_after = healthy_after > 1 ? healthy_after : 1,
        .stable_usec = stable_usec > 0 ? stable_usec : 0,
    };
}

static bool recovery_is_declared_healthy(const struct recovery *recovery)
{
    return recovery->state == RECOVERY_HEALTHY || recovery->state == RECOVERY_FAILING;
}

static enum recovery_state recovery_next_state(const struct recovery *recovery)
{
    bool is_declared_healthy = recovery_is_declared_healthy(recovery);

    if (recovery->consecutive >= recovery->healthy_after ||
        (is_declared_healthy && recovery->consecutive > 0))
        return RECOVERY_HEALTHY;
    if (-recovery->consecutive >= recovery->unhealthy_after)
        return RECOVERY_UNHEALTHY;
    if (recovery->state == RECOVERY_UNKNOWN)
        return RECOVERY_UNKNOWN;
    if (is_declared_healthy)
        return RECOVERY_FAILING;
    return recovery->consecutive > 0 ? RECOVERY_RECOVERING : RECOVERY_UNHEALTHY;
}

static void recovery_enter(struct recovery *recovery, enum recovery_state to, int64_t now_usec)
{
    enum recovery_state from = recovery->state;

    if (recovery->n_transitions < RECOVERY_TRANSITIONS_MAX)
        recovery->transitions[recovery->n_transitions++] =
            (struct recovery_transition){.at_usec = now_usec, .from = from, .to = to};
    recovery->state = to;
    if (to == RECOVERY_HEALTHY)
        recovery->calm_since_usec = now_usec;
    if (now_usec < recovery->t0_usec)
        return;

    if (to == RECOVERY_UNHEALTHY) {
        if (!recovery->unhealthy_usec && from != RECOVERY_RECOVERING)
            recovery->unhealthy_usec = now_usec;
        recovery->healthy_usec = recovery->stable_at_usec = 0;
    }
    if (to == RECOVERY_HEALTHY && from != RECOVERY_FAILING)
        recovery->healthy_usec = now_usec;
}

void recovery_add(struct recovery *recovery, const struct sample *sample)
{
    int64_t now_usec = sample->at_usec + (sample->latency_usec > 0 ? sample->latency_usec : 0);
    enum recovery_state next;

    if (now_usec < recovery->last_known_usec)
        now_usec = recovery->last_known_usec;
    recovery->last_known_usec = now_usec;
    if (now_usec >= recovery->t0_usec) {
        recovery->requests++;
        recovery->lost += !sample->is_ok;
    }

    if (sample->is_ok)
        recovery->consecutive = recovery->consecutive > 0 ? recovery->consecutive + 1 : 1;
    else
        recovery->consecutive = recovery->consecutive < 0 ? recovery->consecutive - 1 : -1;
    next = recovery_next_state(recovery);
    if (next != recovery->state)
        recovery_enter(recovery, next, now_usec);
    if (now_usec < recovery->t0_usec)
        recovery->was_healthy_at_t0 = recovery_is_declared_healthy(recovery);
    if (recovery->state == RECOVERY_HEALTHY && recovery->healthy_usec && !recovery->stable_at_usec &&
        now_usec - recovery->calm_since_usec >= recovery->stable_usec)
        recovery->stable_at_usec = now_usec;
}

int64_t recovery_detect_msec(const struct recovery *recovery)
{
    return recovery->unhealthy_usec ? (recovery->unhealthy_usec - recovery->t0_usec) / 1000 : -1;
}

int64_t recovery_recover_msec(const struct recovery *recovery)
{
    if (recovery->healthy_usec)
        return (recovery->healthy_usec - recovery->t0_usec) / 1000;
    return recovery_is_declared_healthy(recovery) ? 0 : -1;
}

static int latency_compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left, b = *(const int64_t *)right;

    return (a > b) - (a < b);
}

int64_t recovery_latency(int64_t *latencies, size_t count, unsigned int percentile)
{
    size_t rank;

    if (!count)
        return 0;
    qsort(latencies, count, sizeof(*latencies), latency_compare);
    rank = (count * (percentile < 100 ? percentile : 100) + 99) / 100;
    return latencies[rank ? rank - 1 : 0];
}
