/*
 * Objectives: what was promised, what was measured, and whether that settles it. One row for each kind. A
 * verdict is `unknown` as soon as what it stands on is in doubt, except that a miss which no doubt can repair
 * stays a miss.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

#define SAMPLES_LATE_USEC (2 * USEC_PER_SEC) /* samples come in batches of a second */

/** struct objective - @probe NULL, @limit 0 for the kinds that have none */
struct objective {
    const char *name, *kind, *probe;
    int64_t limit;
};

/**
 * struct objective_kind - what it takes besides name and kind, and how it is judged: what the observers of
 * its probe saw, one by one, or (@judge) all of the run
 * @msec: from t0 on, -1 = it never @happened; NULL = the share of lost requests
 * @is_by_step: each step has to do it, counted from its own t0
 */
struct objective_kind {
    const char *name, *limit_key;
    int64_t limit_min, limit_max;
    void (*judge)(const struct run *run, const struct objective *objective, json_t *measured,
                  struct judgement *ret);
    int64_t (*msec)(const struct recovery *recovery);
    const char *never, *happened;
    bool is_by_step;
};

void judge(struct judgement *judgement, enum verdict verdict, const char *format, ...)
{
    va_list arguments;

    if (verdict <= judgement->verdict)
        return;
    judgement->verdict = verdict;
    va_start(arguments, format);
    vsnprintf(judgement->why, sizeof(judgement->why), format, arguments);
    va_end(arguments);
}

/* How far the observer's clock is ahead. */
static int64_t offset_of(const struct run *run, const struct run_endpoint *endpoint)
{
    return -run_corrected(run, endpoint->from, 0);
}

int64_t endpoint_t0(const struct run *run, const struct run_endpoint *endpoint)
{
    return run->t0_usec + offset_of(run, endpoint);
}

int endpoint_recovery(const struct run *run, const struct run_endpoint *endpoint, const struct step *step,
                      struct recovery *ret)
{
    int64_t offset_usec = offset_of(run, endpoint);
    int64_t t0_usec = step ? run_step(run, step)->t0_usec : run->t0_usec;
    int64_t until_usec = step ? run_step_until_usec(run, step) : INT64_MAX;

    if (!t0_usec)
        return -ENODATA;
    recovery_init(ret, t0_usec + offset_usec, endpoint->probe.unhealthy_after, endpoint->probe.healthy_after,
                  endpoint->probe.stable_sec * USEC_PER_SEC);
    for (size_t i = 0; i < endpoint->n_samples; i++)
        if (endpoint->samples[i].at_usec - offset_usec < until_usec)
            recovery_add(ret, &endpoint->samples[i]);
    return 0;
}

/* The longest time without a sample from just before t0 (of an observation: from when people were told to
 * act, since nobody else knows what they did meanwhile) to the end of the settling, by the observer's clock.
 */
static int64_t longest_gap(const struct run *run, const struct run_endpoint *endpoint)
{
    int64_t offset_usec = offset_of(run, endpoint), gap_usec = 0;
    int64_t end_usec = run->finishing_usec + offset_usec - SAMPLES_LATE_USEC;
    int64_t from_usec = run->mandate->n_steps ? run->t0_usec : run->started_usec;
    int64_t last_usec = from_usec + offset_usec - endpoint->probe.interval_msec * USEC_PER_MSEC;

    for (size_t i = 0; i < endpoint->n_samples; i++) {
        gap_usec = later(gap_usec, endpoint->samples[i].at_usec - last_usec);
        last_usec = later(last_usec, endpoint->samples[i].at_usec);
    }
    return later(gap_usec, end_usec - last_usec);
}

/* Bound of an interval between the observer and whoever may have given t0 (the hosts that armed; without
 * steps, all who watch); -1 = a clock is not known. */
static int64_t clock_bound(const struct run *run, const struct run_host *observer)
{
    int64_t bound_usec = 0;

    EACH_ORDER (run, order) {
        const struct run_host *host = run_host(run, order->host);

        if ((run->mandate->n_steps && (!order->step || !host->is_pinned)) || host == observer)
            continue;
        if (!host->has_clock || !observer->has_clock)
            return -1;
        bound_usec = later(bound_usec, host->clock_bound_usec + observer->clock_bound_usec);
    }
    return bound_usec;
}

/* Why not to believe what an endpoint's samples say. @is_by_clocks: against other hosts' clocks */
static void doubt(const struct run *run, const struct run_endpoint *endpoint, const struct recovery *recovery,
                  bool is_by_clocks, struct judgement *ret)
{
    const struct run_host *observer = run_host(run, endpoint->from);
    int64_t interval_usec = endpoint->probe.interval_msec * USEC_PER_MSEC;
    int64_t gap_usec = longest_gap(run, endpoint), bound_usec = clock_bound(run, observer);

    if (!endpoint->n_samples || gap_usec > 3 * interval_usec)
        judge(ret, VERDICT_UNKNOWN, "%s has no samples of %s for %.1f s", endpoint->from,
              endpoint->probe.name, (double)gap_usec / USEC_PER_SEC);
    if (!recovery->requests)
        judge(ret, VERDICT_UNKNOWN, "%s has no samples of %s since the fault", endpoint->from,
              endpoint->probe.name);
    if (!recovery->was_healthy_at_t0)
        judge(ret, VERDICT_UNKNOWN, "%s was not healthy before the fault, seen from %s", endpoint->probe.name,
              endpoint->from);
    if (!observer->is_head_fresh)
        judge(ret, VERDICT_UNKNOWN, "no fresh word from %s after the end", endpoint->from);
    if (is_by_clocks && bound_usec < 0)
        judge(ret, VERDICT_UNKNOWN, "the clock of %s or of a host that t0 comes from is not known",
              endpoint->from);
    if (is_by_clocks && bound_usec > interval_usec)
        judge(ret, VERDICT_UNKNOWN, "clocks are known to %.0f ms only, more than the probe's interval",
              (double)bound_usec / USEC_PER_MSEC);
}

/* Of several observers and steps the worst is the measure; `never` (-1) counts as worse than any number.
 * @left_msec: from t0 to the next step's */
static void look_at_time(const struct objective_kind *kind, const struct objective *objective, int64_t msec,
                         int64_t left_msec, json_t *measured, struct judgement *one)
{
    const json_t *worst = json_object_get(measured, "within_ms");

    if (!worst || msec < 0 || (json_is_integer(worst) && msec > json_integer_value(worst)))
        json_object_set_new(measured, "within_ms", msec < 0 ? json_null() : json_integer(msec));
    if (msec < 0 && left_msec < objective->limit * 1000)
        judge(one, VERDICT_UNKNOWN, "%s when the next step started", kind->never);
    else if (msec < 0)
        judge(one, VERDICT_MISSED, "%s", kind->never);
    else if (msec > objective->limit * 1000)
        judge(one, VERDICT_MISSED, "%s after %.1f s", kind->happened, (double)msec / 1000);
}

static void look_at_lost(const struct objective *objective, const struct recovery *recovery, json_t *measured,
                         struct judgement *one)
{
    double percent = recovery->requests ? 100.0 * (double)recovery->lost / (double)recovery->requests : 0;

    if (percent >= json_real_value(json_object_get(measured, "percent")))
        json_object_set_new(measured, "percent", json_real(percent));
    if (percent > (double)objective->limit)
        judge(one, VERDICT_MISSED, "%.1f %% of the requests were lost", percent);
}

/* An observation's t0 may be near its end: then what did not happen may have come later. */
static bool is_cut_off(const struct run *run, const struct objective_kind *kind,
                       const struct objective *objective, const struct recovery *recovery)
{
    int64_t left_msec = (run->finishing_usec - run->t0_usec) / USEC_PER_MSEC;

    if (run->mandate->n_steps || (kind->msec && kind->msec(recovery) > 0))
        return false;
    return left_msec < (kind->msec ? objective->limit * 1000 : run->mandate->settle_msec);
}

/* What is in doubt can't be missed, but one observer's doubt does not hide another's miss. @step: NULL = from
 * t0 to the end */
static void judge_view(const struct run *run, const struct objective_kind *kind,
                       const struct objective *objective, const struct run_endpoint *endpoint,
                       const struct step *step, json_t *measured, struct judgement *ret)
{
    struct judgement one = {}, doubts = {};
    struct recovery recovery;
    int64_t until_usec = step ? run_step_until_usec(run, step) : INT64_MAX;

    if (endpoint_recovery(run, endpoint, step, &recovery) < 0)
        return;
    doubt(run, endpoint, &recovery, kind->msec && recovery.lost, &doubts);
    if (is_cut_off(run, kind, objective, &recovery))
        judge(&doubts, VERDICT_UNKNOWN, "the first failure came %.1f s before the end, too late to tell",
              (double)(run->finishing_usec - run->t0_usec) / USEC_PER_SEC);
    if (kind->msec)
        look_at_time(kind, objective, kind->msec(&recovery),
                     step ? (until_usec - run_step(run, step)->t0_usec) / USEC_PER_MSEC : INT64_MAX, measured,
                     &one);
    else
        look_at_lost(objective, &recovery, measured, &one);
    if (doubts.verdict != VERDICT_MET)
        judge(ret, doubts.verdict, "%s", doubts.why);
    else
        judge(ret, one.verdict, "%s, seen from %s", one.why, endpoint->from);
}

static void judge_views(const struct run *run, const struct objective_kind *kind,
                        const struct objective *objective, json_t *measured, struct judgement *ret)
{
    size_t n_steps = run->mandate->n_steps;

    EACH_ENDPOINT (run, endpoint) {
        if (strcmp(endpoint->probe.name, objective->probe))
            continue;
        for (size_t i = 0; i < (kind->is_by_step && n_steps ? n_steps : 1); i++)
            judge_view(run, kind, objective, endpoint,
                       kind->is_by_step && n_steps ? &run->mandate->steps[i] : NULL, measured, ret);
    }
    if (!json_object_size(measured))
        judge(ret, VERDICT_UNKNOWN, "%s was not watched", objective->probe);
}

static bool balancer_was_seen(const struct run *run)
{
    return run->balancer_seen_usec && run->balancer_seen_usec + RUN_PROOF_USEC >= run->finishing_usec;
}

static void judge_replacements(const struct run *run, const struct objective *objective, json_t *measured,
                               struct judgement *ret)
{
    size_t n_started, n_served, n_unready = 0;

    n_started = run_count_replacements(run, &n_served);
    EACH_HOST (run, host)
        n_unready += host->is_replacement && host->is_unready;
    json_object_set_new(measured, "started", json_integer((json_int_t)n_started));
    json_object_set_new(measured, "in_service", json_integer((json_int_t)n_served));
    if (!n_started)
        judge(ret, VERDICT_UNKNOWN, "no replacement started");
    else if (!balancer_was_seen(run))
        judge(ret, VERDICT_UNKNOWN, "no balancer said what it has in service");
    else if (n_started - n_served > n_unready)
        judge(ret, VERDICT_MISSED, "%zu of %zu replacements came into service", n_served, n_started);
    if (n_unready)
        judge(ret, VERDICT_UNKNOWN, "%zu of %zu replacements booted without waiting for their faults",
              n_unready, n_started);
}

/* A suspect's miss can be forged as well as its success. */
static void judge_rollback(const struct run *run, const struct objective *objective, json_t *measured,
                           struct judgement *ret)
{
    double worst = 0;
    size_t n = 0;

    EACH_FAULT (run, fault) {
        if (fault->is_irreversible || fault->state == RUN_FAULT_REFUSED)
            continue;
        n++;
        if (run_host(run, fault->host)->is_suspect)
            judge(ret, VERDICT_UNKNOWN, "what %s says may be forged", fault->host);
        else if (fault->is_left_behind)
            judge(ret, VERDICT_MISSED, "%s was not reverted on %s: %s", fault->step->fault, fault->host,
                  fault->reason);
        else if (!fault->has_revert_error)
            judge(ret, VERDICT_UNKNOWN, "no proof that %s was reverted on %s%s%s", fault->step->fault,
                  fault->host, fault->is_interrupted ? " in time: " : "",
                  fault->is_interrupted ? fault->reason : "");
        else if (fault->revert_error_msec > (double)objective->limit)
            judge(ret, VERDICT_MISSED, "%s was reverted %.0f ms late on %s", fault->step->fault,
                  fault->revert_error_msec, fault->host);
        if (fault->has_revert_error && fault->revert_error_msec > worst)
            worst = fault->revert_error_msec;
    }
    json_object_set_new(measured, "within_ms", n ? json_real(worst) : json_null());
    if (!n)
        judge(ret, VERDICT_UNKNOWN, "nothing was there to roll back");
}

static const struct objective_kind kinds[] = {
    {"recover", "within_s", 1, 86400, NULL, recovery_recover_msec, "not healthy again", "healthy again",
     true},
    {"detect", "within_s", 1, 86400, NULL, recovery_detect_msec, "never declared unhealthy",
     "declared unhealthy"},
    {"lost", "at_most_percent", 0, 100},
    {"replacements", NULL, 0, 0, judge_replacements},
    {"rollback", "within_ms", 1, 3600000, judge_rollback},
};

/* Return: 0, -EINVAL with the place */
static int decode(const struct document *document, const struct node *node, struct objective *ret,
                  const struct objective_kind **ret_kind, struct error *error)
{
    const char *name = node_string(node, "kind");
    const struct objective_kind *kind = NULL;
    struct field fields[5] = {
        {"name", FIELD_STRING, offsetof(struct objective, name), true, 1, 200},
        {"kind", FIELD_NAME, offsetof(struct objective, kind), true},
    };
    size_t n = 2;

    for (size_t i = 0; name && i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i].name, name))
            kind = &kinds[i];
    if (!kind)
        return node_error(document, node_get(node, "kind") ?: node, error,
                          "expected kind recover, detect, lost, replacements or rollback");
    if (!kind->judge)
        fields[n++] = (struct field){"probe", FIELD_NAME, offsetof(struct objective, probe), true};
    if (kind->limit_key)
        fields[n++] = (struct field){kind->limit_key, FIELD_INTEGER,  offsetof(struct objective, limit), true,
                                     kind->limit_min, kind->limit_max};
    *ret = (struct objective){};
    *ret_kind = kind;
    return node_decode(document, node, fields, ret, error);
}

int objective_check(const struct document *document, const struct node *node, const struct node *probes,
                    struct error *error)
{
    const struct objective_kind *kind;
    struct objective objective;
    int r = decode(document, node, &objective, &kind, error);

    if (r < 0 || !objective.probe)
        return r;
    for (const struct node *probe = probes ? probes->first : NULL; probe; probe = probe->next)
        if (node_string(probe, "name") && !strcmp(node_string(probe, "name"), objective.probe))
            return 0;
    return node_error(document, node_get(node, "probe"), error, "there is no probe %s", objective.probe);
}

json_t *objective_judge(const struct run *run, const struct node *node, struct judgement *ret)
{
    const struct objective_kind *kind;
    struct objective objective;
    json_t *measured = json_object();

    *ret = (struct judgement){};
    if (decode(run->mandate->document, node, &objective, &kind, NULL) < 0) {
        objective.name = objective.kind = "?";
        judge(ret, VERDICT_UNKNOWN, "this version does not know the objective");
    } else if (run->state != RUN_DONE) {
        judge(ret, VERDICT_UNKNOWN, "the run is %s", run_state_names[run->state]);
    } else if (!run->t0_usec) {
        judge(ret, VERDICT_UNKNOWN, "nothing shows that anything was done");
    } else if (kind->judge) {
        kind->judge(run, &objective, measured, ret);
    } else {
        judge_views(run, kind, &objective, measured, ret);
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "name", objective.name, "kind", objective.kind,
                     "verdict", verdict_names[ret->verdict], "objective", node_to_json(node), "measured",
                     measured, "why", json_words(ret->why));
}

/* Timed elements may end a little before the deadline; more than this is an outage that was shorter than
 * signed. */
#define FAULT_EARLY_MSEC 1000
/* Whoever was to end it did not, and another hand had to: how long it really lasted is not known. */
#define FAULT_LATE_MSEC 1000

bool fault_ended_early(const struct run *run, const struct run_fault *fault)
{
    return !strcmp(fault->ended_by, "halt") || fault->revert_error_msec < -FAULT_EARLY_MSEC ||
           (fault->reverted_usec && run_corrected(run, fault->host, fault->reverted_usec) <
                                        fault->deadline_usec - FAULT_EARLY_MSEC * USEC_PER_MSEC);
}

void fault_judge(const struct run *run, const struct run_fault *fault, struct judgement *ret)
{
    *ret = (struct judgement){};
    if (run_host(run, fault->host)->is_suspect)
        judge(ret, VERDICT_UNKNOWN,
              "the host's events contradict each other: some were forged, withheld or lost");
    else if (fault->state == RUN_FAULT_FAILED)
        judge(ret, VERDICT_MISSED, "%s", fault->reason);
    else if (fault->state == RUN_FAULT_REFUSED)
        judge(ret, VERDICT_UNKNOWN, "%s", fault->reason);
    else if (!fault->exercised_usec && fault->state != RUN_FAULT_ENDED)
        judge(ret, VERDICT_UNKNOWN, "its effect was not shown");
    else if (fault->state != RUN_FAULT_REVERTED && fault->state != RUN_FAULT_ENDED)
        judge(ret, VERDICT_UNKNOWN, "there is no proof of its end");
    else if (fault->is_interfered)
        judge(ret, VERDICT_UNKNOWN, "%s", fault->reason);
    else if (fault->is_interrupted)
        judge(ret, VERDICT_UNKNOWN, "it was interrupted: %s", fault->reason);
    else if (fault_ended_early(run, fault))
        judge(ret, VERDICT_UNKNOWN, "it ended early");
    else if (fault->revert_error_msec > FAULT_LATE_MSEC)
        judge(ret, VERDICT_UNKNOWN, "its end was proved only %.1f s late", fault->revert_error_msec / 1000);
    else if (fault->state == RUN_FAULT_REVERTED && !fault->is_undisturbed)
        judge(ret, VERDICT_UNKNOWN, "nobody saw whether somebody interfered");
}
