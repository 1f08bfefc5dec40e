/* Mandates and orders: what people signed, and what the coordinator makes of it for one host at one time. */
#pragma once

#include "cidr.h"
#include "document.h"
#include "envelope.h"
#include "times.h"

#define MANDATE_STEPS_MAX         64
#define MANDATE_DURATION_MIN_MSEC 100
#define MANDATE_DURATION_MAX_MSEC (24 * 3600 * 1000LL)
#define ORDER_START_WINDOW_USEC   (300 * USEC_PER_SEC) /* a step starts within this time or not at all */
#define MANDATE_OBSERVE           "observe"            /* reserved step: watch the probes, inject nothing */

/** struct zone - a zone id (apse2-az1) and its subnets */
struct zone {
    const char *name;
    size_t n_cidrs;
    struct cidr *cidrs;
};

/** struct step - one fault on some hosts; @parameters is checked against the fault by whoever knows faults
 * @after: list of the names of steps above it, which have to have ended; NULL = starts first
 */
struct step {
    const char *name;
    const char *fault;
    const struct node *parameters;
    int64_t duration_msec;
    const struct node *hosts; /* list of host ids */
    const struct node *after;
    bool takes_late_joiners;
};
#define EACH_AFTER(step, name)                                                                               \
    for (const struct node *name = (step)->after ? (step)->after->first : NULL; name; name = name->next)

/**
 * struct mandate - decoded payload; every pointer belongs to @document
 * @hash: of the payload's bytes; an order names its mandate by it
 * @duration_msec: for how long people act and the observers watch, where there are no steps; else 0
 * @late_labels: map that a late joiner's own labels must contain, NULL = none may join late
 * @observers: list of host ids; @probes, @objectives: lists for probes/ and the report
 */
struct mandate {
    struct document *document;
    char hash[HASH_TEXT_MAX];
    const char *id, *experiment, *environment, *description;
    int64_t created_usec, not_before_usec, not_after_usec;
    int64_t max_runs;
    int64_t require_percent;
    int64_t warmup_msec, settle_msec, duration_msec;
    size_t n_zones;
    struct zone *zones;
    size_t n_steps;
    struct step *steps;
    const struct node *late_labels;
    int64_t late_max;
    const struct node *observers, *probes, *objectives, *expect;
};

/** mandate_parse() - decode and check a payload (`grivet.mandate/1`); unknown fields are refused */
int mandate_parse(struct mandate **ret, const void *payload, size_t length, struct error *error);
struct mandate *mandate_free(struct mandate *mandate);
DEFINE_CLEANUP(struct mandate *, mandate_free)

const struct step *mandate_step(const struct mandate *mandate, const char *name);
const struct zone *mandate_zone(const struct mandate *mandate, const char *name);
/** mandate_step_has_host() - is @host pinned in @step (or, for the step "observe", among the observers)? */
bool mandate_step_has_host(const struct mandate *mandate, const char *step, const char *host);
/** mandate_count_hosts() - how many different hosts the steps name; without steps, how many watch */
int mandate_count_hosts(const struct mandate *mandate, int64_t *ret, struct error *error);
/** mandate_step_length_usec() - how long an order of @step may run at most ("observe": warm-up + the longest
 * way through the steps, each with 60 s and the settle time) */
int64_t mandate_step_length_usec(const struct mandate *mandate, const char *step);
/** mandate_step_least() - how many of its hosts the mandate requires */
size_t mandate_step_least(const struct mandate *mandate, const struct step *step);
/** mandate_step_follows() - does @step start only after @other has ended? */
bool mandate_step_follows(const struct mandate *mandate, const struct step *step, const struct step *other);
/** mandate_way_usec() - the durations of @until (NULL: of the last step to end) and of those that it follows
 * one after the other, each with @margin_usec; without steps that of the observation */
int64_t mandate_way_usec(const struct mandate *mandate, const struct step *until, int64_t margin_usec);

/** payload_free() - of any struct below: each is one allocation, and begins with its document */
void *payload_free(void *payload);

#define DEFINE_PAYLOAD(type)                                                                                 \
    static inline struct type *type##_free(struct type *payload)                                             \
    {                                                                                                        \
        return payload_free(payload);                                                                        \
    }                                                                                                        \
    DEFINE_CLEANUP(struct type *, type##_free)

/** struct order - decoded `grivet.order/1`; every pointer belongs to @document */
struct order {
    struct document *document;
    const char *id, *mandate_hash, *step, *run, *host;
    int64_t step_started_usec; /* t0 of the step as the coordinator set it */
    int64_t start_before_usec; /* refuse later than this; at most ORDER_START_WINDOW_USEC after the start */
    int64_t end_usec;          /* the deadline in REALTIME */
};
int order_parse(struct order **ret, const void *payload, size_t length, struct error *error);
DEFINE_PAYLOAD(order)

/**
 * order_check() - does @order keep inside @mandate? Pure: times, hash, step, host; no clock, no replay, no
 * signatures
 * @labels: the host's own labels (a map), to judge a late joiner
 */
int order_check(const struct order *order, const struct mandate *mandate, const char *host,
                const struct node *labels, struct error *error);

/** struct ask - decoded `grivet.ask/1`: "what would you do with this mandate?"
 * @run: that would be started, or is under way; NULL = none yet
 * @steps: the names of those that are about to start, NULL = all of them, each at its time */
struct ask {
    struct document *document;
    const char *id, *mandate_hash, *host, *run;
    const struct node *steps;
    const char *purpose;
    bool is_start; /* purpose "start": the mandate must be signed; "plan": it need not be yet */
    int64_t issued_usec, expires_usec;
};
int ask_parse(struct ask **ret, const void *payload, size_t length, struct error *error);
DEFINE_PAYLOAD(ask)

#define HALT_AHEAD_USEC (60 * USEC_PER_SEC) /* how far the clock of who halts may run ahead */

/** struct halt - decoded `grivet.halt/1`; @scope "fleet", "run" (@run set) or "host" (@host set) */
struct halt {
    struct document *document;
    const char *id, *scope, *run, *host;
    int64_t issued_usec, expires_usec;
};
int halt_parse(struct halt **ret, const void *payload, size_t length, struct error *error);
DEFINE_PAYLOAD(halt)

/** struct ack - decoded `grivet.ack/1`: events of @host up to @sequence, whose hash is @hash, are durable
 * elsewhere */
struct ack {
    struct document *document;
    const char *host, *hash;
    int64_t sequence, at_usec;
};
int ack_parse(struct ack **ret, const void *payload, size_t length, struct error *error);
DEFINE_PAYLOAD(ack)

/** names_have() - is @name one of the list @names? NULL has none */
bool names_have(const struct node *names, const char *name);
/** labels_match() - does object @labels contain every key and value of map @wanted? An empty or missing
 * @wanted matches nothing. */
bool labels_match(const json_t *labels, const struct node *wanted);
