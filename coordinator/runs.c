/*
 * The runs of this process: what hosts and balancers say goes to the runs that it concerns, and what a run
 * decides goes into the store and to the hosts. A store that fails ends the process at the commit, so errors
 * of single writes end up in the run's own reason or nowhere.
 */
#include "runs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plan.h"

static void action_ask(struct run *run, struct run_host *host, int64_t now_usec)
{
    struct error error;

    if (runs_send_ask(run->coordinator, host->id, run->mandate->hash, "start", now_usec, host->ask, &error) ==
        0)
        return;
    host->has_answered = true;
    snprintf(host->reason, sizeof(host->reason), "%.*s", (int)sizeof(host->reason) - 1, error.text);
}

/* The row and the queued order are one commit, and the poll is answered after it. */
static int action_order(struct run *run, struct run_fault *fault, struct error *error)
{
    int r = runs_store_order(run, fault, error);

    if (r < 0)
        return r;
    return runs_send_order(run->coordinator, run, fault, error);
}

static void action_halt(struct run *run, int64_t now_usec)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    struct error error;

    if (runs_seal_halt(run->coordinator, run->id, now_usec, &envelope, &error) < 0) {
        run_say(run, now_usec, "the hosts can not be halted: %s", error.text);
        return;
    }
    for (size_t i = 0; i < run->n_hosts; i++) {
        bool is_ordered = false;

        for (size_t k = 0; k < run->n_faults; k++)
            is_ordered |= !strcmp(run->faults[k].host, run->hosts[i].id);
        if (is_ordered && delivery_send(run->coordinator, run->hosts[i].id, envelope, NULL, &error) < 0)
            run_say(run, now_usec, "%s can not be halted: %s", run->hosts[i].id, error.text);
    }
}

static void action_nudge(struct run *run, struct run_host *host)
{
    delivery_nudge(run->coordinator, host->id);
}

static void action_save(struct run *run)
{
    runs_store_save(run, NULL);
}

static void action_say(struct run *run, int64_t at_usec, const char *text)
{
    runs_store_line(run, at_usec, text, NULL);
}

static void action_finish(struct run *run, int64_t now_usec)
{
    json_t *report;
    _cleanup_free_ char *text = NULL;

    run->budgets = calloc(16, sizeof(*run->budgets));
    if (run->budgets)
        run->n_budgets = balancers_budgets(run->coordinator->balancers, run->budgets, 16);
    report = report_build(run);
    text = report ? json_dumps(report, JSON_INDENT(2)) : NULL;
    json_decref(report);
    runs_store_report(run, text ? text : "{}", NULL);
}

const struct run_actions runs_actions = {
    .ask = action_ask,
    .order = action_order,
    .halt = action_halt,
    .nudge = action_nudge,
    .save = action_save,
    .say = action_say,
    .finish = action_finish,
};

struct run *runs_find(struct runs *runs, const char *id)
{
    for (size_t i = 0; i < runs->count; i++)
        if (!strcmp(runs->items[i]->id, id))
            return runs->items[i];
    return NULL;
}

int runs_add(struct runs *runs, struct run *run, struct error *error)
{
    struct run **items = reallocarray(runs->items, runs->count + 1, sizeof(*items));

    if (!items) {
        run_free(run);
        return error_oom(error);
    }
    runs->items = items;
    items[runs->count++] = run;
    return 0;
}

void runs_fill_hosts(struct run *run)
{
    for (size_t i = 0; i < run->n_hosts; i++) {
        const struct fleet_host *host = fleet_find(run->coordinator, run->hosts[i].id);

        if (!host)
            continue;
        snprintf(run->hosts[i].group, sizeof(run->hosts[i].group), "%s", plan_label(host->labels, "group"));
        snprintf(run->hosts[i].address, sizeof(run->hosts[i].address), "%s", host->address);
    }
}

struct group_count {
    const char *group;
    size_t count;
};

static int count_group(void *context, struct fleet_host *host)
{
    struct group_count *count = context;

    count->count += fleet_is_in_contact(host) && !strcmp(plan_label(host->labels, "group"), count->group);
    return 0;
}

size_t runs_group_size(void *context, const char *group)
{
    struct group_count count = {group, 0};

    fleet_each(context, count_group, &count);
    return count.count;
}

/* A head counts when it was asked for after the end, and everything up to it is in the store. */
static void look_at_hosts(struct run *run)
{
    for (size_t i = 0; i < run->n_hosts; i++) {
        const struct fleet_host *host = fleet_find(run->coordinator, run->hosts[i].id);

        if (!host)
            continue;
        run->hosts[i].is_head_fresh = run->finishing_usec && host->head_nonce_usec >= run->finishing_usec &&
                                      host->sequence >= host->head_sequence && !host->is_suspect;
        run->hosts[i].is_suspect = host->is_suspect;
        if (host->has_clock && !run->hosts[i].has_clock) {
            run->hosts[i].has_clock = true;
            run->hosts[i].clock_offset_usec = host->clock_offset_usec;
            run->hosts[i].clock_bound_usec = host->clock_bound_usec;
        }
    }
}

static void waiting_free(struct waiting *waiting)
{
    for (struct waiting **at = &waiting->runs->waiting; *at; at = &(*at)->next)
        if (*at == waiting) {
            *at = waiting->next;
            break;
        }
    if (waiting->clear)
        waiting->clear(waiting);
    free(waiting);
}

static void on_gone(void *context)
{
    waiting_free(context);
}

void runs_wait(struct waiting *waiting)
{
    waiting->next = waiting->runs->waiting;
    waiting->runs->waiting = waiting;
    http_hold(waiting->request, on_gone, waiting);
    runs_wake(waiting->runs);
}

static void advance_waiting(struct runs *runs, int64_t now_usec)
{
    struct waiting *next;

    for (struct waiting *waiting = runs->waiting; waiting; waiting = next) {
        next = waiting->next;
        if (waiting->advance(waiting, now_usec))
            waiting_free(waiting);
    }
}

static void drop_over(struct runs *runs)
{
    size_t kept = 0;

    for (size_t i = 0; i < runs->count; i++)
        if (run_is_over(runs->items[i]))
            run_free(runs->items[i]);
        else
            runs->items[kept++] = runs->items[i];
    runs->count = kept;
}

void runs_wake(struct runs *runs)
{
    static const struct timeval interval = {0, RUNS_TICK_USEC};
    int64_t now_usec = time_now_usec();

    /* What can't be stored must not be decided. */
    for (size_t i = 0; i < runs->count && !store_failure(runs->coordinator->store); i++) {
        look_at_hosts(runs->items[i]);
        run_advance(runs->items[i], now_usec);
    }
    advance_waiting(runs, now_usec);
    drop_over(runs);
    balancers_watch(runs->coordinator->balancers, runs->count > 0);
    if (runs->count || runs->waiting)
        event_add(runs->tick, &interval);
    else
        event_del(runs->tick);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    runs_wake(context);
}

static void on_server(void *context, const struct balancer_fact *fact)
{
    struct runs *runs = context;

    for (size_t i = 0; i < runs->count; i++)
        if (run_take_server(runs->items[i], fact))
            runs_store_fact(runs->items[i], fact, NULL);
}

static void on_line(void *context, const struct balancer_fact *fact)
{
    struct runs *runs = context;

    for (size_t i = 0; i < runs->count; i++) {
        run_add_fact(runs->items[i], fact);
        runs_store_fact(runs->items[i], fact, NULL);
        if (strcmp(fact->state, "check"))
            run_say(runs->items[i], fact->at_usec, "%s: Server %s", fact->balancer, fact->text);
    }
}

int runs_open(struct coordinator *coordinator, struct error *error)
{
    struct runs *runs = calloc(1, sizeof(*runs));
    int r;

    if (!runs)
        return error_oom(error);
    runs->coordinator = coordinator;
    coordinator->runs = runs;
    runs->tick = event_new(coordinator->base, -1, 0, on_tick, runs);
    r = runs->tick ? runs_store_open(coordinator, error) : error_oom(error);
    if (r == 0)
        r = balancers_open(&coordinator->balancers, coordinator->base, &coordinator->config, on_server,
                           on_line, runs, error);
    if (r == 0)
        r = runs_store_load(runs, error);
    if (r < 0)
        return r;
    balancers_watch(coordinator->balancers, true); /* once, for the budgets */
    for (size_t i = 0; i < runs->count; i++)
        if (runs->items[i]->state == RUN_CHECKING)
            run_begin(runs->items[i], time_now_usec()); /* the asks' ids were in memory: ask again */
    runs_wake(runs);
    return 0;
}

void runs_store_halts(struct coordinator *coordinator)
{
    for (size_t i = 0; i < coordinator->runs->count; i++)
        if (coordinator->runs->items[i]->state == RUN_HALTED)
            runs_store_save(coordinator->runs->items[i], NULL);
}

void runs_close(struct coordinator *coordinator)
{
    struct runs *runs = coordinator->runs;

    if (!runs)
        return;
    while (runs->waiting)
        waiting_free(runs->waiting); /* the server answers */
    for (size_t i = 0; i < runs->count; i++)
        run_free(runs->items[i]);
    if (runs->tick)
        event_free(runs->tick);
    free(runs->items);
    free(runs);
    coordinator->runs = NULL;
    coordinator->balancers = balancers_free(coordinator->balancers);
}

void runs_on_event(struct coordinator *coordinator, struct fleet_host *host, const struct host_event *event)
{
    for (size_t i = 0; i < coordinator->runs->count; i++)
        run_take_event(coordinator->runs->items[i], event);
    runs_wake(coordinator->runs);
}

static const char *refusal(const struct node *steps)
{
    for (const struct node *step = steps ? steps->first : NULL; step; step = step->next) {
        const struct node *is = node_get(step, "is_accepted");

        if (is && is->type == DOCUMENT_BOOLEAN && !is->boolean && node_string(step, "reason"))
            return node_string(step, "reason");
    }
    return "no reason given";
}

static void take_answer(struct run *run, struct run_host *host, const struct node *root)
{
    const struct node *is = node_get(root, "is_accepted"), *steps = node_get(root, "steps"), *victim;
    struct error error = {};

    host->has_answered = true;
    host->is_accepted = is && is->type == DOCUMENT_BOOLEAN && is->boolean;
    for (const struct node *step = steps ? steps->first : NULL; step; step = step->next) {
        victim = node_get(step, "is_victim");
        host->is_victim |= victim && victim->type == DOCUMENT_BOOLEAN && victim->boolean;
    }
    if (host->is_accepted && run_check_share(run, runs_group_size, run->coordinator, &error) < 0)
        host->is_accepted = false;
    if (!host->is_accepted)
        snprintf(host->reason, sizeof(host->reason), "%.*s", (int)sizeof(host->reason) - 1,
                 error.code ? error.text : refusal(steps));
}

void runs_on_answer(struct coordinator *coordinator, struct fleet_host *host, const struct document *payload)
{
    const struct node *root = document_root(payload);
    const char *ask = node_string(root, "ask");

    for (size_t i = 0; ask && i < coordinator->runs->count; i++) {
        struct run *run = coordinator->runs->items[i];
        struct run_host *asked = run_host(run, host->id);

        if (run->state == RUN_CHECKING && asked && !asked->has_answered && !strcmp(asked->ask, ask))
            take_answer(run, asked, root);
    }
    planner_on_answer(coordinator->runs, host->id, payload);
    runs_wake(coordinator->runs);
}

void runs_on_head(struct coordinator *coordinator, struct fleet_host *host)
{
    runs_wake(coordinator->runs);
}

void runs_on_first_poll(struct coordinator *coordinator, struct fleet_host *host)
{
    int64_t now_usec = time_now_usec();

    for (size_t i = 0; i < coordinator->runs->count; i++) {
        struct run *run = coordinator->runs->items[i];
        struct run_host *newborn;

        run_note_newborn(run, host->id, plan_label(host->labels, "group"), host->address, host->joined_usec);
        newborn = run_host(run, host->id);
        if (newborn && newborn->is_replacement)
            run_order_late(run, host->id, host->labels, now_usec);
    }
}
