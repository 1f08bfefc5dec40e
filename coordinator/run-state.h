/*
 * What one run is, in memory. Everything here is filled from the store's rows and the hosts' events by the
 * same functions whether live or after a restart; what the run does to the world goes through struct
 * run_actions, so that the state machine, the objectives and the report run without network, store or clock.
 *
 * Times are REALTIME microseconds, 0 = did not happen. Those of hosts are as reported; run_corrected() turns
 * them into the coordinator's.
 */
#pragma once

#include "probes/probe.h"
#include "probes/recovery.h"
#include "run.h"

#define RUN_CHECK_USEC  (10 * USEC_PER_SEC) /* for answers to asks, and for a step to arm */
#define RUN_FLOW_USEC   (5 * USEC_PER_SEC)  /* after the warm-up: for the first samples */
#define RUN_PROOF_USEC  (5 * USEC_PER_SEC)  /* after an end or a halt: for proofs and fresh heads */
#define RUN_RETURN_USEC (5 * USEC_PER_SEC)  /* after a restart: couriers wait so long between attempts */
#define RUN_WINDOW_USEC (30 * USEC_PER_SEC) /* an order starts within this or not at all */
#define RUN_SAMPLES_MAX 2000000
#define RUN_FACTS_MAX   20000

enum run_state {
    RUN_CHECKING,
    RUN_WARMING_UP,
    RUN_STARTING,
    RUN_RUNNING,
    RUN_SETTLING,
    RUN_DONE,
    RUN_HALTED,
    RUN_FAILED
};
const char *run_state_name(enum run_state state);
int run_state_find(const char *name); /* -1 = unknown */

enum verdict { VERDICT_MET, VERDICT_UNKNOWN, VERDICT_MISSED }; /* in order of weight */
const char *verdict_name(enum verdict verdict);

/**
 * struct run_host - a host that has to do with the run: pinned, observer, or born during it
 * @is_accepted: its answer to the ask at the start; @reason: why not
 * @is_suspect: its chain contradicts itself: what was said in its name may be forged
 * @in_service_usec: since when the balancer keeps it, 0 = it does not
 */
struct run_host {
    char id[64], group[64], address[64];
    bool is_pinned, is_observer, is_replacement, is_unready, is_head_fresh, is_suspect;
    char ask[UUID_TEXT_MAX];
    bool has_answered, is_accepted, is_victim;
    char reason[256];
    bool has_clock;
    int64_t clock_offset_usec, clock_bound_usec;
    int64_t started_usec, in_service_usec;
};

enum run_fault_state {
    RUN_FAULT_ORDERED,
    RUN_FAULT_ACCEPTED,
    RUN_FAULT_ARMED,
    RUN_FAULT_EXERCISED,
    RUN_FAULT_REVERTED,
    RUN_FAULT_ENDED,
    RUN_FAULT_FAILED,
    RUN_FAULT_REFUSED,
};
const char *run_fault_state_name(enum run_fault_state state);

/** struct run_fault - one order; for the step "observe" too (@step is NULL then) */
struct run_fault {
    char order[UUID_TEXT_MAX], host[64];
    const struct step *step;
    enum run_fault_state state;
    int64_t started_usec, deadline_usec; /* as ordered */
    int64_t armed_usec, exercised_usec, reverted_usec;
    bool has_revert_error, is_interfered, is_interrupted, is_left_behind;
    double revert_error_msec;
    char ended_by[16], reason[256];
    json_t *effect;
};

struct run_endpoint {
    const char *from; /* observer; belongs to the mandate */
    struct probe probe;
    struct recovery live; /* from the first sample on, for progress; the report counts anew from t0 */
    struct sample *samples;
    size_t n_samples;
};

/** struct balancer_fact - @state "UP", "DOWN"...; @address "" and @server "" where the balancer did not say
 */
struct balancer_fact {
    int64_t at_usec;
    char balancer[64], backend[64], server[64], address[64], state[24], text[200];
};

/** struct balancer_budget - how long a balancer may take by its own settings */
struct balancer_budget {
    char balancer[64], backend[64];
    int64_t out_least_msec, out_most_msec, in_least_msec, in_most_msec; /* out_most_msec 0 = not known */
};

struct run;

/** struct run_actions - what a run may do; a NULL-free table */
struct run_actions {
    void (*ask)(struct run *run, struct run_host *host, int64_t now_usec);
    int (*order)(struct run *run, struct run_fault *fault, struct error *error);
    void (*halt)(struct run *run, int64_t now_usec);
    void (*nudge)(struct run *run, struct run_host *host); /* for a head newer than now */
    void (*save)(struct run *run);
    void (*say)(struct run *run, int64_t at_usec, const char *text);
    void (*finish)(struct run *run, int64_t now_usec);
};

struct run {
    char id[UUID_TEXT_MAX];
    struct mandate *mandate;
    enum run_state state;
    int64_t created_usec, since_usec, over_usec;
    int64_t loaded_usec;  /* since when hosts could talk to this process: deadlines that depend on their
                             words count from here at the earliest */
    int64_t started_usec; /* step_started_at, 0 = no fault was ordered */
    int64_t t0_usec, start_skew_usec, finishing_usec;
    char reason[300]; /* of a failure, who halted, or why the verdict is not met */
    bool is_replaying;
    size_t n_hosts, n_faults, n_endpoints, n_facts, n_budgets, n_lines;
    struct run_host *hosts;
    struct run_fault *faults;
    struct run_endpoint *endpoints;
    struct balancer_fact *facts;
    struct balancer_budget *budgets;
    int64_t balancer_seen_usec; /* last time a balancer answered */
    enum verdict verdict;
    const struct run_actions *actions;
    struct coordinator *coordinator; /* of the actions; NULL in tests */
};

/** run_new() - takes over @mandate; hosts and endpoints are made from it */
int run_new(struct run **ret, const char *id, struct mandate *mandate, int64_t now_usec,
            const struct run_actions *actions, struct coordinator *coordinator, struct error *error);
struct run *run_free(struct run *run);
DEFINE_CLEANUP(struct run *, run_free)

struct run_host *run_host(struct run *run, const char *id);
/** run_add_host() - the one that is there, or a new one; NULL when out of memory */
struct run_host *run_add_host(struct run *run, const char *id);
struct run_fault *run_add_fault(struct run *run, const char *order, const char *host, const struct step *step,
                                int64_t started_usec, int64_t deadline_usec);
struct run_fault *run_fault_of(struct run *run, const char *host, const char *step);
bool run_is_over(const struct run *run);
/** run_fault_is_active() - may it still be doing something? */
bool run_fault_is_active(const struct run_fault *fault);
/** run_corrected() - a time that @host reported, in the coordinator's clock */
int64_t run_corrected(const struct run *run, const char *host, int64_t usec);
/** run_end_usec() - the last deadline of all ordered steps; run_reverted_usec() - the last proved revert,
 * corrected */
int64_t run_end_usec(const struct run *run);
int64_t run_reverted_usec(const struct run *run);
/** run_host_replaced() - is a replacement that came into service while it was needed: before the last revert
 */
bool run_host_replaced(const struct run *run, const struct run_host *host);
void run_say(struct run *run, int64_t at_usec, const char *format, ...) _printf_(3, 4);

/* run-facts.c: from what was said to what is known */
void run_take_event(struct run *run, const struct host_event *event);
/** run_note_newborn() - a host joined: is it a replacement? */
void run_note_newborn(struct run *run, const char *host, const char *group, const char *address,
                      int64_t joined_usec);
/** run_take_server() - one server of a balancer as it is now. Return: true if that is news */
bool run_take_server(struct run *run, const struct balancer_fact *fact);
/** run_add_fact() - keep it, without a look at what was before */
void run_add_fact(struct run *run, const struct balancer_fact *fact);

/* run-machine.c */
void run_begin(struct run *run, int64_t now_usec);
/** run_advance() - take every step that is due; calls no other function of run.c than the actions */
void run_advance(struct run *run, int64_t now_usec);
void run_halt(struct run *run, const char *by, int64_t now_usec);
/** run_order_late() - a late joiner: order the steps that are under way */
void run_order_late(struct run *run, const char *host, const json_t *labels, int64_t now_usec);
/** run_check_share() - 0, or -EDQUOT with the counts, when too large a share of a group would fail;
 * @group_sizes by fleet */
int run_check_share(const struct run *run, size_t (*group_size)(void *context, const char *group),
                    void *context, struct error *error);

/* objective.c, report.c */
struct objective_result {
    const char *name, *kind;
    enum verdict verdict;
    json_t *objective, *measured; /* owned */
    char why[200];
};
/** objective_check() - decode one objective of an experiment or mandate; @probes: its list of probes */
int objective_check(const struct document *document, const struct node *node, const struct node *probes,
                    struct error *error);
int objective_judge(const struct run *run, const struct node *node, struct objective_result *ret);
/** endpoint_recovery() - the endpoint's samples counted from t0, by the observer's clock. Return: -ENODATA
 * without t0 */
int endpoint_recovery(const struct run *run, const struct run_endpoint *endpoint, struct recovery *ret);
/** endpoint_t0() - t0 by the observer's clock */
int64_t endpoint_t0(const struct run *run, const struct run_endpoint *endpoint);
/** fault_verdict() - @why: why not met */
enum verdict fault_verdict(const struct run *run, const struct run_fault *fault, char why[200]);

/** report_build() - `grivet.report/1`, owned by the caller; sets run->verdict, and its
 * reason where there is none; NULL when out of memory */
json_t *report_build(struct run *run);
json_t *report_budget(const struct balancer_budget *budget);
/** report_sentence() - the verdict in one sentence */
void report_sentence(const struct run *run, enum verdict verdict, const char *doubt, char ret[600]);
/** report_waiting() - what the replacements that are not in service were waiting for: owned list of strings;
 * @host NULL = all of those */
json_t *report_waiting(const struct run *run, const char *host);
