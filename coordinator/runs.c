/* The runs of this process: what hosts and balancers say goes to the runs that it concerns, and every run is
 * looked at when something was said or a deadline may have passed. */
#include "runs.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct run *runs_find(struct runs *runs, const char *id)
{
    for (size_t i = 0; i < runs->count; i++)
        if (!strcmp(runs->items[i]->id, id))
            return runs->items[i];
    return NULL;
}

int runs_add(struct runs *runs, struct run *run, struct error *error)
{
    struct run **item = array_add(&runs->items, &runs->count, sizeof(*item));

    if (!item) {
        run_free(run);
        return error_oom(error);
    }
    *item = run;
    return 0;
}

void runs_fill_hosts(struct run *run)
{
    for (size_t i = 0; i < run->n_hosts; i++) {
        const struct fleet_host *host = fleet_find(run->coordinator, run->hosts[i].id);

        if (!host)
            continue;
        snprintf(run->hosts[i].group, sizeof(run->hosts[i].group), "%s", json_text(host->labels, "group"));
        snprintf(run->hosts[i].address, sizeof(run->hosts[i].address), "%s", host->address);
    }
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
        if (runs->items[i]->is_over)
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
        run_see_server(runs->items[i], fact);
}

static void on_line(void *context, const struct balancer_fact *fact)
{
    struct runs *runs = context;

    for (size_t i = 0; i < runs->count; i++)
        run_see_log(runs->items[i], fact);
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
    r = runs->tick ? balancers_open(&coordinator->balancers, coordinator->base, &coordinator->config,
                                    on_server, on_line, runs, error)
                   : error_oom(error);
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
            run_enter(coordinator->runs->items[i], RUN_HALTED, coordinator->runs->items[i]->since_usec);
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
    const struct node *clock = node_get(event->root, "clock");
    struct run_event said = {event->host,    event->kind,       event->order,
                             event->at_usec, event->body->json, clock ? clock->json : NULL};

    for (size_t i = 0; i < coordinator->runs->count; i++)
        if (!event->run || !strcmp(event->run, coordinator->runs->items[i]->id))
            run_take_event(coordinator->runs->items[i], &said);
    runs_wake(coordinator->runs);
}

void runs_on_answer(struct coordinator *coordinator, struct fleet_host *host, const struct document *payload)
{
    const json_t *answer = document_root(payload)->json;

    for (size_t i = 0; i < coordinator->runs->count; i++)
        run_see_answer(coordinator->runs->items[i], host->id, answer);
    for (struct waiting *waiting = coordinator->runs->waiting; waiting; waiting = waiting->next)
        if (waiting->run)
            run_see_answer(waiting->run, host->id, answer);
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

        run_see_newborn(run, host->id, json_text(host->labels, "group"), host->address, host->joined_usec);
        newborn = run_host(run, host->id);
        if (newborn && newborn->is_replacement)
            run_order_late(run, host->id, host->labels, now_usec);
    }
}
