/* One fault under way, shared by the supervisor's own files and nobody else. */
#pragma once

#include "common/record.h"
#include "supervisor.h"

#define SLOT_BACKSTOP_NSEC (500 * NSEC_PER_MSEC) /* after the kernel's own timer */
#define SLOT_RETRY_NSEC    (100 * NSEC_PER_MSEC)
#define SLOT_END_NSEC      (2 * NSEC_PER_SEC) /* a holder that was asked to end and did not is killed */

enum slot_state { SLOT_FREE, SLOT_ARMING, SLOT_ARMED, SLOT_EXERCISED, SLOT_OVER, SLOT_UNDOING };

/**
 * struct slot - one fault under way
 * @pid: our child, 0 for the holder of an earlier life; @pidfd: -1 once it is known to be dead
 * @channel: to the holder, -1 when there is none
 * @timer_fd: BOOTTIME: the backstop while the holder lives, the next try while we undo
 * @has_ended: the holder said that it is over and all is as before
 * @has_failed: it said `failed`; the reason was passed on
 * @over_boot_nsec: when it was asked to end or was found dead
 * @effect: the last one heard of, or NULL
 */
struct slot {
    struct supervisor *supervisor;
    enum slot_state state;
    char order[UUID_TEXT_MAX], run[UUID_TEXT_MAX], step[64];
    const struct fault *fault;
    int64_t deadline_boot_nsec, deadline_real_usec;
    pid_t pid;
    int pidfd, channel, timer_fd;
    struct event *on_pidfd, *on_channel, *on_timer;
    enum supervisor_end end;
    bool has_ended, has_failed, has_said_stuck;
    int64_t over_boot_nsec;
    char death[80];
    json_t *effect;
};

struct supervisor {
    struct event_base *base;
    int records_fd, results_fd;
    const struct supervisor_events *events;
    void *context;
    struct slot slots[SUPERVISOR_FAULTS_MAX];
};

/** slot_open() - take a free slot, with its timer. Return: NULL when there is none */
struct slot *slot_open(struct supervisor *supervisor, struct error *error);
int slot_watch(struct slot *slot, struct error *error);
void slot_clear(struct slot *slot);
void slot_set_timer(struct slot *slot, int64_t boot_nsec);
void slot_kill(const struct slot *slot);
/** slot_event() - @body is taken; gets `fault` */
void slot_event(const struct slot *slot, const char *kind, json_t *body);

/** slot_hear() - take the holder's messages. Return: 0, or -errno when the channel is of no use any more */
int slot_hear(struct slot *slot, struct error *error);
/** slot_finish() - the holder is dead: undo what it left, look, say so; again later when it did not work */
void slot_finish(struct slot *slot);
