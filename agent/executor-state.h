/* The executor's insides, shared by executor*.c and readiness.c and nobody else. */
#pragma once

#include <event2/event.h>
#include <jansson.h>

#include "admission.h"
#include "answer.h"
#include "executor.h"
#include "journal.h"
#include "lifeline.h"
#include "supervisor.h"
#include "syncer.h"
#include "unfinished.h"

#define EXECUTOR_PEERS_MAX   12
#define EXECUTOR_PENDING_MAX 512
#define EXECUTOR_WATCHES_MAX 8
#define EXECUTOR_HALTED_MAX  32
#define EXECUTOR_READY_MSEC  15000

struct peer {
    struct executor *executor;
    int fd;
    enum channel_role role;
    struct event *readable;
    bool waits_ready, waits_halted;
    size_t n_halted;
};

/** struct watch - an `observe` order: the prober watches, nothing is injected */
struct watch {
    bool is_used;
    char order[UUID_TEXT_MAX], run[UUID_TEXT_MAX];
    int64_t until_usec;
    char *body;
    struct event *timer;
    struct executor *executor;
};

/** struct pending - an event that the journal could not take yet; everything owned */
struct pending {
    char *kind, *run, *order, *step;
    int64_t at_usec, boot_nsec;
    json_t *clock, *body;
};

/**
 * struct waiting - an order that was let in and starts once the memory of it is durable
 * @is_halted: a halt came meanwhile
 */
struct waiting {
    struct waiting *next;
    struct executor *executor;
    struct admitted admitted;
    struct bundle bundle;
    int64_t end_usec;
    bool is_halted;
};

/** struct bucket - a limit on what a peer may make us do: @tokens are refilled at one a second */
struct bucket {
    double tokens;
    int64_t last_nsec;
};

struct executor {
    const struct executor_config *config;
    struct event_base *base;
    struct policy *policy;
    struct roots *roots;
    struct secret_key *key;
    struct replay *replay;
    struct syncer *syncer;
    bool is_syncing;             /* the journal */
    struct waiting *waiting;     /* in the order in which they came */
    struct journal *journal;     /* NULL: damaged, see @broken */
    char broken[ERROR_TEXT_MAX]; /* why no order can be taken until root has seen to it; empty = nothing */
    struct supervisor *supervisor;
    struct answers *answers;
    uid_t courier_uid, prober_uid;

    int listen_fd, inotify_fd;
    struct event *on_listen, *on_inotify, *on_term, *on_int, *on_sync, *on_retry, *on_contact, *on_watchdog;
    struct peer peers[EXECUTOR_PEERS_MAX];

    struct lifeline_reported reported;
    struct lifeline lifeline;
    struct fault_host host;

    int64_t contact_usec;    /* of the last poll that was answered, 0 = none in this life */
    int64_t heard_boot_nsec; /* the same or the last order, for lost_contact_after_s */
    char contact[ENDPOINT_TEXT_MAX];
    json_t *clock;

    bool is_halted; /* the file /run/grivet/halt is there */
    bool is_stopping;
    int64_t halted_usec; /* orders of steps that started earlier are halted */
    size_t n_halted_runs;
    char halted_runs[EXECUTOR_HALTED_MAX][UUID_TEXT_MAX];

    int64_t started_boot_nsec;
    bool is_ready, is_ready_over;
    int64_t ready_waited_msec;
    struct event *on_ready;

    struct watch watches[EXECUTOR_WATCHES_MAX];
    size_t n_pending;
    struct pending pending[EXECUTOR_PENDING_MAX];
    struct bucket asks, refusals;
    struct unfinished_orders unfinished; /* of an earlier life */
};

/* executor-events.c */
/** executor_record() - an event, now; @body is taken; strings may be NULL */
void executor_record(struct executor *executor, const char *kind, const char *run, const char *order,
                     const char *step, json_t *body);
/** executor_greet_courier() - which events are durable */
void executor_greet_courier(struct executor *executor);
/** executor_flush() - make everything durable, at the end, when there is nothing that may not wait for a disk
 */
void executor_flush(struct executor *executor);
void executor_say(struct executor *executor, int level, const char *format, ...) _printf_(3, 4);
bool bucket_take(struct bucket *bucket, double burst);
int executor_open_events(struct executor *executor, struct error *error);
void executor_close_events(struct executor *executor);

/* executor-peers.c */
int executor_open_peers(struct executor *executor, struct error *error);
void executor_close_peers(struct executor *executor);
struct peer *executor_peer(struct executor *executor, enum channel_role role);
/** peer_send() - closes a peer that takes nothing more */
void peer_send(struct peer *peer, enum channel_type type, const char *body, int fd);
/** peer_send_large() - @data in a sealed memfd */
void peer_send_large(struct peer *peer, enum channel_type type, const void *data, size_t length);
void peer_close(struct peer *peer);

/* executor-orders.c, executor-watch.c, executor-halt.c, executor-report.c: handlers of messages, see the
 * table */
int executor_on_order(void *context, struct message *message, struct error *error);
int executor_on_ask(void *context, struct message *message, struct error *error);
int executor_on_halt(void *context, struct message *message, struct error *error);
int executor_on_halt_local(void *context, struct message *message, struct error *error);
int executor_on_ack(void *context, struct message *message, struct error *error);
int executor_on_nonce(void *context, struct message *message, struct error *error);
int executor_on_clock(void *context, struct message *message, struct error *error);
int executor_on_contact(void *context, struct message *message, struct error *error);
int executor_on_fetch(void *context, struct message *message, struct error *error);
int executor_on_samples(void *context, struct message *message, struct error *error);
int executor_on_status(void *context, struct message *message, struct error *error);
int executor_on_wait_ready(void *context, struct message *message, struct error *error);

/** executor_halt_waiting() - orders of @run (NULL = all) that wait for the disk don't start any more */
void executor_halt_waiting(struct executor *executor, const char *run);
void executor_close_orders(struct executor *executor);
void executor_answer_done(void *context, const struct ask *ask, const json_t *findings,
                          const struct error *error);
/** executor_make_lifeline() - anew before each decision: resolvers change */
void executor_make_lifeline(struct executor *executor);

int executor_watch_start(struct executor *executor, const struct order *order, const struct mandate *mandate,
                         struct error *error);
void executor_watch_end(struct executor *executor, const char *run);
void executor_watch_resend(struct executor *executor);
/** executor_watch_forget() - observations of an earlier life are over: their probes are not known any more */
void executor_watch_forget(struct executor *executor);
size_t executor_watch_count(const struct executor *executor);

/** executor_end_all() - END to every holder first, everything else afterwards; @scope, @by: for halt.received
 */
size_t executor_end_all(struct executor *executor, const char *run, enum supervisor_end end,
                        const char *scope, const char *by);
bool executor_is_halted(const struct executor *executor, const struct order *order);
int executor_open_halts(struct executor *executor, struct error *error);
void executor_close_halts(struct executor *executor);
/** executor_on_changed() - a fault was armed or is over: who waits for that? */
void executor_on_changed(void *context);

/* readiness.c */
int readiness_open(struct executor *executor, struct error *error);
void readiness_check(struct executor *executor);
