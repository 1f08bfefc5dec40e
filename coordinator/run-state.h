/*
 * What one run is, in memory. Everything here is filled by events: what hosts said, and what the run recorded
 * of itself. They are stored in the order in which they came, and taken again in that order after a restart.
 * What a run does to the world is a handful of functions that tests bring themselves, so that the state
 * machine, the objectives and the report run without network, store or clock.
 *
 * Times are REALTIME microseconds, 0 = did not happen. Those of hosts are as reported; run_corrected() turns
 * them into the coordinator's.
 */
#pragma once

#include "probes/probe.h"
#include "probes/recovery.h"
#include "run.h"

#define RUN_CHECK_USEC  (10 * USEC_PER_SEC)  /* for answers to asks, and for a step to arm */
#define RUN_FLOW_USEC   (5 * USEC_PER_SEC)   /* after the warm-up: for the first samples */
#define RUN_PROOF_USEC  (5 * USEC_PER_SEC)   /* after an end or a halt: for proofs and fresh heads */
#define RUN_REJOIN_USEC (15 * USEC_PER_SEC)  /* more of that where the lifeline was cut: TCP backs off */
#define RUN_RETURN_USEC (5 * USEC_PER_SEC)   /* after a restart: couriers wait so long between attempts */
#define RUN_WINDOW_USEC (30 * USEC_PER_SEC)  /* an order starts within this or not at all */
#define RUN_PAPER_USEC  (600 * USEC_PER_SEC) /* asks and halts hold for so long at most */
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
extern const char *const run_state_names[];
int run_state_find(const char *name); /* -1 = unknown */

enum verdict { VERDICT_MET, VERDICT_UNKNOWN, VERDICT_MISSED }; /* in order of weight */
extern const char *const verdict_names[];

/**
 * struct run_host - a host that has to do with the run: pinned, observer, or born during it
 * @is_accepted, @answer (owned, NULL = none came): to the last ask; @reason: why not
 * @is_suspect: its chain contradicts itself: what was said in its name may be forged
 * @is_halted: somebody ended what it did, so that no further step starts
 * @in_service_usec: since when the balancer keeps it, 0 = it does not
 */
struct run_host {
    char id[64], group[64], address[64];
    bool is_pinned, is_observer, is_replacement, is_unready, is_head_fresh, is_suspect, is_halted, is_asked;
    char ask[UUID_TEXT_MAX];
    bool has_answered, is_accepted, is_victim;
    json_t *answer;
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
extern const char *const run_fault_names[];

/** struct run_fault - one order; for the step "observe" too (@step is NULL then) */
struct run_fault {
    char order[UUID_TEXT_MAX], host[64];
    const struct step *step;
    enum run_fault_state state;
    int64_t started_usec, deadline_usec;                           /* as ordered */
    int64_t armed_usec, exercised_usec, reverted_usec, ended_usec; /* what can't be reverted ends as well */
    bool has_revert_error, is_interrupted, is_left_behind, is_irreversible;
    bool is_interfered, is_undisturbed; /* neither: nobody looked */
    double revert_error_msec;
    char ended_by[16], reason[256];
    json_t *effect;
};

/** struct run_step - @t0_usec, @start_skew_usec: of all steps that started together */
struct run_step {
    int64_t started_usec, t0_usec, start_skew_usec;
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

struct run {
    struct run *next; /* of runs.c */
    char id[UUID_TEXT_MAX];
    struct mandate *mandate;
    enum run_state state;
    int64_t since_usec;
    bool is_over;
    int64_t loaded_usec;  /* since when hosts could talk to this process: deadlines that depend on their
                             words count from here at the earliest */
    int64_t started_usec; /* of the first steps; without steps, when people were told to act; 0 = not yet */
    int64_t t0_usec, start_skew_usec; /* of the first steps too; see run_take_t0() */
    int64_t finishing_usec;
    char reason[300]; /* of a failure, who halted, or why the verdict is not met */
    int64_t n_records;
    size_t n_hosts, n_faults, n_endpoints;
    struct run_host *hosts;
    struct run_fault *faults;
    struct run_endpoint *endpoints;
    struct run_step *steps;     /* as many as the mandate's, and in their order */
    int64_t balancer_seen_usec; /* last time a balancer answered */
    json_t *lines;              /* for people: [{n, at, text}] */
    json_t *facts, *budgets;    /* of balancers, as in the report */
    enum verdict verdict;
    struct coordinator *coordinator; /* NULL in tests */
};

/* Walks: over a run's hosts, endpoints, all orders, and those that inject something. */
#define EACH_HOST(run, host)                                                                                 \
    for (struct run_host *host = (run)->hosts; host < (run)->hosts + (run)->n_hosts; host++)
#define EACH_ENDPOINT(run, endpoint)                                                                         \
    for (struct run_endpoint *endpoint = (run)->endpoints; endpoint < (run)->endpoints + (run)->n_endpoints; \
         endpoint++)
#define EACH_ORDER(run, fault)                                                                               \
    for (struct run_fault *fault = (run)->faults; fault < (run)->faults + (run)->n_faults; fault++)
#define EACH_FAULT(run, fault)                                                                               \
    EACH_ORDER (run, fault)                                                                                  \
        if (!fault->step) {                                                                                  \
        } else

static inline int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/** run_new() - takes over @mandate; hosts and endpoints are made from it */
int run_new(struct run **ret, const char *id, struct mandate *mandate, int64_t now_usec,
            struct coordinator *coordinator, struct error *error);
struct run *run_free(struct run *run);
DEFINE_CLEANUP(struct run *, run_free)

/** json_text() - the string at @key of @map, "" for none */
const char *json_text(const json_t *map, const char *key);
/** json_words() - a new JSON string with @text, which may have been cut inside a character */
json_t *json_words(const char *text);
/** array_add() - one more element of @size at the end of *@items, all zero; NULL when out of memory */
void *array_add(void *items, size_t *count, size_t size);
struct run_host *run_host(const struct run *run, const char *id);
/** run_add_host() - the one that is there, or a new one; NULL when out of memory */
struct run_host *run_add_host(struct run *run, const char *id);
/** run_fault_of() - the order of @host for @step, NULL = none */
struct run_fault *run_fault_of(const struct run *run, const char *host, const char *step);
/** run_fault_is_active() - may it still be doing something? */
bool run_fault_is_active(const struct run_fault *fault);
/** run_corrected() - a time that @host reported, in the coordinator's clock */
int64_t run_corrected(const struct run *run, const char *host, int64_t usec);
/** run_end_usec() - the last deadline of all orders, or when an observation is over; run_reverted_usec() -
 * the last proved revert, corrected */
int64_t run_end_usec(const struct run *run);
int64_t run_reverted_usec(const struct run *run);
/** run_host_replaced() - is a replacement that came into service while it was needed: before the last revert
 */
bool run_host_replaced(const struct run *run, const struct run_host *host);
/** run_count_replacements() - how many were started, and of those in service while they were needed */
size_t run_count_replacements(const struct run *run, size_t *ret_served);

/** run_take_event() - what a host said of this run, or of none (run-events.c) */
void run_take_event(struct run *run, const struct host_event *event);

/* run-steps.c */
struct run_step *run_step(const struct run *run, const struct step *step);
/** run_step_silence_usec() - so long a host can't say that it is armed, since @step cuts its lifeline; mostly
 * 0 */
int64_t run_step_silence_usec(const struct step *step);
/** run_step_proof_usec() - how long after the end of @step its proof may take */
int64_t run_step_proof_usec(const struct step *step);
/** run_proof_usec() - the same of all steps; of a run without any as well */
int64_t run_proof_usec(const struct run *run);
/** run_step_is_last() - is it one of those that started last? */
bool run_step_is_last(const struct run *run, const struct step *step);
/** run_step_may_start() - Return: 1; 0 = not yet, or it has started; -ECANCELED = it never may, and why */
int run_step_may_start(const struct run *run, const struct step *step, int64_t now_usec, struct error *error);
/** run_step_until_usec() - t0 of the next step that started after @step; INT64_MAX = it was the last */
int64_t run_step_until_usec(const struct run *run, const struct step *step);
/** run_step_is_due() - does it start as soon as its hosts agree? Before the first one, all are asked */
bool run_step_is_due(const struct run *run, const struct step *step, int64_t now_usec);
/** run_due_steps() - a new list of the steps of @host that are due, NULL = all, each at its time */
json_t *run_due_steps(const struct run *run, const char *host, int64_t now_usec);
/** run_step_ended_usec() - when the last host has proved its end, corrected; 0 = not all of them have */
int64_t run_step_ended_usec(const struct run *run, const struct step *step);
/** run_take_t0() - of the steps that started last, from armed hosts that were pinned: the last one's moment,
 * and how far the first was ahead. Without steps, when the first request that failed since people were told
 * to act was sent; 0 = none did */
void run_take_t0(struct run *run);
/** run_expected_end_usec() - when the last step ends, if those that have not started do so on time */
int64_t run_expected_end_usec(const struct run *run);

/* run-record.c */
/** run_take_record() - what the run recorded, when it is read again */
void run_take_record(struct run *run, int64_t at_usec, const char *kind, json_t *body);
/** run_record() - store an event of the run's own, and take it; the reference to @body is taken over */
void run_record(struct run *run, int64_t at_usec, const char *kind, json_t *body);
/** run_note() - record a line for people that changes nothing */
void run_note(struct run *run, int64_t at_usec, const char *format, ...) _printf_(3, 4);
/** run_say() - a line for people that follows from what was stored */
void run_say(struct run *run, int64_t at_usec, const char *format, ...) _printf_(3, 4);
/** run_see_newborn() - a host with @labels joined: is it a replacement? */
void run_see_newborn(struct run *run, const char *host, const json_t *labels, const char *address,
                     int64_t joined_usec);
/** run_see_balancer() - a server as it is now, recorded if that is news, or (without address) a line of the
 * log */
void run_see_balancer(struct run *run, const struct balancer_fact *fact);
/** run_see_answer() - that @host signed; passed over if it is to another ask. Kept as the host's @answer, and
 * recorded */
void run_see_answer(struct run *run, const char *host, const json_t *answer);

/* run-check.c */
/** run_has_due_step() - is @host pinned in a step that is due? */
bool run_has_due_step(const struct run *run, const struct run_host *host, int64_t now_usec);
/** run_begin() - ask those who have a part in the steps that are due */
void run_begin(struct run *run, int64_t now_usec);
/** run_check_share() - 0, or -EDQUOT with the counts, when too large a share of a group would fail */
int run_check_share(const struct run *run, struct error *error);

/* run-machine.c */
/** run_enter() - record that it is in @state now; what it is in already is recorded again */
void run_enter(struct run *run, enum run_state state, int64_t now_usec);
/** run_advance() - take every step that is due */
void run_advance(struct run *run, int64_t now_usec);
void run_halt(struct run *run, const char *by, int64_t now_usec);
/** run_order_late() - a late joiner: order the steps that are under way */
void run_order_late(struct run *run, const char *host, const json_t *labels, int64_t now_usec);

/* What a run does to the world: run-actions.c, or a test */
/** run_ask() - what would @host do? @purpose: "plan" or "start"; what can't be asked has answered no */
void run_ask(struct run *run, struct run_host *host, const char *purpose, int64_t now_usec);
int run_send_order(struct run *run, const struct run_fault *fault, struct error *error);
/** run_send_halt() - to every host that has an order */
void run_send_halt(struct run *run, int64_t now_usec);
/** run_nudge() - for a head newer than now */
void run_nudge(struct run *run, const struct run_host *host);
/** run_look() - what the fleet knows of its hosts */
void run_look(struct run *run);
/** run_group_size() - how many hosts of @group are in contact */
size_t run_group_size(const struct run *run, const char *group);
void run_store_record(const struct run *run, int64_t at_usec, const char *kind, const char *line);
/** run_store_end() - make the report and keep it, with the last status and all lines */
void run_store_end(struct run *run);

/* objective.c */
/** struct judgement - the heaviest verdict so far, and why it is not met */
struct judgement {
    enum verdict verdict;
    char why[200];
};
/** judge() - the heavier verdict and its words stay */
void judge(struct judgement *judgement, enum verdict verdict, const char *format, ...) _printf_(3, 4);
/** objective_check() - decode one objective of an experiment or mandate; @probes: its list of probes */
int objective_check(const struct document *document, const struct node *node, const struct node *probes,
                    struct error *error);
/** objective_judge() - Return: as in the report, owned */
json_t *objective_judge(const struct run *run, const struct node *node, struct judgement *ret);
/** fault_ended_early() - by a halt, by the host's own clock, or by when it was by the coordinator's clock */
bool fault_ended_early(const struct run *run, const struct run_fault *fault);
/** fault_judge() - was it what was signed: shown in its effect, as long as promised, and gone? */
void fault_judge(const struct run *run, const struct run_fault *fault, struct judgement *ret);
/** endpoint_recovery() - the endpoint's samples counted from t0, or from that of @step to the t0 of the next
 * one, by the observer's clock. Return: -ENODATA without t0 */
int endpoint_recovery(const struct run *run, const struct run_endpoint *endpoint, const struct step *step,
                      struct recovery *ret);
/** endpoint_t0() - t0 by the observer's clock */
int64_t endpoint_t0(const struct run *run, const struct run_endpoint *endpoint);

/* report.c */
/** report_build() - `grivet.report/1`, owned by the caller; sets run->verdict, and its
 * reason where there is none; NULL when out of memory */
json_t *report_build(struct run *run);
/** report_status() - the run as it is now */
json_t *report_status(const struct run *run);
/** time_or_null() - JSON null for 0; msec_or_null() - for less than 0 */
json_t *time_or_null(int64_t usec);
json_t *msec_or_null(int64_t msec);
/** report_steps() - each step, in its order, and what was seen of it (report-steps.c) */
json_t *report_steps(const struct run *run, struct judgement *whole);
/** report_budgets() - what balancers may take by their settings */
json_t *report_budgets(const struct balancer_budget *budgets, size_t count);
/** report_refused() - hosts that said no when asked, or nothing */
json_t *report_refused(const struct run *run);
/** report_waiting() - what the replacements that are not in service were waiting for: owned list of strings;
 * @host NULL = all of those */
json_t *report_waiting(const struct run *run, const char *host);
/** report_is_users() - does @probe see what users see? */
bool report_is_users(const struct run *run, const char *probe);
/** report_sentence() - the verdict in one sentence, owned by the caller */
char *report_sentence(const struct run *run, const struct judgement *judgement);
