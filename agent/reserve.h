/*
 * A holder in reserve. To execute and link a program takes longer than all the rest between an order and its
 * fault; so one holder is started before it is needed, and waits for its job with its memory locked and
 * nothing but its channel to the executor. It is bound to the executor's life like any holder. An order that
 * finds none starts its own.
 */
#pragma once

#include <event2/event.h>
#include <sys/types.h>

#include "common/error.h"

/** struct holder_process - a holder, as its executor has it; @pid: 0 = none */
struct holder_process {
    pid_t pid;
    int pidfd, channel;
};

/** process_end() - kill a child; it is reaped when it is gone, and nobody waits for that: it may be stuck in
 * the kernel. @pidfd: is taken, no event may be left for it; -1 = none */
void process_end(pid_t pid, int pidfd, struct event_base *base);

struct reserve {
    struct event_base *base;
    struct holder_process one;
    struct event *on_death, *on_refill;
};

/** reserve_open() - the first one is started from the loop of @base */
int reserve_open(struct reserve *reserve, struct event_base *base, struct error *error);
/** reserve_close() - the one that waits ends by itself */
void reserve_close(struct reserve *reserve);

/** reserve_give_job() - to the one that waits, or to one that is started for it; the next is started in a
 * while, when this fault is armed. @job_fd: stays the caller's. @ret: the caller's to watch and to reap */
int reserve_give_job(struct reserve *reserve, int job_fd, struct holder_process *ret, struct error *error);
