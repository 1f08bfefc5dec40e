/* One holder's life, shared by the holder's own files and nobody else. */
#pragma once

#include "common/channel.h"
#include "deadline.h"
#include "job.h"

/* Up to here is "shortly before": the last measurement must not stand between deadline and undo. */
#define HOLDER_LEAD_NSEC     (50 * NSEC_PER_MSEC)
#define HOLDER_MEASURE_NSEC  NSEC_PER_SEC
#define HOLDER_EXERCISE_NSEC (3 * NSEC_PER_SEC)
#define HOLDER_RETRY_NSEC    (20 * NSEC_PER_MSEC)
#define HOLDER_LEAST_NSEC    (100 * NSEC_PER_MSEC) /* less than this is left: not worth starting */

/**
 * struct holder - everything that a holder has
 * @run: what the fault sees; @record: its undo record, on disk from before the injection
 * @is_injected: there is something to undo; @is_exercised: its effect was measured
 * @is_halted: the file /run/grivet/halt ended it
 * @is_over: deadline, halt, or a parent that is gone; @over_boot_nsec: the moment to count the revert error
 * from
 */
struct holder {
    struct job *job;
    const struct fault *fault;
    void *parameters;
    struct fault_plan plan;
    struct record record;
    struct fault_run run;
    json_t *effect;
    int signal_fd, halt_fd;
    struct deadline deadline;
    bool is_recorded, is_injected, is_exercised, is_interfered, is_halted, is_over;
    int64_t over_boot_nsec;
};

/** holder_confine() - die with the parent and at the deadline, whatever comes; then give up all that isn't
 * needed */
int holder_confine(struct holder *holder, struct error *error);

/** holder_wait() - until BOOTTIME @until_nsec. Return: 0 = then, 1 = the fault is over (is_over), -errno */
int holder_wait(struct holder *holder, int64_t until_nsec, struct error *error);
int holder_wait_open(struct holder *holder, struct error *error);

/* What the executor hears: docs/protocol.md. A full or closed channel is no reason to do anything else. */
void holder_say_armed(const struct holder *holder);
void holder_say_exercised(const struct holder *holder);
void holder_say_reverted(const struct holder *holder, int64_t done_boot_nsec);
void holder_say_ended(const struct holder *holder);
void holder_say_failed(const struct holder *holder, const struct error *error, bool is_reverted);
