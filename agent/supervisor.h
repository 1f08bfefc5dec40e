/*
 * One holder for each fault under way: started with its job, heard, ended, and, when it dies before it has
 * said and shown that all is as before, finished for it. Nothing is called reverted here without a look at
 * the kernel.
 *
 * Slots, events and the bodies of messages are made when a fault starts; ending them all needs neither memory
 * nor disk.
 */
#pragma once

#include <event2/event.h>

#include "common/channel.h"
#include "job.h"
#include "reserve.h"

#define SUPERVISOR_FAULTS_MAX 16

enum supervisor_end {
    SUPERVISOR_NOT_ENDED,
    SUPERVISOR_HALT,     /* somebody halted it */
    SUPERVISOR_EXECUTOR, /* we end it early: contact lost, or we are stopped */
};

enum slot_state { SLOT_FREE, SLOT_ARMING, SLOT_ARMED, SLOT_EXERCISED, SLOT_OVER, SLOT_UNDOING };

/**
 * struct slot - one fault under way
 * @run, @step: empty when an earlier life of the executor left it and the journal does not know it any more
 * @pid: our child, 0 for what an earlier life left; @pidfd: -1 once it is known to be dead
 * @channel: to the holder, -1 when there is none
 * @on_timer: the backstop while the holder lives, the next try while we undo
 * @has_ended: it was said that it is over and all is as before
 * @has_failed: the holder said `failed` or `interrupted`; the reason was passed on
 * @is_of_earlier_boot: the host was restarted since
 * @over_boot_nsec: when it was asked to end or was found dead
 * @death: in words
 * @effect: the last one heard of, or NULL
 */
struct slot {
    struct supervisor *supervisor;
    enum slot_state state;
    char order[UUID_TEXT_MAX], run[UUID_TEXT_MAX], step[64];
    const struct fault *fault;
    int64_t deadline_boot_nsec, deadline_real_usec;
    pid_t pid;
    int pidfd, channel;
    struct event *on_pidfd, *on_channel, *on_timer;
    enum supervisor_end end;
    bool has_ended, has_failed, has_said_stuck, is_of_earlier_boot;
    int64_t over_boot_nsec;
    char death[80];
    json_t *effect;
};

struct executor;
struct supervisor {
    struct executor *executor;
    int records_fd, results_fd;
    struct reserve reserve;
    struct slot slots[SUPERVISOR_FAULTS_MAX];
};

int supervisor_open(struct executor *executor, struct error *error);
struct supervisor *supervisor_free(struct supervisor *supervisor);
DEFINE_CLEANUP(struct supervisor *, supervisor_free)

int supervisor_start(struct supervisor *supervisor, const struct job *job, struct error *error);

/** supervisor_end() - @run: NULL = all. No allocation, no disk. Return: how many it reached */
size_t supervisor_end(struct supervisor *supervisor, const char *run, enum supervisor_end end);

/** supervisor_next() - the fault under way @after that one, NULL = the first. Return: NULL past the last */
const struct slot *supervisor_next(const struct supervisor *supervisor, const struct slot *after);
/** supervisor_count() - faults under way of @class, but for those that have said to be over: what follows one
 * of them may come as soon as that is known. NULL = all that have a process or something to undo */
size_t supervisor_count(const struct supervisor *supervisor, const char *class);
/** slot_state_name() - in a word of docs/protocol.md */
const char *slot_state_name(const struct slot *slot);

/* ---- supervisor-end.c */

/**
 * supervisor_adopt() - end what an earlier life of the executor left: kill, undo, look, say
 * @orders: each with its event order.accepted, or false when its end was told; those that have an undo record
 * are added
 */
void supervisor_adopt(struct supervisor *supervisor, json_t *orders);

/** supervisor_take_results() - make events of what the sweep did meanwhile */
void supervisor_take_results(struct supervisor *supervisor);

/** slot_finish() - the holder is dead: undo what it left, look, say so; again later when it did not work */
void slot_finish(struct slot *slot);

/* ---- of supervisor.c, for supervisor-end.c */

/** slot_open() - take a free slot. Return: NULL when there is none */
struct slot *slot_open(struct supervisor *supervisor, const char *order, const struct fault *fault,
                       struct error *error);
void slot_clear(struct slot *slot);
void slot_set_timer(struct slot *slot, int64_t after_nsec);
/** slot_event() - @body is taken; gets `fault` */
void slot_event(const struct slot *slot, const char *kind, json_t *body);
/** slot_hear() - take the holder's messages. Return: 0, or -errno when the channel is of no use any more */
int slot_hear(struct slot *slot, struct error *error);
