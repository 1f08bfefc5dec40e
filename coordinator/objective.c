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

struct objective {
    const char *name, *kind, *probe;
    int64_t within_sec, within_msec, at_most_percent;
};

struct objective_kind {
    const char *name;
    const struct field *fields;
    void (*judge)(const struct run *run, const struct objective *objective, struct objective_result *result);
};

static void weigh(struct objective_result *result, enum verdict verdict, const char *format, ...)
    _printf_(3, 4);

/* The heaviest verdict's words stay. */
static void weigh(struct objective_result *result, enum verdict verdict, const char *format, ...)
{
    va_list arguments;

    if (verdict <= result->verdict)
        return;
    result->verdict = verdict;
    va_start(arguments, format);
    vsnprintf(result->why, sizeof(result->why), format, arguments);
    va_end(arguments);
}

int64_t endpoint_t0(const struct run *run, const struct run_endpoint *endpoint)
{
    return 2 * run->t0_usec - run_corrected(run, endpoint->from, run->t0_usec);
}

int endpoint_recovery(const struct run *run, const struct run_endpoint *endpoint, struct recovery *ret)
{
    if (!run->t0_usec)
        return -ENODATA;
    recovery_init(ret, endpoint_t0(run, endpoint), endpoint->probe.unhealthy_after,
                  endpoint->probe.healthy_after, endpoint->probe.stable_msec * USEC_PER_MSEC);
    for (size_t i = 0; i < endpoint->n_samples; i++)
        recovery_add(ret, &endpoint->samples[i]);
    return 0;
}

/* The longest time without a sample from just before t0 to the end of the settling, by the observer's clock.
 */
static int64_t longest_gap(const struct run *run, const struct run_endpoint *endpoint)
{
    int64_t shift_usec = endpoint_t0(run, endpoint) - run->t0_usec, interval_usec, last_usec, gap_usec = 0;

    interval_usec = endpoint->probe.interval_msec * USEC_PER_MSEC;
    last_usec = run->t0_usec + shift_usec - interval_usec;
    for (size_t i = 0; i <= endpoint->n_samples; i++) {
        int64_t at_usec = i < endpoint->n_samples ? endpoint->samples[i].at_usec
                                                  : run->finishing_usec + shift_usec - SAMPLES_LATE_USEC;

        if (at_usec - last_usec > gap_usec)
            gap_usec = at_usec - last_usec;
        if (at_usec > last_usec)
            last_usec = at_usec;
    }
    return gap_usec;
}

/* Bound of an interval between the hosts that armed and the observer; -1 = no clock is known. */
static int64_t clock_bound(const struct run *run, const struct run_endpoint *endpoint)
{
    const struct run_host *observer = run_host((struct run *)run, endpoint->from), *host;
    int64_t bound_usec = 0;

    for (size_t i = 0; i < run->n_faults; i++) {
        host = run_host((struct run *)run, run->faults[i].host);
        if (!run->faults[i].step || !host || !host->is_pinned || host == observer)
            continue;
        if (!host->has_clock || !observer->has_clock)
            return -1;
        if (host->clock_bound_usec + observer->clock_bound_usec > bound_usec)
            bound_usec = host->clock_bound_usec + observer->clock_bound_usec;
    }
    return bound_usec;
}

/* Why not to believe what an endpoint's samples say. */
static void doubt_samples(const struct run *run, const struct run_endpoint *endpoint,
                          const struct recovery *recovery, struct objective_result *result)
{
    int64_t gap_usec = longest_gap(run, endpoint);
    const struct run_host *observer = run_host((struct run *)run, endpoint->from);

    if (!endpoint->n_samples || gap_usec > 3 * endpoint->probe.interval_msec * USEC_PER_MSEC)
        weigh(result, VERDICT_UNKNOWN, "%s has no samples of %s for %.1f s", endpoint->from,
              endpoint->probe.name, (double)gap_usec / USEC_PER_SEC);
    if (!recovery->was_healthy_at_t0)
        weigh(result, VERDICT_UNKNOWN, "%s was not healthy before the fault, seen from %s",
              endpoint->probe.name, endpoint->from);
    if (!observer->is_head_fresh)
        weigh(result, VERDICT_UNKNOWN, "no fresh word from %s after the end", endpoint->from);
}

static void doubt_clocks(const struct run *run, const struct run_endpoint *endpoint,
                         struct objective_result *result)
{
    int64_t bound_usec = clock_bound(run, endpoint);

    if (bound_usec < 0)
        weigh(result, VERDICT_UNKNOWN, "the clock of %s or of a host with a fault is not known",
              endpoint->from);
    else if (bound_usec > endpoint->probe.interval_msec * USEC_PER_MSEC)
        weigh(result, VERDICT_UNKNOWN, "clocks are known to %.0f ms only, more than the probe's interval",
              (double)bound_usec / USEC_PER_MSEC);
}

/* Worst of what the observers saw; `never` (-1) counts as worse than any number. */
static void measure_worst(struct objective_result *result, int64_t msec)
{
    const json_t *is = json_object_get(result->measured, "within_ms");

    if (is && (json_is_null(is) || (msec >= 0 && msec <= json_integer_value(is))))
        return;
    json_object_set_new(result->measured, "within_ms", msec < 0 ? json_null() : json_integer(msec));
}

/* One observer's view of one kind of objective: measured into @result, a miss into @one. */
typedef void judge_view(const struct objective *objective, const struct recovery *recovery,
                        struct objective_result *result, struct objective_result *one);

static void view_recover(const struct objective *objective, const struct recovery *recovery,
                         struct objective_result *result, struct objective_result *one)
{
    int64_t msec = recovery_recover_msec(recovery);

    measure_worst(result, msec);
    if (msec < 0)
        weigh(one, VERDICT_MISSED, "not healthy again");
    else if (msec > objective->within_sec * 1000)
        weigh(one, VERDICT_MISSED, "healthy again after %.1f s", (double)msec / 1000);
}

static void view_detect(const struct objective *objective, const struct recovery *recovery,
                        struct objective_result *result, struct objective_result *one)
{
    int64_t msec = recovery_detect_msec(recovery);

    measure_worst(result, msec);
    if (msec < 0)
        weigh(one, VERDICT_MISSED, "never declared unhealthy");
    else if (msec > objective->within_sec * 1000)
        weigh(one, VERDICT_MISSED, "declared unhealthy after %.1f s", (double)msec / 1000);
}

static void view_lost(const struct objective *objective, const struct recovery *recovery,
                      struct objective_result *result, struct objective_result *one)
{
    double percent = recovery->requests ? 100.0 * (double)recovery->lost / (double)recovery->requests : 0;

    if (percent >= json_real_value(json_object_get(result->measured, "percent")))
        json_object_set_new(result->measured, "percent", json_real(percent));
    if (percent > (double)objective->at_most_percent)
        weigh(one, VERDICT_MISSED, "%.1f %% of the requests were lost", percent);
}

/* What is in doubt can't be missed, but one observer's doubt does not hide another's miss. */
static void judge_views(const struct run *run, const struct objective *objective, judge_view *view,
                        bool is_interval, struct objective_result *result)
{
    struct recovery recovery;

    for (size_t i = 0; i < run->n_endpoints; i++) {
        const struct run_endpoint *endpoint = &run->endpoints[i];
        struct objective_result one = {}, doubt = {};

        if (strcmp(endpoint->probe.name, objective->probe) || endpoint_recovery(run, endpoint, &recovery) < 0)
            continue;
        doubt_samples(run, endpoint, &recovery, &doubt);
        if (is_interval && recovery.lost)
            doubt_clocks(run, endpoint, &doubt);
        view(objective, &recovery, result, &one);
        if (doubt.verdict != VERDICT_MET)
            weigh(result, doubt.verdict, "%s", doubt.why);
        else
            weigh(result, one.verdict, "%s, seen from %s", one.why, endpoint->from);
    }
}

static void judge_recover(const struct run *run, const struct objective *objective,
                          struct objective_result *result)
{
    judge_views(run, objective, view_recover, true, result);
}

static void judge_detect(const struct run *run, const struct objective *objective,
                         struct objective_result *result)
{
    judge_views(run, objective, view_detect, true, result);
}

static void judge_lost(const struct run *run, const struct objective *objective,
                       struct objective_result *result)
{
    judge_views(run, objective, view_lost, false, result);
}

static bool balancer_was_seen(const struct run *run)
{
    return run->balancer_seen_usec && run->balancer_seen_usec + RUN_PROOF_USEC >= run->finishing_usec;
}

static void judge_replacements(const struct run *run, const struct objective *objective,
                               struct objective_result *result)
{
    size_t n_started = 0, n_served = 0, n_unready = 0;

    for (size_t i = 0; i < run->n_hosts; i++) {
        const struct run_host *host = &run->hosts[i];

        n_started += host->is_replacement;
        n_served += run_host_replaced(run, host);
        n_unready += host->is_replacement && host->is_unready;
    }
    json_object_set_new(result->measured, "started", json_integer((json_int_t)n_started));
    json_object_set_new(result->measured, "in_service", json_integer((json_int_t)n_served));
    if (!n_started)
        weigh(result, VERDICT_UNKNOWN, "no replacement started");
    else if (!balancer_was_seen(run))
        weigh(result, VERDICT_UNKNOWN, "no balancer said what it has in service");
    else if (n_started - n_served > n_unready)
        weigh(result, VERDICT_MISSED, "%zu of %zu replacements came into service", n_served, n_started);
    if (n_unready)
        weigh(result, VERDICT_UNKNOWN, "%zu of %zu replacements booted without waiting for their faults",
              n_unready, n_started);
}

/* A miss can be forged as well as a success. */
static bool is_suspect(const struct run *run, const char *id)
{
    const struct run_host *host = run_host((struct run *)run, id);

    return host && host->is_suspect;
}

static void judge_rollback(const struct run *run, const struct objective *objective,
                           struct objective_result *result)
{
    double worst = 0;
    size_t n = 0;

    for (size_t i = 0; i < run->n_faults; i++) {
        const struct run_fault *fault = &run->faults[i];

        if (!fault->step || fault->state == RUN_FAULT_ENDED || fault->state == RUN_FAULT_REFUSED)
            continue;
        n++;
        if (is_suspect(run, fault->host))
            weigh(result, VERDICT_UNKNOWN, "what %s says may be forged", fault->host);
        else if (fault->is_left_behind)
            weigh(result, VERDICT_MISSED, "%s was not reverted on %s: %s", fault->step->fault, fault->host,
                  fault->reason);
        else if (!fault->has_revert_error)
            weigh(result, VERDICT_UNKNOWN, "no proof that %s was reverted on %s", fault->step->fault,
                  fault->host);
        else if (fault->revert_error_msec > (double)objective->within_msec)
            weigh(result, VERDICT_MISSED, "%s was reverted %.0f ms late on %s", fault->step->fault,
                  fault->revert_error_msec, fault->host);
        if (fault->has_revert_error && fault->revert_error_msec > worst)
            worst = fault->revert_error_msec;
    }
    json_object_set_new(result->measured, "within_ms", n ? json_real(worst) : json_null());
    if (!n)
        weigh(result, VERDICT_UNKNOWN, "nothing was there to roll back");
}

#define OBJECTIVE_FIELD(key, type, member, is_required, min, max)                                            \
    {                                                                                                        \
        key, type, offsetof(struct objective, member), is_required, min, max                                 \
    }
#define OBJECTIVE_COMMON                                                                                     \
    OBJECTIVE_FIELD("name", FIELD_STRING, name, true, 1, 200),                                               \
        OBJECTIVE_FIELD("kind", FIELD_NAME, kind, true, 0, 0)

static const struct field time_fields[] = {
    OBJECTIVE_COMMON,
    OBJECTIVE_FIELD("probe", FIELD_NAME, probe, true, 0, 0),
    OBJECTIVE_FIELD("within_s", FIELD_INTEGER, within_sec, true, 1, 86400),
    {0},
};
static const struct field lost_fields[] = {
    OBJECTIVE_COMMON,
    OBJECTIVE_FIELD("probe", FIELD_NAME, probe, true, 0, 0),
    OBJECTIVE_FIELD("at_most_percent", FIELD_INTEGER, at_most_percent, true, 0, 100),
    {0},
};
static const struct field replacements_fields[] = {OBJECTIVE_COMMON, {0}};
static const struct field rollback_fields[] = {
    OBJECTIVE_COMMON,
    OBJECTIVE_FIELD("within_ms", FIELD_INTEGER, within_msec, true, 1, 3600000),
    {0},
};

static const struct objective_kind kinds[] = {
    {"recover", time_fields, judge_recover},
    {"detect", time_fields, judge_detect},
    {"lost", lost_fields, judge_lost},
    {"replacements", replacements_fields, judge_replacements},
    {"rollback", rollback_fields, judge_rollback},
};

static const struct objective_kind *kind_of(const struct node *node)
{
    const char *name = node_string(node, "kind");

    for (size_t i = 0; name && i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    return NULL;
}

int objective_check(const struct document *document, const struct node *node, const struct node *probes,
                    struct error *error)
{
    const struct objective_kind *kind = kind_of(node);
    struct objective objective = {};
    int r;

    if (!kind)
        return node_error(document, node_get(node, "kind") ?: node, error,
                          "expected kind recover, detect, lost, replacements or rollback");
    r = node_decode(document, node, kind->fields, &objective, error);
    if (r < 0 || !objective.probe)
        return r;
    for (const struct node *probe = probes ? probes->first : NULL; probe; probe = probe->next)
        if (node_string(probe, "name") && !strcmp(node_string(probe, "name"), objective.probe))
            return 0;
    return node_error(document, node_get(node, "probe"), error, "there is no probe %s", objective.probe);
}

int objective_judge(const struct run *run, const struct node *node, struct objective_result *ret)
{
    const struct objective_kind *kind = kind_of(node);
    struct objective objective = {};

    *ret = (struct objective_result){.objective = node_to_json(node), .measured = json_object()};
    if (!kind || node_decode(run->mandate->document, node, kind->fields, &objective, NULL) < 0) {
        ret->name = ret->kind = "?";
        weigh(ret, VERDICT_UNKNOWN, "this version does not know the objective");
        return -EINVAL;
    }
    ret->name = objective.name;
    ret->kind = kind->name;
    if (!run->t0_usec || run->state != RUN_DONE) {
        weigh(ret, VERDICT_UNKNOWN, "the run is %s", run_state_name(run->state));
        return 0;
    }
    kind->judge(run, &objective, ret);
    if (objective.probe && !json_object_size(ret->measured))
        weigh(ret, VERDICT_UNKNOWN, "%s was not watched", objective.probe);
    return 0;
}
