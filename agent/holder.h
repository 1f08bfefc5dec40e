/* One fault's process: see holder.c. */
#pragma once

#include "common/channel.h"
#include "deadline.h"
#include "job.h"

#define HOLDER_SPARE_FDS 3 /* an undo opens no more at a time */

/**
 * struct holder - everything that a holder has
 * @run: what the fault sees; @record: its undo steps, on disk before what they name is made
 * @spare_fds: closed before the undo, which opens sockets and must not be refused them
 * @is_injected: there is something to undo; @is_exercised: its effect was measured
 * @is_halted: root ended it, by the halt file or a signal
 * @is_over: deadline, halt, or a parent that is gone; @over_boot_nsec: the moment to count the revert error
 * from
 */
struct holder {
    struct job *job;
    const struct fault *fault;
    const void *parameters;
    struct fault_plan plan;
    struct record record;
    struct fault_run run;
    json_t *effect;
    int signal_fd, halt_fd, spare_fds[HOLDER_SPARE_FDS];
    struct deadline deadline;
    bool is_injected, is_exercised, is_interfered, is_halted, is_over;
    int64_t over_boot_nsec;
};

int holder_wait_open(struct holder *holder, struct error *error);
/** holder_wait_message() - for one message of the executor. Return: 0 or -errno */
int holder_wait_message(struct holder *holder, struct error *error);
/** holder_wait() - until BOOTTIME @until_nsec. Return: 0 = then, 1 = the fault is over (is_over), -errno */
int holder_wait(struct holder *holder, int64_t until_nsec, struct error *error);

/** holder_main() - the whole life of one, with its channel on CHANNEL_FD. Return: exit code */
int holder_main(void);
