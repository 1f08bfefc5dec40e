/*
 * What a run records of itself: its states, its orders, who joined, what balancers said. Each is an event
 * that is stored first and then taken, live as after a restart, so that nothing is known that is not stored.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

#define LOGGED_USEC (3 * USEC_PER_SEC)

/* From armed hosts that were pinned: the last one's moment, and how far the first was ahead. */
static void take_t0(struct run *run)
{
    int64_t first_usec = INT64_MAX, usec;

    run->t0_usec = 0;
    for (size_t i = 0; i < run->n_faults; i++) {
        const struct run_fault *fault = &run->faults[i];

        if (!fault->step || !fault->armed_usec || !run_host(run, fault->host)->is_pinned)
            continue;
        usec = run_corrected(run, fault->host, fault->armed_usec);
        run->t0_usec = usec > run->t0_usec ? usec : run->t0_usec;
        first_usec = usec < first_usec ? usec : first_usec;
    }
    run->start_skew_usec = run->t0_usec - first_usec;
}

static void on_state(struct run *run, const struct host_event *event)
{
    int state = run_state_find(event_text(event, "state"));
    bool is_news = state != (int)run->state || !json_array_size(run->lines);

    if (state < 0)
        return;
    run->state = (enum run_state)state;
    run->since_usec = event->at_usec;
    snprintf(run->reason, sizeof(run->reason), "%s", event_text(event, "reason"));
    for (size_t i = 0; i < run->n_hosts && run->state == RUN_CHECKING; i++)
        run->hosts[i].has_answered = run->hosts[i].is_accepted = false;
    if (run->state == RUN_RUNNING)
        take_t0(run);
    if (is_news)
        run_say(run, event->at_usec, "%s%s%s%s", state == RUN_FAILED ? "the run failed" : "run is ",
                state == RUN_FAILED ? "" : run_state_name(run->state), *run->reason ? ": " : "", run->reason);
}

static void on_answered(struct run *run, const struct host_event *event)
{
    struct run_host *host = run_host(run, event_text(event, "host"));

    if (!host)
        return;
    host->has_answered = true;
    host->is_accepted = node_is(event->body, "is_accepted", true);
    host->is_victim = node_is(event->body, "is_victim", true);
    snprintf(host->reason, sizeof(host->reason), "%s", event_text(event, "reason"));
}

static void on_ordered(struct run *run, const struct host_event *event)
{
    struct run_fault *fault = array_add(&run->faults, &run->n_faults, sizeof(*fault));

    if (!fault)
        return;
    snprintf(fault->order, sizeof(fault->order), "%s", event_text(event, "order"));
    snprintf(fault->host, sizeof(fault->host), "%s", event_text(event, "host"));
    fault->step = mandate_step(run->mandate, event_text(event, "step"));
    fault->started_usec = event->at_usec;
    fault->deadline_usec = event_time(event, "deadline");
    if (fault->step && !run->started_usec)
        run->started_usec = event->at_usec;
}

static void on_joined(struct run *run, const struct host_event *event)
{
    struct run_host *host = run_add_host(run, event_text(event, "host"));

    if (!host)
        return;
    host->is_replacement = true;
    host->started_usec = event->at_usec;
    snprintf(host->group, sizeof(host->group), "%s", event_text(event, "group"));
    snprintf(host->address, sizeof(host->address), "%s", event_text(event, "address"));
    run_say(run, event->at_usec, "%s joined as a replacement in group %s", host->id, host->group);
}

/* What the balancer said last of a server, NULL = nothing yet. */
static const struct balancer_fact *last_fact(const struct run *run, const struct balancer_fact *fact)
{
    for (size_t i = run->n_facts; i-- > 0;)
        if (*run->facts[i].address && !strcmp(run->facts[i].server, fact->server) &&
            !strcmp(run->facts[i].backend, fact->backend) && !strcmp(run->facts[i].balancer, fact->balancer))
            return &run->facts[i];
    return NULL;
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

/* Of the log's lines only those that change something are for people. */
static void on_balancer(struct run *run, const struct host_event *event)
{
    struct balancer_fact fact = {.at_usec = event->at_usec}, *kept;

    snprintf(fact.balancer, sizeof(fact.balancer), "%s", event_text(event, "balancer"));
    snprintf(fact.backend, sizeof(fact.backend), "%s", event_text(event, "backend"));
    snprintf(fact.server, sizeof(fact.server), "%s", event_text(event, "server"));
    snprintf(fact.address, sizeof(fact.address), "%s", event_text(event, "address"));
    snprintf(fact.state, sizeof(fact.state), "%s", event_text(event, "state"));
    snprintf(fact.text, sizeof(fact.text), "%s", event_text(event, "text"));
    if (*fact.address && last_fact(run, &fact) && !was_logged(run, &fact))
        run_say(run, event->at_usec, "%s has %s/%s (%s) %s", fact.balancer, fact.backend, fact.server,
                fact.address, fact.state);
    else if (!*fact.address && strcmp(fact.state, "check"))
        run_say(run, event->at_usec, "%s: Server %s", fact.balancer, fact.text);
    kept = array_add(&run->facts, &run->n_facts, sizeof(*kept));
    if (kept)
        *kept = fact;
    note_service(run, &fact);
}

static void on_note(struct run *run, const struct host_event *event)
{
    run_say(run, event->at_usec, "%s", event_text(event, "text"));
}

/* Those that the run records itself. */
static const struct {
    const char *kind;
    void (*take)(struct run *run, const struct host_event *event);
} own_events[] = {
    {"run.state", on_state},   {"run.answered", on_answered}, {"run.ordered", on_ordered},
    {"run.joined", on_joined}, {"run.balancer", on_balancer}, {"run.note", on_note},
};

void run_take_own(struct run *run, const struct host_event *event)
{
    for (size_t i = 0; i < ARRAY_SIZE(own_events); i++)
        if (!strcmp(own_events[i].kind, event->kind))
            own_events[i].take(run, event);
}

void run_record(struct run *run, int64_t at_usec, const char *kind, json_t *body)
{
    _cleanup_free_ char *line = NULL;
    json_t *event = json_pack("{s:o, s:s, s:s, s:o}", "at", json_time(at_usec), "kind", kind, "run", run->id,
                              "body", body);

    line = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (!line)
        return;
    run->n_events++;
    run_store_event(run, at_usec, kind, line);
    run_take_line(run, line, NULL);
}

void run_note(struct run *run, int64_t at_usec, const char *format, ...)
{
    char text[500];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    run_record(run, at_usec, "run.note", json_pack("{s:o}", "text", json_words(text)));
}

void run_see_newborn(struct run *run, const char *id, const char *group, const char *address,
                     int64_t joined_usec)
{
    bool is_wanted = false;

    if (run_host(run, id) || !run->started_usec || joined_usec < run->started_usec || run->finishing_usec ||
        !*group)
        return;
    for (size_t i = 0; i < run->n_hosts; i++)
        is_wanted |= run->hosts[i].is_pinned && !strcmp(run->hosts[i].group, group);
    if (is_wanted)
        run_record(run, joined_usec, "run.joined",
                   json_pack("{s:s, s:s, s:s}", "host", id, "group", group, "address", address));
}

json_t *balancer_fact_json(const struct balancer_fact *fact)
{
    return json_pack("{s:o, s:s, s:s, s:s, s:s?, s:s, s:o}", "at", json_time(fact->at_usec), "balancer",
                     fact->balancer, "backend", fact->backend, "server", fact->server, "address",
                     *fact->address ? fact->address : NULL, "state", fact->state, "text",
                     json_words(fact->text));
}

void run_see_log(struct run *run, const struct balancer_fact *fact)
{
    if (run->n_facts < RUN_FACTS_MAX)
        run_record(run, fact->at_usec, "run.balancer", balancer_fact_json(fact));
}

void run_see_server(struct run *run, const struct balancer_fact *fact)
{
    const struct balancer_fact *last = last_fact(run, fact);

    run->balancer_seen_usec = fact->at_usec;
    if (!last || strcmp(last->state, fact->state) || strcmp(last->address, fact->address))
        run_see_log(run, fact);
}

void run_see_answer(struct run *run, const char *id, const struct node *root)
{
    struct run_host *host = run_host(run, id);
    const struct node *steps = node_get(root, "steps");
    const char *ask = node_string(root, "ask"), *reason = NULL;
    bool is_accepted = node_is(root, "is_accepted", true), is_victim = false;

    if (run->state != RUN_CHECKING || !host || host->has_answered || !ask || strcmp(ask, host->ask))
        return;
    for (const struct node *step = steps ? steps->first : NULL; step; step = step->next) {
        is_victim |= node_is(step, "is_victim", true);
        if (!reason && node_is(step, "is_accepted", false))
            reason = node_string(step, "reason");
    }
    host->answer = node_to_json(root);
    run_record(run, time_now_usec(), "run.answered",
               json_pack("{s:s, s:b, s:b, s:s}", "host", id, "is_accepted", is_accepted, "is_victim",
                         is_victim, "reason",
                         is_accepted ? ""
                         : reason    ? reason
                                     : "no reason given"));
}
