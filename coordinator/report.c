/* The report of a run, `grivet.report/1`: facts first, then what they mean. Times are as reported; clocks[]
 * says how far to trust them. */
#include <stdio.h>
#include <string.h>

#include "run-state.h"

json_t *time_or_null(int64_t usec)
{
    return usec ? json_time(usec) : json_null();
}

json_t *msec_or_null(int64_t msec)
{
    return msec < 0 ? json_null() : json_integer(msec);
}

/* What can't be undone ends as it was exercised, or fails. */
static json_t *report_fault(const struct run_fault *fault, const struct judgement *judgement)
{
    bool is_over = fault->state == RUN_FAULT_ENDED;
    const char *rollback = fault->is_irreversible               ? "not_applicable"
                           : fault->state == RUN_FAULT_REVERTED ? "proved"
                                                                : "unproved";

    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s?, s:o, s:O?, s:s, s:o}", "host", fault->host,
        "fault", fault->step->fault, "step", fault->step->name, "state",
        run_fault_names[is_over ? RUN_FAULT_EXERCISED : fault->state], "rollback", rollback, "armed_at",
        time_or_null(fault->armed_usec), "exercised_at", time_or_null(fault->exercised_usec), "deadline",
        json_time(fault->deadline_usec), "reverted_at", time_or_null(fault->reverted_usec), "revert_error_ms",
        fault->has_revert_error ? json_real(fault->revert_error_msec) : json_null(), "ended_by",
        *fault->ended_by ? fault->ended_by : NULL, "is_interfered",
        fault->is_interfered || fault->is_undisturbed ? json_boolean(fault->is_interfered) : json_null(),
        "effect", fault->effect, "verdict", verdict_names[judgement->verdict], "why",
        json_words(judgement->why));
}

static json_t *report_faults(const struct run *run, struct judgement *whole)
{
    json_t *list = json_array();
    struct judgement one;

    EACH_FAULT (run, fault) {
        fault_judge(run, fault, &one);
        json_array_append_new(list, report_fault(fault, &one));
        judge(whole, one.verdict, "%s on %s: %s", fault->step->fault, fault->host, one.why);
    }
    return list;
}

/* p50 and p99 of the requests sent in [from, until), in milliseconds. */
static json_t *latency_between(const struct run_endpoint *endpoint, int64_t from_usec, int64_t until_usec)
{
    _cleanup_free_ int64_t *latencies = calloc(endpoint->n_samples + 1, sizeof(*latencies));
    size_t n = 0;

    for (size_t i = 0; latencies && i < endpoint->n_samples; i++)
        if (endpoint->samples[i].at_usec >= from_usec && endpoint->samples[i].at_usec < until_usec)
            latencies[n++] = endpoint->samples[i].latency_usec;
    if (!n)
        return json_null();
    return json_pack("{s:f, s:f}", "p50", (double)recovery_latency(latencies, n, 50) / USEC_PER_MSEC, "p99",
                     (double)recovery_latency(latencies, n, 99) / USEC_PER_MSEC);
}

static json_t *report_transitions(const struct recovery *recovery)
{
    json_t *list = json_array();

    for (size_t i = 0; i < recovery->n_transitions; i++) {
        const struct recovery_transition *t = &recovery->transitions[i];

        json_array_append_new(list,
                              json_pack("{s:o, s:s, s:s}", "at", json_time(t->at_usec), "from",
                                        recovery_state_name(t->from), "to", recovery_state_name(t->to)));
    }
    return list;
}

static json_t *report_endpoint(const struct run *run, const struct run_endpoint *endpoint)
{
    struct recovery recovery = endpoint->live;
    bool has_t0 = endpoint_recovery(run, endpoint, NULL, &recovery) == 0;
    int64_t t0_usec = has_t0 ? endpoint_t0(run, endpoint) : INT64_MAX;
    int64_t reverted_usec = run_reverted_usec(run);
    json_t *from_revert = json_null();

    if (reverted_usec && has_t0 && recovery.healthy_usec)
        from_revert =
            json_integer((recovery.healthy_usec - t0_usec - (reverted_usec - run->t0_usec)) / USEC_PER_MSEC);
    reverted_usec = reverted_usec && has_t0 ? reverted_usec - run->t0_usec + t0_usec : INT64_MAX;
    return json_pack(
        "{s:s, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:I, s:I, s:{s:o, s:o, s:o}, s:o}", "name",
        endpoint->probe.name, "from", endpoint->from, "state", recovery_state_name(recovery.state),
        "was_healthy_at_t0", has_t0 && recovery.was_healthy_at_t0, "detect_ms",
        msec_or_null(has_t0 ? recovery_detect_msec(&recovery) : -1), "recover_ms",
        msec_or_null(has_t0 ? recovery_recover_msec(&recovery) : -1), "recover_from_revert_ms", from_revert,
        "stable_ms",
        msec_or_null(has_t0 && recovery.stable_at_usec ? (recovery.stable_at_usec - t0_usec) / USEC_PER_MSEC
                                                       : -1),
        "requests", (json_int_t)recovery.requests, "lost", (json_int_t)recovery.lost, "latency_ms", "before",
        latency_between(endpoint, 0, t0_usec), "during", latency_between(endpoint, t0_usec, reverted_usec),
        "after", latency_between(endpoint, reverted_usec, INT64_MAX), "transitions",
        report_transitions(&recovery));
}

static json_t *report_endpoints(const struct run *run)
{
    json_t *list = json_array();

    EACH_ENDPOINT (run, endpoint)
        json_array_append_new(list, report_endpoint(run, endpoint));
    return list;
}

json_t *report_budgets(const struct balancer_budget *budgets, size_t count)
{
    json_t *list = json_array();

    for (const struct balancer_budget *budget = budgets; budget < budgets + count; budget++) {
        json_t *out = NULL, *in = NULL; /* not known */

        if (budget->out_most_msec) {
            out = json_pack("{s:I, s:I}", "least", (json_int_t)budget->out_least_msec, "most",
                            (json_int_t)budget->out_most_msec);
            in = json_pack("{s:I, s:I}", "least", (json_int_t)budget->in_least_msec, "most",
                           (json_int_t)budget->in_most_msec);
        }
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:o?, s:o?}", "balancer", budget->balancer, "backend",
                                        budget->backend, "take_out_ms", out, "return_ms", in));
    }
    return list;
}

json_t *report_waiting(const struct run *run, const char *id)
{
    json_auto_t *seen = json_object();
    json_t *list = json_array(), *item;
    size_t i;

    EACH_FAULT (run, fault) {
        const struct run_host *host = run_host(run, fault->host);

        if (id ? strcmp(host->id, id) : !host->is_replacement || run_host_replaced(run, host))
            continue;
        json_array_foreach(json_object_get(fault->effect, "waiting"), i, item)
        {
            if (json_is_string(item) && !json_object_get(seen, json_string_value(item)))
                json_array_append(list, item);
            json_object_set_new(seen, json_string_value(item), json_true());
        }
    }
    return list;
}

static json_t *report_replacements(const struct run *run)
{
    json_t *list = json_array();

    EACH_HOST (run, host) {
        if (!host->is_replacement)
            continue;
        json_array_append_new(list, json_pack("{s:s, s:o, s:o, s:o, s:b}", "instance", host->id, "started_at",
                                              json_time(host->started_usec), "in_service_at",
                                              time_or_null(host->in_service_usec), "waiting_for",
                                              report_waiting(run, host->id), "waited_for_faults",
                                              !host->is_unready));
    }
    return list;
}

static json_t *report_objectives(const struct run *run, struct judgement *whole)
{
    const struct node *objectives = run->mandate->objectives;
    json_t *list = json_array();
    struct judgement one;

    for (const struct node *node = objectives ? objectives->first : NULL; node; node = node->next) {
        json_array_append_new(list, objective_judge(run, node, &one));
        judge(whole, one.verdict, "%s: %s", json_text(node->json, "name"), one.why);
    }
    return list;
}

static json_t *report_clocks(const struct run *run, struct judgement *whole)
{
    json_t *list = json_array();

    EACH_HOST (run, host) {
        json_array_append_new(
            list, json_pack("{s:s, s:o?, s:o?, s:b, s:b}", "host", host->id, "offset_usec",
                            host->has_clock ? json_integer(host->clock_offset_usec) : NULL, "bound_usec",
                            host->has_clock ? json_integer(host->clock_bound_usec) : NULL, "has_fresh_head",
                            host->is_head_fresh, "is_suspect", host->is_suspect));
        if (run->state == RUN_DONE && !host->is_head_fresh)
            judge(whole, VERDICT_UNKNOWN, "no fresh word from %s after the end", host->id);
    }
    return list;
}

json_t *report_refused(const struct run *run)
{
    json_t *list = json_array();

    EACH_HOST (run, host)
        if ((*host->ask || host->is_asked) && !host->is_accepted)
            json_array_append_new(
                list, json_pack("{s:s, s:o}", "host", host->id, "reason",
                                json_words(host->has_answered ? host->reason : "no answer within 10 s")));
    return list;
}

json_t *report_build(struct run *run)
{
    struct judgement whole = {};
    json_t *faults = report_faults(run, &whole);
    json_t *steps = report_steps(run, &whole);
    json_t *objectives = report_objectives(run, &whole);
    json_t *clocks = report_clocks(run, &whole);
    _cleanup_free_ char *sentence = NULL;

    if (run->state != RUN_DONE)
        judge(&whole, VERDICT_UNKNOWN, "%s", run->reason);
    run->verdict = whole.verdict;
    if (!*run->reason)
        snprintf(run->reason, sizeof(run->reason), "%s", whole.why);
    sentence = report_sentence(run, &whole);
    return json_pack(
        "{s:s, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}",
        "schema", "grivet.report/1", "verdict", verdict_names[whole.verdict], "sentence",
        json_words(sentence ? sentence : ""), "run", run->id, "experiment", run->mandate->experiment,
        "mandate", run->mandate->hash, "state", run_state_names[run->state], "t0", time_or_null(run->t0_usec),
        "start_skew_ms",
        run->t0_usec && run->mandate->n_steps ? json_real((double)run->start_skew_usec / USEC_PER_MSEC)
                                              : json_null(),
        "steps", steps, "faults", faults, "endpoints", report_endpoints(run), "balancer",
        json_incref(run->facts), "budgets", run->budgets ? json_incref(run->budgets) : json_array(),
        "replacements", report_replacements(run), "objectives", objectives, "clocks", clocks, "refused",
        report_refused(run));
}

json_t *report_status(const struct run *run)
{
    json_t *hosts = json_array(), *endpoints = json_array(), *suspects = json_array(), *status;
    json_t *waiting = json_array();

    EACH_ORDER (run, fault)
        json_array_append_new(hosts, json_pack("{s:s, s:s, s:s, s:o}", "host", fault->host, "step",
                                               fault->step ? fault->step->name : MANDATE_OBSERVE, "state",
                                               run_fault_names[fault->state], "deadline",
                                               json_time(fault->deadline_usec)));
    EACH_ENDPOINT (run, endpoint)
        json_array_append_new(endpoints,
                              json_pack("{s:s, s:s, s:s}", "name", endpoint->probe.name, "from",
                                        endpoint->from, "state", recovery_state_name(endpoint->live.state)));
    for (size_t i = 0; i < run->mandate->n_steps && run->started_usec && !run->is_over; i++)
        if (!run->steps[i].started_usec)
            json_array_append_new(waiting, json_pack("{s:s, s:O}", "step", run->mandate->steps[i].name,
                                                     "after", run->mandate->steps[i].after->json));
    EACH_HOST (run, host)
        if (host->is_suspect)
            json_array_append_new(suspects, json_string(host->id));
    status = json_pack(
        "{s:s, s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "run", run->id, "experiment",
        run->mandate->experiment, "state", run_state_names[run->state], "since", json_time(run->since_usec),
        "is_over", run->is_over, "reason", json_words(run->reason), "ends_at",
        run->started_usec && !run->is_over ? json_time(run_expected_end_usec(run)) : json_null(), "hosts",
        hosts, "waiting", waiting, "endpoints", endpoints, "suspects", suspects);
    if (run->is_over)
        json_object_set_new(status, "verdict", json_string(verdict_names[run->verdict]));
    return status;
}
