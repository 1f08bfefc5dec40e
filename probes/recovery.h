/* Recovery arithmetic: from samples to "detected after, healthy again after, lost". Pure: no clock, no I/O.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** struct sample - one request: sent at @at_usec (REALTIME), answered or given up @latency_usec later */
struct sample {
    int64_t at_usec, latency_usec;
    int status; /* HTTP status, 0 = no answer */
    bool is_ok;
};

enum recovery_state {
    RECOVERY_UNKNOWN,
    RECOVERY_HEALTHY,
    RECOVERY_FAILING,
    RECOVERY_UNHEALTHY,
    RECOVERY_RECOVERING
};
const char *recovery_state_name(enum recovery_state state);

struct recovery_transition {
    int64_t at_usec;
    enum recovery_state from, to;
};

#define RECOVERY_TRANSITIONS_MAX 256

/**
 * struct recovery - what one endpoint went through; feed samples in order of time with recovery_add()
 * Times are REALTIME microseconds, 0 = did not happen. All of them count from @t0_usec on: an endpoint that
 * was unhealthy before is said to be (@was_healthy_at_t0).
 *
 * A sample speaks when its answer was known or given up, and not before the samples sent ahead of it: a
 * request sent before t0 and lost in the fault is a loss of the fault. Declarations are the balancer's: a
 * lost request while healthy (`failing`) is not yet a failure of the endpoint.
 *
 * @consecutive: equal answers in a row, successes positive, failures negative
 * @unhealthy_usec: the first declaration; @healthy_usec, @stable_at_usec: of the recovery that lasted (both
 * start anew when the endpoint is declared unhealthy again)
 * @calm_since_usec: healthy without a lost request since; what @stable_at_usec counts from
 * @n_transitions: the first RECOVERY_TRANSITIONS_MAX are kept
 */
struct recovery {
    int64_t t0_usec, unhealthy_after, healthy_after, stable_usec;
    enum recovery_state state;
    int64_t consecutive;
    bool was_healthy_at_t0;
    int64_t unhealthy_usec, healthy_usec, stable_at_usec, last_known_usec, calm_since_usec;
    uint64_t requests, lost; /* since t0 */
    size_t n_transitions;
    struct recovery_transition transitions[RECOVERY_TRANSITIONS_MAX];
};
void recovery_init(struct recovery *recovery, int64_t t0_usec, int64_t unhealthy_after, int64_t healthy_after,
                   int64_t stable_usec);
void recovery_add(struct recovery *recovery, const struct sample *sample);
/** recovery_detect_msec() - t0 to declared unhealthy, -1 = never; recovery_recover_msec() - t0 to healthy
 * again (0 = never failed), -1 = not yet */
int64_t recovery_detect_msec(const struct recovery *recovery);
int64_t recovery_recover_msec(const struct recovery *recovery);

/** recovery_latency() - the @percentile (0..100) of @count latencies, by nearest rank; sorts @latencies; 0
 * when empty */
int64_t recovery_latency(int64_t *latencies, size_t count, unsigned int percentile);
