/* See admission.h. Decisions only: nothing here changes anything. */
#include "admission.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void decision_clear(struct decision *decision)
{
    if (decision->order)
        mandate_free(decision->mandate);
    order_free(decision->order);
    bundle_clear(&decision->bundle);
    *decision = (struct decision){0};
}

/* The steps of one run do not stand in each other's way. */
static const char *run_of(const struct decision *decision)
{
    const char *run = decision->order ? decision->order->run : decision->ask->run;

    return run ? run : "";
}

static int check_environment(struct decision *decision, struct error *error)
{
    const char *ours = decision->rests_on->policy->environment;

    if (strcmp(decision->mandate->environment, ours))
        return error_set(error, EACCES, "mandate: environment: '%s', but this host is in '%s'",
                         decision->mandate->environment, ours);
    return 0;
}

static int check_fault(struct decision *decision, struct error *error)
{
    if (!strcmp(decision->step_name, MANDATE_OBSERVE))
        return 0;
    decision->step = mandate_step(decision->mandate, decision->step_name);
    if (!decision->step)
        return error_set(error, EINVAL, "mandate: has no step '%s'", decision->step_name);
    decision->fault = fault_find(decision->step->fault);
    if (!decision->fault)
        return error_set(error, EINVAL, "mandate: step %s: fault '%s' is unknown on this host",
                         decision->step_name, decision->step->fault);
    return 0;
}

static int check_class(struct decision *decision, struct error *error)
{
    const char *name = decision->fault ? decision->fault->class : POLICY_CLASS_OBSERVE;

    decision->class = policy_class_find(decision->rests_on->policy, name);
    if (!decision->class || !decision->class->is_allowed)
        return error_set(error, EACCES, "policy: classes.%s: not allowed on this host", name);
    return 0;
}

/* One of them was asked for before the mandate was parsed. */
static int check_signatures(struct decision *decision, struct error *error)
{
    if (!decision->signed_by || decision->class->signatures == 1)
        return 0;
    return roots_require(decision->rests_on->roots, decision->signed_by, ROOTS_APPROVE,
                         decision->class->signatures, decision->rests_on->latest_usec, error);
}

static int check_duration(struct decision *decision, struct error *error)
{
    int64_t msec = mandate_step_length_usec(decision->mandate, decision->step_name) / USEC_PER_MSEC;
    int64_t longest_msec = decision->class->longest_duration_s * 1000;

    if (msec > longest_msec)
        return error_set(error, EACCES,
                         "policy: classes.%s.longest_duration_s: step %s takes %" PRId64 " ms, %" PRId64
                         " are allowed",
                         decision->class->name, decision->step_name, msec, longest_msec);
    return 0;
}

static int check_parameters(struct decision *decision, struct error *error)
{
    int r;

    if (!decision->fault)
        return 0;
    r = fault_decode_parameters(decision->fault, decision->mandate->document, decision->step->parameters,
                                decision->mandate, &decision->parameters, error);
    if (r == 0 && decision->fault->supported)
        r = decision->fault->supported(decision->parameters, error);
    return r;
}

static int check_isolation(struct decision *decision, struct error *error)
{
    const struct fault *fault = decision->fault;

    if (fault && fault->isolates && fault->isolates(decision->parameters) &&
        !decision->class->allows_isolation)
        return error_set(
            error, EACCES,
            "policy: classes.%s.allows_isolation: step %s would cut the lifeline (isolate: full)",
            decision->class->name, decision->step_name);
    return 0;
}

static bool is_asked(const struct ask *ask, const char *step)
{
    return !ask->steps || names_have(ask->steps, step);
}

/* Steps run together unless one follows the other: to an ask, those of the class that stand before and were
 * asked for count as under way. */
static size_t count_earlier(const struct decision *decision)
{
    const struct mandate *mandate = decision->mandate;
    const struct fault *other;
    size_t count = 0;

    if (!decision->ask || !decision->step)
        return 0;
    for (const struct step *step = mandate->steps; step < decision->step; step++) {
        other = fault_find(step->fault);
        count += other && !strcmp(other->class, decision->class->name) &&
                 !mandate_step_follows(mandate, decision->step, step) &&
                 is_asked(decision->ask, step->name) &&
                 mandate_step_has_host(mandate, step->name, decision->rests_on->policy->host);
    }
    return count;
}

static int check_concurrency(struct decision *decision, struct error *error)
{
    const struct admission *admission = decision->rests_on;
    size_t active =
        admission->count_active(admission->context, decision->class->name) + count_earlier(decision);

    if (active >= (size_t)decision->class->concurrency)
        return error_set(error, EBUSY,
                         "policy: classes.%s.concurrency: %zu under way, %" PRId64 " are allowed",
                         decision->class->name, active, decision->class->concurrency);
    return 0;
}

static int check_cool_down(struct decision *decision, struct error *error)
{
    int64_t end_usec = replay_last_end_usec(decision->rests_on->replay, decision->class->name,
                                            decision->mandate->hash, run_of(decision));
    int64_t next_usec = end_usec + decision->class->cool_down_s * USEC_PER_SEC;
    char text[TIME_TEXT_MAX];

    if (decision->class->cool_down_s && end_usec && decision->rests_on->now_usec < next_usec)
        return error_set(error, EBUSY, "policy: classes.%s.cool_down_s: not before %s", decision->class->name,
                         time_format(next_usec, text));
    return 0;
}

static int check_runs(struct decision *decision, struct error *error)
{
    size_t runs = replay_count_runs(decision->rests_on->replay, decision->mandate->hash, run_of(decision));

    if (runs >= (size_t)decision->mandate->max_runs)
        return error_set(error, EACCES, "mandate: max_runs: %zu of %" PRId64 " runs were here already", runs,
                         decision->mandate->max_runs);
    return 0;
}

static int decide(struct decision *decision, struct error *error)
{
    static int (*const checks[])(struct decision * decision, struct error * error) = {
        check_environment, check_fault,      check_class,          check_signatures,
        check_duration,    check_parameters, check_isolation,      check_concurrency,
        check_cool_down,   check_runs,       admission_check_open,
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(checks) && r == 0; i++)
        r = checks[i](decision, error);
    return r;
}

/* Whatever the papers say: is this host able to take an order now? */
static int check_open(const struct admission *admission, struct error *error)
{
    char text[TIME_TEXT_MAX];
    int64_t quarantine_usec;

    if (admission->closed)
        return error_set(error, EACCES, "host: %s", admission->closed);
    quarantine_usec = replay_quarantine_usec(admission->replay);
    if (admission->now_usec < quarantine_usec)
        return error_set(error, EACCES, "host: lost its memory of earlier orders; in quarantine until %s",
                         time_format(quarantine_usec, text));
    if (admission->policy->requires_synchronised_clock && !admission->is_clock_synchronised)
        return error_set(error, EACCES,
                         "host: its clock is not synchronised (policy: require_synchronised_clock)");
    return 0;
}

/* Run and step decide; the same bytes are the same order that comes again, others are another one in its
 * name. */
static int check_new(const struct admission *admission, const struct order *order,
                     const struct envelope *envelope, struct error *error)
{
    const struct replay_entry *entry = replay_find(admission->replay, order->run, order->step);
    char hash[HASH_TEXT_MAX];

    if (!entry)
        return 0;
    hash_text(envelope->payload, envelope->payload_length, hash);
    return error_set(error, strcmp(entry->order, hash) ? EEXIST : EALREADY,
                     "order: replayed: step %s of run %s was here already", order->step, order->run);
}

static int check_order(struct decision *decision, struct error *error)
{
    const struct admission *admission = decision->rests_on;
    const struct order *order = decision->order;
    const struct policy *policy = admission->policy;
    int r = order_check(order, decision->mandate, policy->host, policy->labels, error);

    if (r == 0)
        r = admission_check_window(admission, order, decision->mandate, error);
    if (r == 0)
        r = check_new(admission, order, decision->bundle.documents[0], error);
    decision->is_late_joiner = !mandate_step_has_host(decision->mandate, order->step, policy->host);
    return r;
}

int admission_order(const struct admission *admission, int fd, struct decision *ret, struct error *error)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_ORDER, ENVELOPE_MANDATE};
    const struct envelope *order, *mandate;
    int r = bundle_from_memfd(&ret->bundle, fd, kinds, ARRAY_SIZE(kinds), error);

    if (r < 0)
        return r;
    order = ret->bundle.documents[0];
    mandate = ret->bundle.documents[1];
    r = roots_require(admission->roots, order, ROOTS_ORDER, 1, admission->latest_usec, error);
    if (r == 0)
        r = order_parse(&ret->order, order->payload, order->payload_length, error);
    /* What comes again needs no second look, and its papers may be out of date by now. */
    if (r == 0 && check_new(admission, ret->order, order, error) == -EALREADY)
        return -EALREADY;
    /* How many people it takes is known when the fault is; nobody's mandate is parsed for nobody. */
    if (r == 0)
        r = roots_require(admission->roots, mandate, ROOTS_APPROVE, 1, admission->latest_usec, error);
    if (r == 0)
        r = mandate_parse(&ret->mandate, mandate->payload, mandate->payload_length, error);
    if (r == 0)
        r = check_open(admission, error);
    if (r < 0)
        return r;
    ret->rests_on = admission;
    ret->signed_by = mandate;
    ret->step_name = ret->order->step;
    r = check_order(ret, error);
    if (r == 0)
        r = decide(ret, error);
    ret->rests_on = NULL;
    if (r == 0)
        admission_set_times(admission, ret);
    return r;
}

int admission_ask(const struct admission *admission, int fd, struct bundle *ret_bundle, struct ask **ret,
                  struct error *error)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_ASK, ENVELOPE_MANDATE};
    const struct envelope *envelope, *mandate;
    _cleanup_(ask_freep) struct ask *ask = NULL;
    char hash[HASH_TEXT_MAX];
    int r = bundle_from_memfd(ret_bundle, fd, kinds, ARRAY_SIZE(kinds), error);

    if (r < 0)
        return r;
    envelope = ret_bundle->documents[0];
    mandate = ret_bundle->documents[1];
    r = roots_require(admission->roots, envelope, ROOTS_ORDER, 1, admission->latest_usec, error);
    if (r == 0)
        r = ask_parse(&ask, envelope->payload, envelope->payload_length, error);
    if (r < 0)
        return r;
    if (strcmp(ask->host, admission->policy->host))
        return error_set(error, EACCES, "ask: host: meant for '%s', this is '%s'", ask->host,
                         admission->policy->host);
    if (strcmp(ask->mandate_hash, hash_text(mandate->payload, mandate->payload_length, hash)))
        return error_set(error, EACCES, "ask: mandate: is the hash of another mandate");
    if (admission->now_usec > ask->expires_usec ||
        admission->now_usec + EARLY_TOLERANCE_USEC < ask->issued_usec)
        return error_set(error, EACCES, "ask: expired or not yet valid");
    *ret = TAKE_PTR(ask);
    return 0;
}

/* Steals @plan's lists. */
static json_t *step_to_json(const char *name, int result, const struct fault_plan *plan,
                            const struct error *error)
{
    return json_pack("{s:s s:b s:b s:o s:o s:s*}", "step", name, "is_accepted", result == 0, "is_victim",
                     plan->is_victim, "summary", plan->summary, "limits", plan->limits, "reason",
                     result < 0 ? error->text : NULL);
}

static int plan_step(struct decision *decision, struct fault_plan *plan, struct error *error)
{
    if (!decision->fault)
        return json_array_append_new(plan->summary, json_string("watch the probes, change nothing")) < 0
                   ? error_oom(error)
                   : 0;
    return decision->fault->plan(decision->parameters, decision->mandate, decision->rests_on->host, plan,
                                 error);
}

static json_t *answer_step(struct decision *decision, bool *ret_is_accepted)
{
    struct fault_plan plan = {.summary = json_array(), .limits = json_array()};
    struct error error = {0};
    int r = check_open(decision->rests_on, &error);

    if (r == 0)
        r = decide(decision, &error);
    if (r == 0)
        r = plan_step(decision, &plan, &error);
    if (r == 0)
        admission_tell_windows(decision, plan.limits);
    *ret_is_accepted &= r == 0;
    return step_to_json(decision->step_name, r, &plan, &error);
}

static bool answer_steps(const struct admission *admission, const struct ask *ask, struct mandate *mandate,
                         const struct envelope *envelope, json_t *steps)
{
    bool is_accepted = true;

    for (size_t i = 0; i <= mandate->n_steps; i++) {
        _cleanup_(decision_clear) struct decision decision = {
            .rests_on = admission,
            .mandate = mandate,
            .ask = ask,
            .signed_by = ask->is_start ? envelope : NULL,
            .step_name = i < mandate->n_steps ? mandate->steps[i].name : MANDATE_OBSERVE,
        };

        if (!mandate_step_has_host(mandate, decision.step_name, admission->policy->host) ||
            !is_asked(ask, decision.step_name))
            continue;
        json_array_append_new(steps, answer_step(&decision, &is_accepted));
    }
    return is_accepted;
}

static int check_mandate(const struct admission *admission, const struct ask *ask,
                         const struct envelope *envelope, struct mandate **ret, struct error *error)
{
    int r = 0;

    if (ask->is_start)
        r = roots_require(admission->roots, envelope, ROOTS_APPROVE, 1, admission->latest_usec, error);
    if (r == 0)
        r = mandate_parse(ret, envelope->payload, envelope->payload_length, error);
    if (r == 0 && ask->is_start &&
        (admission->now_usec < (*ret)->not_before_usec || admission->now_usec > (*ret)->not_after_usec))
        r = error_set(error, EACCES, "mandate: not_before, not_after: not valid now");
    return r;
}

json_t *admission_answer(const struct admission *admission, const struct ask *ask,
                         const struct envelope *envelope)
{
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    struct error error = {0};
    json_t *steps;
    bool is_accepted;

    if (check_mandate(admission, ask, envelope, &mandate, &error) < 0)
        return admission_answer_no(&error);
    steps = json_array();
    is_accepted = answer_steps(admission, ask, mandate, envelope, steps);
    if (json_array_size(steps))
        return json_pack("{s:b s:o}", "is_accepted", is_accepted, "steps", steps);
    json_decref(steps);
    error_set(&error, EINVAL, "mandate: has no step for host %s", admission->policy->host);
    return admission_answer_no(&error);
}

json_t *admission_answer_no(const struct error *why)
{
    struct fault_plan nothing = {.summary = json_array(), .limits = json_array()};

    return json_pack("{s:b s:[o]}", "is_accepted", false, "steps",
                     step_to_json("mandate", -why->code, &nothing, why));
}
