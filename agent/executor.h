/*
 * The executor: the privileged process of a host. It has no network socket; courier, prober and root talk to
 * it on one local socket. It verifies, decides, starts holders, keeps the journal and signs. What its parts
 * know, each in the struct of the file that owns it; shared by executor-*.c and main.c and nobody else.
 */
#pragma once

#include <event2/event.h>
#include <jansson.h>
#include <systemd/sd-bus.h>

#include "admission.h"
#include "common/log.h"
#include "journal.h"
#include "lifeline.h"
#include "supervisor.h"
#include "syncer.h"

#define EXECUTOR_STATE        "/var/lib/grivet"
#define EXECUTOR_SOCKET       RUN_FOLDER "/agent.sock"
#define EXECUTOR_EVENTS_MAX   16 /* of libevent, that live as long as we do */
#define EXECUTOR_PEERS_MAX    12
#define EXECUTOR_SPARE_FDS    2
#define EXECUTOR_WATCHES_MAX  8
#define EXECUTOR_HALTED_MAX   32
#define EXECUTOR_UNJUDGED_MAX 16
#define EXECUTOR_ANSWERS_MAX  4 /* worked out at the same time */

/** struct peer - who talks to us: one of a fixed number of places, free while @role is 0 */
struct peer {
    struct executor *executor;
    int fd;
    enum channel_role role;
    struct event *readable;
    enum channel_type awaits; /* what it is told when that has come true, 0 = nothing */
    size_t n_halted;
};

/**
 * struct events - executor-events.c: on their way to the disk, and from there to the courier
 * @journal: NULL: damaged, see @broken of the executor
 * @is_failing: the disk did not take the last group, which is tried again
 * @orders: by id, what was told of: of an earlier life the event order.accepted, false once its end was told;
 * of this one true
 */
struct events {
    struct syncer syncer;
    bool is_syncing, is_failing;
    struct journal *journal;
    json_t *clock, *orders;
    struct event *on_written, *on_retry;
};

/** struct waiting - executor-orders.c: an order that was let in and starts once the memory of it is durable
 */
struct waiting {
    struct waiting *next;
    struct decision decision;
    bool is_syncing, is_halted;
};

/** executor_judge() - decide on the document of @fd, which is the caller's */
typedef void executor_judge(struct executor *executor, int fd);

/** struct unjudged - what came while it was not known whether the clock is right */
struct unjudged {
    int fd;
    executor_judge *judge;
};

/**
 * struct clock - executor-clock.c: is REALTIME kept right?
 * @is_right: as it was told last, by the bus until @holds_until_nsec (BOOTTIME)
 * @bus: NULL while nothing is asked; @reply: -EINPROGRESS = not yet, 0, 1 or -errno
 */
struct clock {
    bool is_right, has_forgotten;
    int64_t holds_until_nsec;
    sd_bus *bus;
    struct event *io, *late;
    int reply;
    size_t n_waiting;
    struct unjudged waiting[EXECUTOR_UNJUDGED_MAX];
};

/** struct answer - executor-asks.c: an ask that is being answered; a free place while @pid is 0 */
struct answer {
    struct executor *executor;
    struct ask *ask;
    pid_t pid;
    int pidfd, findings_fd;
    struct event *on_end;
};

/** struct watch - executor-watch.c: an `observe` order; a free place while @body, what the prober is told, is
 * NULL; @samples_nsec: see executor_is_within_rate(); @has_dropped: samples, and that was said */
struct watch {
    struct executor *executor;
    json_t *body;
    struct event *timer;
    int64_t samples_nsec;
    bool has_dropped;
};

/** struct halts - executor-halt.c: what was halted, since orders of it may still be on their way */
struct halts {
    int inotify_fd;
    bool has_file;      /* /run/grivet/halt is there */
    int64_t until_usec; /* orders of steps that started before */
    size_t n_runs;
    char runs[EXECUTOR_HALTED_MAX][UUID_TEXT_MAX]; /* a ring */
};

/**
 * struct contact - executor-contact.c: when a coordinator was last heard of, and whether that is enough to
 * boot on
 * @ready: the body of agent.ready, NULL before; @poll_usec: of the last poll that was answered, 0 = none in
 * this life; @heard_boot_nsec: of that or an order
 */
struct contact {
    char coordinator[ENDPOINT_TEXT_MAX];
    int64_t poll_usec, heard_boot_nsec;
    struct lifeline_reported reported;
    int64_t started_boot_nsec;
    json_t *ready;
};

struct executor {
    struct event_base *base;
    size_t n_all_events;
    struct event *all_events[EXECUTOR_EVENTS_MAX];
    struct policy *policy;
    struct roots *roots;
    struct secret_key *key;
    struct replay *replay;
    uid_t courier_uid, prober_uid;
    struct lifeline lifeline;
    struct fault_host host;
    char broken[ERROR_TEXT_MAX]; /* why no order can be taken until root has seen to it; empty = nothing */
    bool is_stopping;
    bool is_to_restart;   /* we end with the last fault, for a new life that can make events durable */
    const char *lost;     /* what of ours was taken away, so that we end */
    int64_t boot_at_usec; /* REALTIME at BOOTTIME 0, as it was when the clock was first right; 0 = not yet */

    struct supervisor *supervisor;
    int listen_fd;
    int spare_fds[EXECUTOR_SPARE_FDS]; /* when no other is free: for a halt, which comes as a descriptor, and
                                          for who comes to halt */
    struct event *on_listen, *on_listen_again;
    struct peer peers[EXECUTOR_PEERS_MAX];
    struct events events;
    struct waiting *waiting; /* in the order in which they came */
    struct answer answers[EXECUTOR_ANSWERS_MAX];
    int64_t asks_nsec, refusals_nsec, halts_nsec; /* see executor_is_within_rate() */
    struct watch watches[EXECUTOR_WATCHES_MAX];
    struct clock clock;
    struct halts halts;
    struct contact contact;
};

/* ---- main.c */

void executor_say(enum log_level level, const char *format, ...) _printf_(2, 3);
/** executor_say_fault() - start and end of a fault, for a journal message of its own */
void executor_say_fault(const char *kind, const char *run, const char *order, const char *fault);
/** executor_break() - no orders any more, because of @error */
void executor_break(struct executor *executor, const struct error *error);
/**
 * executor_event() - an event of libevent that lives as long as we do
 * @after: a timer's length; NULL for a timer = not added yet
 * Return: NULL when out of memory
 */
struct event *executor_event(struct executor *executor, int fd, short what, event_callback_fn callback,
                             const struct timeval *after);

/* ---- executor-peers.c */

int executor_open_peers(struct executor *executor, struct error *error);
void executor_close_peers(struct executor *executor);
struct peer *executor_peer(struct executor *executor, enum channel_role role);
/** peer_send() - a small body; closes a peer that takes nothing more. No @peer: nobody hears it */
void peer_send(struct peer *peer, enum channel_type type, const char *format, ...) _printf_(3, 4);
/** peer_send_large() - @data in a sealed memfd */
void peer_send_large(struct peer *peer, enum channel_type type, const void *data, size_t length);
/** peer_send_signed() - @json, which is taken, under the host's key */
void peer_send_signed(struct peer *peer, enum channel_type type, enum envelope_kind kind, json_t *json);
/** message_unpack() - a body by a @format of jansson, which says all that may be in it; strings that it gives
 * belong to what is returned. Return: NULL = refused */
json_t *message_unpack(const struct message *message, struct error *error, const char *format, ...);
/** message_verify() - the one document of a memfd, signed by somebody with @role */
int message_verify(struct executor *executor, const struct message *message, enum envelope_kind kind,
                   enum roots_role role, struct bundle *ret, struct error *error);

/* ---- executor-events.c */

/** executor_open_syncer() - the first of all, before keys are read: it is another process */
int executor_open_syncer(struct executor *executor, struct error *error);
int executor_open_events(struct executor *executor, struct error *error);
void executor_close_events(struct executor *executor);
/** executor_record() - an event, now; @body is taken; strings may be NULL */
void executor_record(struct executor *executor, const char *kind, const char *run, const char *order,
                     const char *step, json_t *body);
/** executor_has_room() - for an event that may be missing: what waits for the disk leaves enough for the
 * words of faults */
bool executor_has_room(const struct executor *executor);
/** executor_sync() - have written what waits, orders and events together, if nothing is under way */
void executor_sync(struct executor *executor);
/** executor_tell_courier() - which events are durable */
void executor_tell_courier(struct executor *executor);

/* ---- executor-orders.c */

/** executor_sync_orders() - a group begins: all that wait are in it */
void executor_sync_orders(struct executor *executor);
/** executor_start_orders() - the group is over: start or refuse its orders */
void executor_start_orders(struct executor *executor);
/** executor_halt_orders() - those of @run (NULL = all) that wait for the disk don't start any more */
void executor_halt_orders(struct executor *executor, const char *run);
void executor_close_orders(struct executor *executor);
/** executor_make_admission() - what a decision rests on now; borrows from @executor */
struct admission executor_make_admission(struct executor *executor);
/** executor_is_within_rate() - a peer may make us do something each @cost_nsec, and as often at once as
 * @burst_nsec has room for. @level_nsec: BOOTTIME at which nothing of the burst is used any more */
bool executor_is_within_rate(int64_t *level_nsec, int64_t cost_nsec, int64_t burst_nsec);

/* ---- executor-clock.c */

int executor_open_clock(struct executor *executor, struct error *error);
void executor_close_clock(struct executor *executor);
/** executor_when_clock_known() - @judge the document of @message, now or after a second at most */
void executor_when_clock_known(struct executor *executor, struct message *message, executor_judge *judge);
/** executor_is_clock_right() - as far as root's policy wants to know */
bool executor_is_clock_right(const struct executor *executor);
/** executor_latest_usec() - REALTIME, or what it would be if it had not been set back while we live */
int64_t executor_latest_usec(struct executor *executor, int64_t now_usec, int64_t now_boot_nsec);

/* ---- executor-asks.c */

void executor_close_asks(struct executor *executor);

/* ---- executor-watch.c */

int executor_watch_start(struct executor *executor, const struct order *order, const struct mandate *mandate,
                         struct error *error);
/** executor_watch_end() - those of @run, NULL = all */
void executor_watch_end(struct executor *executor, const char *run);
/** executor_watch_resend() - to a prober that has just come */
void executor_watch_resend(struct executor *executor);
size_t executor_watch_count(const struct executor *executor);

/* ---- executor-halt.c */

int executor_open_halts(struct executor *executor, struct error *error);
/** executor_end_all() - END to every holder of @run (NULL = all) first, everything else afterwards.
 * @scope: of halt.received, NULL = without it; @by: who did it. Return: how many it reached */
size_t executor_end_all(struct executor *executor, const char *run, enum supervisor_end end,
                        const char *scope, const char *by);
/** executor_look_for_halt() - is /run/grivet/halt there now? If so, everything ends */
void executor_look_for_halt(struct executor *executor);
bool executor_is_halted(const struct executor *executor, const struct order *order);
/** executor_on_changed() - a fault was armed or is over: who waits for that? */
void executor_on_changed(void *context);

/* ---- executor-contact.c */

int executor_open_contact(struct executor *executor, struct error *error);
/** executor_check_ready() - is it time to answer those who wait for it? */
void executor_check_ready(struct executor *executor);

/* ---- handlers of messages, in the file of their subject; @context: the peer */

typedef int executor_handler(void *context, struct message *message, struct error *error);
executor_handler executor_on_order, executor_on_ask, executor_on_halt, executor_on_halt_local,
    executor_on_ack, executor_on_nonce, executor_on_clock, executor_on_contact, executor_on_fetch,
    executor_on_samples, executor_on_status, executor_on_wait_ready;
