/* From what hosts and balancers say to what is known of a run. Every row here works the same live and after a
 * restart. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

#define LOGGED_USEC (3 * USEC_PER_SEC)

static int64_t node_time(const struct node *map, const char *key, int64_t fallback)
{
    const char *text = node_string(map, key);
    int64_t usec;

    return text && time_parse(text, &usec) == 0 ? usec : fallback;
}

static bool node_is_true(const struct node *map, const char *key)
{
    const struct node *node = node_get(map, key);

    return node && node->type == DOCUMENT_BOOLEAN && node->boolean;
}

static double node_number(const struct node *node)
{
    return node->type == DOCUMENT_REAL ? node->real : (double)node->integer;
}

static bool is_number(const struct node *node)
{
    return node && (node->type == DOCUMENT_REAL || node->type == DOCUMENT_INTEGER);
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
            node_is_true(event->body, "is_late_joiner") ? " as a late joiner" : "");
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
    fault->armed_usec = node_time(event->body, "armed_at", event->at_usec);
    if (fault->state < RUN_FAULT_ARMED)
        fault->state = RUN_FAULT_ARMED;
    run_say(run, at_usec, "%s %s armed", fault->host, fault_label(fault));
}

static void on_exercised(struct run *run, struct run_fault *fault, const struct host_event *event,
                         int64_t at_usec)
{
    const char *view;

    fault->exercised_usec = node_time(event->body, "exercised_at", event->at_usec);
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
    const char *by = node_string(event->body, "ended_by");

    fault->reverted_usec = node_time(event->body, "reverted_at", event->at_usec);
    fault->has_revert_error = is_number(late);
    if (fault->has_revert_error)
        fault->revert_error_msec = node_number(late);
    fault->is_interfered = node_is_true(event->body, "is_interfered");
    fault->is_left_behind = false;
    snprintf(fault->ended_by, sizeof(fault->ended_by), "%s", by ? by : "");
    if (fault->state != RUN_FAULT_FAILED)
        fault->state = RUN_FAULT_REVERTED;
    take_effect(fault, event->body);
    run_say(run, at_usec, "%s %s reverted by %s, %.0f ms %s its end%s", fault->host, fault_label(fault),
            by ? by : "?", fabs(fault->revert_error_msec), fault->revert_error_msec < 0 ? "before" : "after",
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
    fault->is_left_behind = !node_is_true(event->body, "is_reverted");
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
    size_t n = 0;
    struct sample sample;

    for (const struct node *item = node->first; item && n < 4; item = item->next)
        value[n++] = item->type == DOCUMENT_INTEGER ? item->integer : 0;
    if (n < 4 || endpoint->n_samples >= RUN_SAMPLES_MAX)
        return;
    if ((endpoint->n_samples & (endpoint->n_samples - 1)) == 0) { /* full at every power of two */
        size_t capacity = endpoint->n_samples ? 2 * endpoint->n_samples : 1;
        struct sample *samples = reallocarray(endpoint->samples, capacity, sizeof(*samples));

        if (!samples)
            return;
        endpoint->samples = samples;
    }
    sample = (struct sample){value[0], value[1], (int)value[2], value[3] != 0};
    endpoint->samples[endpoint->n_samples++] = sample;
    recovery_add(&endpoint->live, &sample);
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
    const char *by;

    if (!strcmp(event->kind, "agent.ready") && host->is_replacement) {
        host->is_unready = !node_is_true(event->body, "is_ready");
        run_say(run, at_usec, "%s is %s", host->id,
                host->is_unready ? "up, but its boot did not wait for its faults"
                                 : "ready to boot its service");
    } else if (!strcmp(event->kind, "halt.received")) {
        by = node_string(event->body, "by");
        run_say(run, at_usec, "%s received a halt%s%s", host->id, by ? " by " : "", by ? by : "");
    }
}

void run_take_event(struct run *run, const struct host_event *event)
{
    struct run_host *host = run_host(run, event->host);
    struct run_fault *fault = fault_for_event(run, event);
    int64_t at_usec;

    if (!host || (event->run && strcmp(event->run, run->id)))
        return;
    take_clock(host, event);
    at_usec = run_corrected(run, event->host, event->at_usec);
    if (!strcmp(event->kind, "probe.samples") && event->run) {
        on_samples(run, event);
        return;
    }
    for (size_t i = 0; fault && i < ARRAY_SIZE(fault_events); i++)
        if (!strcmp(fault_events[i].kind, event->kind))
            fault_events[i].take(run, fault, event, at_usec);
    on_host_event(run, host, event, at_usec);
}

void run_note_newborn(struct run *run, const char *id, const char *group, const char *address,
                      int64_t joined_usec)
{
    struct run_host *host = run_host(run, id);
    bool is_wanted = false;

    if (host || !run->started_usec || joined_usec < run->started_usec || run->finishing_usec || !*group)
        return;
    for (size_t i = 0; i < run->n_hosts; i++)
        is_wanted |= run->hosts[i].is_pinned && !strcmp(run->hosts[i].group, group);
    host = is_wanted ? run_add_host(run, id) : NULL;
    if (!host)
        return;
    host->is_replacement = true;
    host->started_usec = joined_usec;
    snprintf(host->group, sizeof(host->group), "%s", group);
    snprintf(host->address, sizeof(host->address), "%s", address);
    run_say(run, joined_usec, "%s joined as a replacement in group %s", id, group);
}

/* A slot serves a host when it has the host's address and is UP. */
static void note_service(struct run *run, const struct balancer_fact *fact)
{
    for (size_t i = 0; *fact->address && i < run->n_hosts; i++) {
        struct run_host *host = &run->hosts[i];

        if (strcmp(host->address, fact->address))
            continue;
        if (strncmp(fact->state, "UP", 2)) {
            host->in_service_usec = 0;
        } else if (!host->in_service_usec) {
            host->in_service_usec = fact->at_usec;
            if (host->is_replacement)
                run_say(run, fact->at_usec, "%s came into service", host->id);
        }
    }
}

void run_add_fact(struct run *run, const struct balancer_fact *fact)
{
    struct balancer_fact *facts;

    if (run->n_facts >= RUN_FACTS_MAX)
        return;
    facts = reallocarray(run->facts, run->n_facts + 1, sizeof(*facts));
    if (!facts)
        return;
    run->facts = facts;
    facts[run->n_facts++] = *fact;
    note_service(run, fact);
}

/* Its log has said so already, a moment ago. */
static bool was_logged(const struct run *run, const struct balancer_fact *fact)
{
    for (size_t i = run->n_facts; i-- > 0 && run->facts[i].at_usec + LOGGED_USEC >= fact->at_usec;)
        if (!*run->facts[i].address && !strcmp(run->facts[i].server, fact->server) &&
            !strcmp(run->facts[i].state, fact->state))
            return true;
    return false;
}

bool run_take_server(struct run *run, const struct balancer_fact *fact)
{
    const struct balancer_fact *last = NULL;

    run->balancer_seen_usec = fact->at_usec;
    for (size_t i = run->n_facts; i-- > 0 && !last;)
        if (*run->facts[i].address && !strcmp(run->facts[i].server, fact->server) &&
            !strcmp(run->facts[i].backend, fact->backend) && !strcmp(run->facts[i].balancer, fact->balancer))
            last = &run->facts[i];
    if (last && !strcmp(last->state, fact->state) && !strcmp(last->address, fact->address))
        return false;
    if (last && !was_logged(run, fact))
        run_say(run, fact->at_usec, "%s has %s/%s (%s) %s", fact->balancer, fact->backend, fact->server,
                fact->address, fact->state);
    run_add_fact(run, fact);
    return true;
}
