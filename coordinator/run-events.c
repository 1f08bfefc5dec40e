/* From what hosts say to what is known of a run, and to lines for people. Taking an event has no other
 * effect, so it works the same live and after a restart. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

const char *event_text(const struct host_event *event, const char *key)
{
    return node_string(event->body, key) ?: "";
}

int64_t event_time(const struct host_event *event, const char *key)
{
    int64_t usec;

    return time_parse(event_text(event, key), &usec) == 0 ? usec : event->at_usec;
}

bool node_is(const struct node *map, const char *key, bool wanted)
{
    const struct node *node = node_get(map, key);

    return node && node->type == DOCUMENT_BOOLEAN && node->boolean == wanted;
}

void run_say(struct run *run, int64_t at_usec, const char *format, ...)
{
    char text[600], when[32] = "";
    va_list arguments;
    size_t length;

    if (run->started_usec)
        snprintf(when, sizeof(when), "%+.2f s ", (double)(at_usec - run->started_usec) / USEC_PER_SEC);
    length = (size_t)snprintf(text, sizeof(text), "%s", when);
    va_start(arguments, format);
    vsnprintf(text + length, sizeof(text) - length, format, arguments);
    va_end(arguments);
    json_array_append_new(run->lines,
                          json_pack("{s:I, s:o, s:o}", "n", (json_int_t)json_array_size(run->lines) + 1, "at",
                                    json_time(at_usec), "text", json_words(text)));
}

static const char *fault_label(const struct run_fault *fault)
{
    return fault->step ? fault->step->fault : "watching";
}

static void take_effect(struct run_fault *fault, const struct node *body)
{
    const struct node *node = node_get(body, "effect");
    json_t *effect;

    if (!node || node->type != DOCUMENT_MAP)
        return;
    effect = node_to_json(node);
    if (!effect)
        return;
    if (fault->effect) {
        json_object_update(fault->effect, effect); /* later counts replace earlier ones, `view` stays */
        json_decref(effect);
    } else {
        fault->effect = effect;
    }
}

static void take_reason(struct run_fault *fault, const struct node *body)
{
    const char *reason = node_string(body, "reason");

    snprintf(fault->reason, sizeof(fault->reason), "%s", reason ? reason : "no reason given");
}

static void on_accepted(struct run *run, struct run_fault *fault, const struct host_event *event,
                        int64_t at_usec)
{
    if (fault->state == RUN_FAULT_ORDERED)
        fault->state = RUN_FAULT_ACCEPTED;
    run_say(run, at_usec, "%s accepted %s%s", fault->host, fault_label(fault),
            node_is(event->body, "is_late_joiner", true) ? " as a late joiner" : "");
}

static void on_refused(struct run *run, struct run_fault *fault, const struct host_event *event,
                       int64_t at_usec)
{
    if (fault->state >= RUN_FAULT_ACCEPTED)
        return; /* a repeated order is refused as a replay: the first one counts */
    take_reason(fault, event->body);
    fault->state = RUN_FAULT_REFUSED;
    run_say(run, at_usec, "%s refused %s: %s", fault->host, fault_label(fault), fault->reason);
}

static void on_armed(struct run *run, struct run_fault *fault, const struct host_event *event,
                     int64_t at_usec)
{
    fault->armed_usec = event_time(event, "armed_at");
    if (fault->state < RUN_FAULT_ARMED)
        fault->state = RUN_FAULT_ARMED;
    run_say(run, at_usec, "%s %s armed", fault->host, fault_label(fault));
}

static void on_exercised(struct run *run, struct run_fault *fault, const struct host_event *event,
                         int64_t at_usec)
{
    const char *view;

    fault->exercised_usec = event_time(event, "exercised_at");
    if (!fault->armed_usec)
        fault->armed_usec = fault->exercised_usec;
    if (fault->state < RUN_FAULT_EXERCISED)
        fault->state = RUN_FAULT_EXERCISED;
    take_effect(fault, event->body);
    view = json_string_value(json_object_get(fault->effect, "view"));
    run_say(run, at_usec, "%s %s exercised%s%s%s", fault->host, fault_label(fault), view ? " (" : "",
            view ? view : "", view ? ")" : "");
}

static void on_reverted(struct run *run, struct run_fault *fault, const struct host_event *event,
                        int64_t at_usec)
{
    const struct node *late = node_get(event->body, "revert_error_ms");
    const char *by = event_text(event, "ended_by");

    fault->reverted_usec = event_time(event, "reverted_at");
    fault->has_revert_error = late && (late->type == DOCUMENT_REAL || late->type == DOCUMENT_INTEGER);
    if (fault->has_revert_error)
        fault->revert_error_msec = late->type == DOCUMENT_REAL ? late->real : (double)late->integer;
    fault->is_interfered = node_is(event->body, "is_interfered", true);
    fault->is_left_behind = false;
    snprintf(fault->ended_by, sizeof(fault->ended_by), "%s", by);
    if (fault->state != RUN_FAULT_FAILED)
        fault->state = RUN_FAULT_REVERTED;
    take_effect(fault, event->body);
    run_say(run, at_usec, "%s %s reverted by %s, %.0f ms %s its end%s", fault->host, fault_label(fault),
            *by ? by : "?", fabs(fault->revert_error_msec), fault->revert_error_msec < 0 ? "before" : "after",
            fault->is_interfered ? ", somebody interfered" : "");
}

static void on_ended(struct run *run, struct run_fault *fault, const struct host_event *event,
                     int64_t at_usec)
{
    fault->state = RUN_FAULT_ENDED;
    take_effect(fault, event->body);
    run_say(run, at_usec, "%s %s ended", fault->host, fault_label(fault));
}

static void on_failed(struct run *run, struct run_fault *fault, const struct host_event *event,
                      int64_t at_usec)
{
    take_reason(fault, event->body);
    fault->state = RUN_FAULT_FAILED;
    fault->is_left_behind = !node_is(event->body, "is_reverted", true);
    run_say(run, at_usec, "%s %s failed: %s%s", fault->host, fault_label(fault), fault->reason,
            fault->is_left_behind ? " (not reverted yet)" : "");
}

static void on_interrupted(struct run *run, struct run_fault *fault, const struct host_event *event,
                           int64_t at_usec)
{
    take_reason(fault, event->body);
    fault->is_interrupted = true;
    run_say(run, at_usec, "%s %s interrupted: %s", fault->host, fault_label(fault), fault->reason);
}

static const struct {
    const char *kind;
    void (*take)(struct run *run, struct run_fault *fault, const struct host_event *event, int64_t at_usec);
} fault_events[] = {
    {"order.accepted", on_accepted},   {"order.refused", on_refused},         {"fault.armed", on_armed},
    {"fault.exercised", on_exercised}, {"fault.reverted", on_reverted},       {"fault.ended", on_ended},
    {"fault.failed", on_failed},       {"fault.interrupted", on_interrupted},
};

static struct run_fault *fault_for_event(struct run *run, const struct host_event *event)
{
    for (size_t i = 0; event->order && i < run->n_faults; i++)
        if (!strcmp(run->faults[i].order, event->order) && !strcmp(run->faults[i].host, event->host))
            return &run->faults[i];
    return NULL;
}

static void take_sample(struct run_endpoint *endpoint, const struct node *node)
{
    int64_t value[4] = {};
    struct sample *sample;
    size_t n = 0;

    for (const struct node *item = node->first; item && n < 4; item = item->next)
        value[n++] = item->type == DOCUMENT_INTEGER ? item->integer : 0;
    if (n < 4 || endpoint->n_samples >= RUN_SAMPLES_MAX)
        return;
    sample = array_add(&endpoint->samples, &endpoint->n_samples, sizeof(*sample));
    if (!sample)
        return;
    *sample = (struct sample){value[0], value[1], (int)value[2], value[3] != 0};
    recovery_add(&endpoint->live, sample);
}

static void on_samples(struct run *run, const struct host_event *event)
{
    const char *name = node_string(event->body, "probe");
    const struct node *samples = node_get(event->body, "samples");

    for (size_t i = 0; name && samples && i < run->n_endpoints; i++) {
        struct run_endpoint *endpoint = &run->endpoints[i];
        size_t before;

        if (strcmp(endpoint->from, event->host) || strcmp(endpoint->probe.name, name))
            continue;
        before = endpoint->live.n_transitions;
        for (const struct node *node = samples->first; node; node = node->next)
            take_sample(endpoint, node);
        for (size_t k = before; k < endpoint->live.n_transitions; k++) {
            const struct recovery_transition *t = &endpoint->live.transitions[k];

            run_say(run, run_corrected(run, event->host, t->at_usec), "%s is %s, seen from %s", name,
                    recovery_state_name(t->to), event->host);
        }
    }
}

static void take_clock(struct run_host *host, const struct host_event *event)
{
    const struct node *clock = node_get(event->root, "clock");
    const struct node *offset = node_get(clock, "offset_usec"), *bound = node_get(clock, "bound_usec");

    if (!offset || !bound || offset->type != DOCUMENT_INTEGER || bound->type != DOCUMENT_INTEGER)
        return;
    host->has_clock = true;
    host->clock_offset_usec = offset->integer;
    host->clock_bound_usec = bound->integer;
}

static void on_host_event(struct run *run, struct run_host *host, const struct host_event *event,
                          int64_t at_usec)
{
    const char *by = event_text(event, "by");

    if (!strcmp(event->kind, "agent.ready") && host->is_replacement) {
        host->is_unready = !node_is(event->body, "is_ready", true);
        run_say(run, at_usec, "%s is %s", host->id,
                host->is_unready ? "up, but its boot did not wait for its faults"
                                 : "ready to boot its service");
    } else if (!strcmp(event->kind, "halt.received")) {
        run_say(run, at_usec, "%s received a halt%s%s", host->id, *by ? " by " : "", by);
    }
}

void run_take_event(struct run *run, const struct host_event *event)
{
    struct run_host *host = event->host ? run_host(run, event->host) : NULL;
    struct run_fault *fault;
    int64_t at_usec;

    if (!event->host)
        run_take_own(run, event);
    if (!host || (event->run && strcmp(event->run, run->id)))
        return;
    take_clock(host, event);
    at_usec = run_corrected(run, event->host, event->at_usec);
    if (!strcmp(event->kind, "probe.samples") && event->run) {
        on_samples(run, event);
        return;
    }
    fault = fault_for_event(run, event);
    for (size_t i = 0; fault && i < ARRAY_SIZE(fault_events); i++)
        if (!strcmp(fault_events[i].kind, event->kind))
            fault_events[i].take(run, fault, event, at_usec);
    on_host_event(run, host, event, at_usec);
}

int run_take_line(struct run *run, const char *line, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct host_event event = {};
    int r = document_parse_json(&document, "event", line, strlen(line), error);

    if (r < 0)
        return r;
    event.root = document_root(document);
    event.body = node_get(event.root, "body");
    event.host = node_string(event.root, "host");
    event.kind = node_string(event.root, "kind") ?: "";
    event.run = node_string(event.root, "run");
    event.order = node_string(event.root, "order");
    if (time_parse(node_string(event.root, "at") ?: "", &event.at_usec) < 0)
        return error_set(error, EINVAL, "event of run %s without a time", run->id);
    run_take_event(run, &event);
    return 0;
}
