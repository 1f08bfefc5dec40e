/* From what hosts say to what is known of a run, and to lines for people. Taking an event has no other
 * effect, so it works the same live and after a restart. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

static bool is(const struct host_event *event, const char *key)
{
    return json_is_true(json_object_get(event->body, key));
}

/* A time in the body, or that of the event. */
static int64_t time_of(const struct host_event *event, const char *key)
{
    int64_t usec;

    return time_parse(json_text(event->body, key), &usec) == 0 ? usec : event->at_usec;
}

#define MORE_MAX 512

/* Each of these: what an event says of a fault besides its state, effect and reason. @more: what people read
 * after the event's word. */
static void on_armed(struct run_fault *fault, const struct host_event *event, char *more)
{
    fault->armed_usec = time_of(event, "armed_at");
}

static void on_exercised(struct run_fault *fault, const struct host_event *event, char *more)
{
    const char *view = json_text(fault->effect, "view");

    fault->exercised_usec = time_of(event, "exercised_at");
    if (!fault->armed_usec)
        fault->armed_usec = fault->exercised_usec;
    if (*view)
        snprintf(more, MORE_MAX, " (%s)", view);
}

static void on_reverted(struct run_fault *fault, const struct host_event *event, char *more)
{
    const json_t *late = json_object_get(event->body, "revert_error_ms");
    const char *by = json_text(event->body, "ended_by"), *found = json_text(event->body, "interference");
    char when[64] = "nobody knows when";

    fault->reverted_usec = fault->ended_usec = time_of(event, "reverted_at");
    fault->has_revert_error = json_is_number(late);
    if (fault->has_revert_error)
        fault->revert_error_msec = json_number_value(late);
    fault->is_undisturbed = json_is_false(json_object_get(event->body, "is_interfered"));
    fault->is_interfered = is(event, "is_interfered");
    if (fault->is_interfered)
        snprintf(fault->reason, sizeof(fault->reason), "interfered: %s",
                 *found ? found : "somebody changed it while it was in force");
    fault->is_left_behind = false;
    snprintf(fault->ended_by, sizeof(fault->ended_by), "%s", by);
    if (fault->has_revert_error)
        snprintf(when, sizeof(when), "%.0f ms %s its end", fabs(fault->revert_error_msec),
                 fault->revert_error_msec < 0 ? "before" : "after");
    snprintf(more, MORE_MAX, " by %s, %s%s%s", *by ? by : "?", when, fault->is_interfered ? ", " : "",
             fault->is_interfered ? fault->reason : "");
}

static void on_ended(struct run_fault *fault, const struct host_event *event, char *more)
{
    fault->ended_usec = event->at_usec;
    fault->is_irreversible = true;
}

static void on_failed(struct run_fault *fault, const struct host_event *event, char *more)
{
    fault->is_irreversible = json_is_null(json_object_get(event->body, "is_reverted"));
    fault->is_left_behind = !is(event, "is_reverted") && !fault->is_irreversible;
    if (!fault->is_left_behind)
        fault->ended_usec = event->at_usec;
    snprintf(more, MORE_MAX, ": %s%s", fault->reason, fault->is_left_behind ? " (not reverted yet)" : "");
}

static void on_interrupted(struct run_fault *fault, const struct host_event *event, char *more)
{
    fault->is_interrupted = true;
}

/* @state: the fault is at least so far now */
static const struct fault_event {
    const char *kind, *word;
    enum run_fault_state state;
    bool has_reason;
    void (*take)(struct run_fault *fault, const struct host_event *event, char *more);
} fault_events[] = {
    {"order.accepted", "accepted", RUN_FAULT_ACCEPTED, false, NULL},
    {"order.refused", "refused", RUN_FAULT_REFUSED, true, NULL},
    {"fault.armed", "armed", RUN_FAULT_ARMED, false, on_armed},
    {"fault.exercised", "exercised", RUN_FAULT_EXERCISED, false, on_exercised},
    {"fault.reverted", "reverted", RUN_FAULT_REVERTED, false, on_reverted},
    {"fault.ended", "ended", RUN_FAULT_ENDED, false, on_ended},
    {"fault.failed", "failed", RUN_FAULT_FAILED, true, on_failed},
    {"fault.interrupted", "interrupted", RUN_FAULT_ORDERED, true, on_interrupted},
};

static void take_fault(struct run *run, struct run_fault *fault, const struct host_event *event,
                       const struct fault_event *row, int64_t at_usec)
{
    const char *reason = json_text(event->body, "reason");
    json_t *effect = json_object_get(event->body, "effect");
    char more[MORE_MAX] = "";

    if (row->state == RUN_FAULT_REFUSED && fault->state >= RUN_FAULT_ACCEPTED)
        return; /* a repeated order is refused as a replay: the first one counts */
    if (fault->state < row->state)
        fault->state = row->state;
    if (fault->effect)
        json_object_update(fault->effect, effect); /* later counts replace earlier ones, `view` stays */
    else if (json_is_object(effect))
        fault->effect = json_deep_copy(effect);
    if (row->has_reason) {
        snprintf(fault->reason, sizeof(fault->reason), "%s", *reason ? reason : "no reason given");
        snprintf(more, sizeof(more), ": %s", fault->reason);
    }
    if (row->take)
        row->take(fault, event, more);
    run_say(run, at_usec, "%s %s %s%s", fault->host, fault->step ? fault->step->fault : "watching", row->word,
            more);
}

static void on_fault(struct run *run, struct run_fault *fault, const struct host_event *event,
                     int64_t at_usec)
{
    for (size_t i = 0; i < ARRAY_SIZE(fault_events); i++)
        if (!strcmp(fault_events[i].kind, event->kind))
            take_fault(run, fault, event, &fault_events[i], at_usec);
}

static void take_sample(struct run_endpoint *endpoint, json_t *item)
{
    json_int_t at_usec, latency_usec;
    struct sample *sample;
    int status, is_ok;

    if (json_unpack(item, "[I, I, i, i]", &at_usec, &latency_usec, &status, &is_ok) < 0 ||
        endpoint->n_samples >= RUN_SAMPLES_MAX)
        return;
    sample = array_add(&endpoint->samples, &endpoint->n_samples, sizeof(*sample));
    if (!sample)
        return;
    *sample = (struct sample){at_usec, latency_usec, status, is_ok != 0};
    recovery_add(&endpoint->live, sample);
}

static void on_samples(struct run *run, const struct host_event *event)
{
    const char *name = json_text(event->body, "probe");

    EACH_ENDPOINT (run, endpoint) {
        size_t before = endpoint->live.n_transitions, k;
        json_t *item;

        if (strcmp(endpoint->from, event->host) || strcmp(endpoint->probe.name, name))
            continue;
        json_array_foreach(json_object_get(event->body, "samples"), k, item) take_sample(endpoint, item);
        for (k = before; k < endpoint->live.n_transitions; k++) {
            const struct recovery_transition *t = &endpoint->live.transitions[k];

            run_say(run, run_corrected(run, event->host, t->at_usec), "%s is %s, seen from %s", name,
                    recovery_state_name(t->to), event->host);
        }
    }
}

static void take_clock(struct run_host *host, const struct host_event *event)
{
    json_int_t offset_usec, bound_usec;

    if (json_unpack((json_t *)event->clock, "{s:I, s:I}", "offset_usec", &offset_usec, "bound_usec",
                    &bound_usec) < 0)
        return;
    host->has_clock = true;
    host->clock_offset_usec = offset_usec;
    host->clock_bound_usec = bound_usec;
}

static void on_host(struct run *run, struct run_host *host, const struct host_event *event, int64_t at_usec)
{
    const char *by = json_text(event->body, "by");

    if (!strcmp(event->kind, "agent.ready") && host->is_replacement) {
        host->is_unready = !is(event, "is_ready");
        run_say(run, at_usec, "%s is %s", host->id,
                host->is_unready ? "up, but its boot did not wait for its faults"
                                 : "ready to boot its service");
    } else if (!strcmp(event->kind, "halt.received")) {
        host->is_halted = true;
        run_say(run, at_usec, "%s received a halt%s%s", host->id, *by ? " by " : "", by);
    }
}

void run_take_event(struct run *run, const struct host_event *event)
{
    struct run_host *host = run_host(run, event->host);
    int64_t at_usec;

    if (!host)
        return;
    take_clock(host, event);
    at_usec = run_corrected(run, event->host, event->at_usec);
    if (!strcmp(event->kind, "probe.samples")) {
        on_samples(run, event);
        return;
    }
    EACH_ORDER (run, fault)
        if (event->order && !strcmp(fault->order, event->order) && !strcmp(fault->host, event->host))
            on_fault(run, fault, event, at_usec);
    on_host(run, host, event, at_usec);
}
