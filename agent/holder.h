/* One fault's process: see holder.c. */
#pragma once

#include "common/channel.h"
#include "deadline.h"
#include "job.h"
#include "privileges.h"
#include "sandbox.h"

#define HOLDER_SPARE_FDS 3 /* an undo opens no more at a time */

/**
 * struct holder - everything that a holder has
 * @account: who it becomes; @filters: by what a fault needs
 * @run: what the fault sees; @record: its undo steps, on disk before what they name is made
 * @spare_fds: closed before the undo, which opens sockets and must not be refused them
 * @is_injected: there is something to undo; @is_exercised: its effect was measured
 * @is_watching: news from @run.watch_fd is a reason to look
 * @has_looked: the last look at the kernel told whether somebody had interfered; @interference: what was
 * found, code 0 = nothing; @is_harming: so that it had to be ended
 * @is_halted: root ended it, by the halt file or a signal
 * @is_over: deadline, halt, or a parent that is gone; @over_boot_nsec: the moment to count the revert error
 * from
 */
struct holder {
    struct account account;
    struct sandbox_filter filters[MECHANISM_SETS];
    struct job *job;
    const struct fault *fault;
    const void *parameters;
    struct fault_plan plan;
    struct record record;
    struct fault_run run;
    json_t *effect;
    int signal_fd, halt_fd, spare_fds[HOLDER_SPARE_FDS];
    struct deadline deadline;
    bool is_injected, is_exercised, is_watching, has_looked, is_harming, is_halted, is_over;
    int64_t over_boot_nsec;
    struct error interference;
};

/** holder_get_ready() - be a holder in reserve; then holder_confine(), with a job */
int holder_get_ready(struct holder *holder, struct error *error);
int holder_confine(struct holder *holder, struct error *error);

int holder_wait_open(struct holder *holder, struct error *error);
/** holder_wait_message() - for one message of the executor. Return: 0 or -errno */
int holder_wait_message(struct holder *holder, struct error *error);
/** holder_wait() - until BOOTTIME @until_nsec, or there is news to look at. Return: 0 = then, 1 = the fault
 * is over (is_over), -errno */
int holder_wait(struct holder *holder, int64_t until_nsec, struct error *error);

/** holder_exercise() - until its effect was measured; holder_watch() - then, until it is over */
int holder_exercise(struct holder *holder, struct error *error);
int holder_watch(struct holder *holder, struct error *error);
/** holder_note_interference() - @found (code 0 = nothing) at @at_boot_nsec */
void holder_note_interference(struct holder *holder, const struct error *found, int64_t at_boot_nsec);
/** holder_say() - the body of the event `fault.@state`, which is taken. @findings are left out when they
 * don't fit into a message, so that the state itself arrives */
void holder_say(const char *state, json_t *body, const char *findings);

/** holder_end_harm() - the fault is over since @at_boot_nsec, because it harms more than was signed */
void holder_end_harm(struct holder *holder, int64_t at_boot_nsec);

/** holder_main() - the whole life of one, with its channel on CHANNEL_FD. Return: exit code */
int holder_main(void);
