/*
 * What a run records of itself: its states, its orders, who answered and who joined, what balancers said.
 * Each is an event that is stored first and then taken, live as after a restart, so that nothing is known
 * that is not stored.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

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

/* Which steps, where not all of them start together. */
static const char *starting_steps(const struct run *run, char text[200])
{
    const struct mandate *mandate = run->mandate;
    bool is_sequence = false;
    size_t length = 0;

    *text = '\0';
    for (size_t i = 0; i < mandate->n_steps; i++)
        is_sequence |= mandate->steps[i].after != NULL;
    for (size_t i = 0; is_sequence && i < mandate->n_steps && length < 130; i++)
        if (run_step_is_last(run, &mandate->steps[i]))
            length += (size_t)snprintf(text + length, 200 - length, "%s%s", length ? ", " : " ",
                                       mandate->steps[i].name);
    return text;
}

static void on_state(struct run *run, int64_t at_usec, json_t *body)
{
    int state = run_state_find(json_text(body, "state"));
    char steps[200] = "";
    bool is_news = state != (int)run->state || !json_array_size(run->lines);

    if (state < 0)
        return;
    run->state = (enum run_state)state;
    run->since_usec = at_usec;
    snprintf(run->reason, sizeof(run->reason), "%s", json_text(body, "reason"));
    if (run->state == RUN_RUNNING && !run->started_usec)
        run->started_usec = at_usec;
    if (run->state == RUN_RUNNING || !run->mandate->n_steps)
        run_take_t0(run);
    if (run->state == RUN_STARTING)
        starting_steps(run, steps);
    if (is_news)
        run_say(run, at_usec, "%s%s%s%s%s", state == RUN_FAILED ? "the run failed" : "run is ",
                state == RUN_FAILED ? "" : run_state_names[run->state], steps, *run->reason ? ": " : "",
                run->reason);
    if (is_news && run->state == RUN_RUNNING && !run->mandate->n_steps)
        run_say(run, at_usec,
                "act now: no fault is ordered, the next %g s are watched; t0 is the first failure",
                (double)run->mandate->duration_msec / 1000);
}

/* Perhaps once more. */
static void on_asked(struct run *run, int64_t at_usec, json_t *body)
{
    struct run_host *host = run_host(run, json_text(body, "host"));

    if (!host)
        return;
    host->is_asked = true;
    host->has_answered = host->is_accepted = false;
}

static void on_answered(struct run *run, int64_t at_usec, json_t *body)
{
    struct run_host *host = run_host(run, json_text(body, "host"));

    if (!host)
        return;
    host->has_answered = true;
    host->is_accepted = json_is_true(json_object_get(body, "is_accepted"));
    host->is_victim = json_is_true(json_object_get(body, "is_victim"));
    snprintf(host->reason, sizeof(host->reason), "%s", json_text(body, "reason"));
    if (!host->is_accepted)
        run_say(run, at_usec, "%s would refuse: %s", host->id, host->reason);
}

static void on_ordered(struct run *run, int64_t at_usec, json_t *body)
{
    struct run_fault *fault = array_add(&run->faults, &run->n_faults, sizeof(*fault));

    if (!fault)
        return;
    snprintf(fault->order, sizeof(fault->order), "%s", json_text(body, "order"));
    snprintf(fault->host, sizeof(fault->host), "%s", json_text(body, "host"));
    fault->step = mandate_step(run->mandate, json_text(body, "step"));
    fault->started_usec = at_usec;
    fault->deadline_usec = json_integer_value(json_object_get(body, "deadline_usec"));
    if (fault->step && !run->started_usec)
        run->started_usec = at_usec;
    if (fault->step && !run_step(run, fault->step)->started_usec)
        run_step(run, fault->step)->started_usec = at_usec;
}

static void on_joined(struct run *run, int64_t at_usec, json_t *body)
{
    struct run_host *host = run_add_host(run, json_text(body, "host"));

    if (!host)
        return;
    host->is_replacement = true;
    host->started_usec = at_usec;
    snprintf(host->group, sizeof(host->group), "%s", json_text(body, "group"));
    snprintf(host->address, sizeof(host->address), "%s", json_text(body, "address"));
    run_say(run, at_usec, "%s joined as a replacement in group %s", host->id, host->group);
}

/* A slot serves a host when it has the host's address and is UP. */
static void note_service(struct run *run, int64_t at_usec, const char *address, const char *state)
{
    EACH_HOST (run, host) {
        if (!*address || strcmp(host->address, address))
            continue;
        if (strncmp(state, "UP", 2)) {
            host->in_service_usec = 0;
        } else if (!host->in_service_usec) {
            host->in_service_usec = at_usec;
            if (host->is_replacement)
                run_say(run, at_usec, "%s came into service", host->id);
        }
    }
}

static bool is_same(const json_t *a, const json_t *b, const char *key)
{
    return json_equal(json_object_get(a, key), json_object_get(b, key));
}

/* What the statistics said last of the server of @fact, NULL = nothing yet. */
static const json_t *last_fact(const struct run *run, const json_t *fact)
{
    const json_t *last;

    for (size_t i = json_array_size(run->facts); i-- > 0;) {
        last = json_array_get(run->facts, i);
        if (*json_text(last, "address") && is_same(last, fact, "server") && is_same(last, fact, "backend") &&
            is_same(last, fact, "balancer"))
            return last;
    }
    return NULL;
}

/* Lines of the log have no address: they say what the statistics say too, and are for the report. */
static void on_balancer(struct run *run, int64_t at_usec, json_t *body)
{
    const char *address = json_text(body, "address"), *state = json_text(body, "state");

    if (*address && last_fact(run, body))
        run_say(run, at_usec, "%s has %s/%s (%s) %s", json_text(body, "balancer"), json_text(body, "backend"),
                json_text(body, "server"), address, state);
    json_array_append(run->facts, body);
    note_service(run, at_usec, address, state);
}

static void on_note(struct run *run, int64_t at_usec, json_t *body)
{
    run_say(run, at_usec, "%s", json_text(body, "text"));
}

static const struct {
    const char *kind;
    void (*take)(struct run *run, int64_t at_usec, json_t *body);
} kinds[] = {
    {"run.state", on_state},     {"run.asked", on_asked},   {"run.answered", on_answered},
    {"run.ordered", on_ordered}, {"run.joined", on_joined}, {"run.balancer", on_balancer},
    {"run.note", on_note},
};

void run_take_record(struct run *run, int64_t at_usec, const char *kind, json_t *body)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i].kind, kind))
            kinds[i].take(run, at_usec, body);
}

void run_record(struct run *run, int64_t at_usec, const char *kind, json_t *body)
{
    _cleanup_free_ char *line = json_dumps(body, JSON_COMPACT);
    json_auto_t *owned = body;

    if (!line)
        return;
    run->n_records++;
    run_store_record(run, at_usec, kind, line);
    run_take_record(run, at_usec, kind, owned);
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

void run_see_newborn(struct run *run, const char *id, const json_t *labels, const char *address,
                     int64_t joined_usec)
{
    const char *group = json_text(labels, "group");
    bool is_wanted = false;

    if (!run->started_usec || joined_usec < run->started_usec || run->finishing_usec)
        return;
    EACH_HOST (run, host)
        is_wanted |= host->is_pinned && !strcmp(host->group, group);
    if (*group && is_wanted && !run_host(run, id))
        run_record(run, joined_usec, "run.joined",
                   json_pack("{s:s, s:s, s:s}", "host", id, "group", group, "address", address));
}

void run_see_balancer(struct run *run, const struct balancer_fact *fact)
{
    json_t *body = json_pack("{s:o, s:s, s:s, s:s, s:s?, s:s, s:o}", "at", json_time(fact->at_usec),
                             "balancer", fact->balancer, "backend", fact->backend, "server", fact->server,
                             "address", *fact->address ? fact->address : NULL, "state", fact->state, "text",
                             json_words(fact->text));
    const json_t *last = *fact->address ? last_fact(run, body) : NULL;

    if (*fact->address)
        run->balancer_seen_usec = fact->at_usec;
    if ((last && is_same(last, body, "state") && is_same(last, body, "address")) ||
        json_array_size(run->facts) >= RUN_FACTS_MAX)
        json_decref(body);
    else
        run_record(run, fact->at_usec, "run.balancer", body);
}

void run_see_answer(struct run *run, const char *id, const json_t *answer)
{
    struct run_host *host = run_host(run, id);
    const char *reason = "";
    bool is_accepted = json_is_true(json_object_get(answer, "is_accepted")), is_victim = false;
    json_t *step;
    size_t i;

    if (run->state != RUN_CHECKING || !host || host->has_answered ||
        strcmp(json_text(answer, "ask"), host->ask))
        return;
    json_array_foreach(json_object_get(answer, "steps"), i, step)
    {
        is_victim |= json_is_true(json_object_get(step, "is_victim"));
        if (!*reason && json_is_false(json_object_get(step, "is_accepted")))
            reason = json_text(step, "reason");
    }
    json_decref(host->answer);
    host->answer = json_deep_copy(answer);
    run_record(run, time_now_usec(), "run.answered",
               json_pack("{s:s, s:b, s:b, s:s}", "host", id, "is_accepted", is_accepted, "is_victim",
                         is_victim, "reason",
                         is_accepted ? ""
                         : *reason   ? reason
                                     : "no reason given"));
}
