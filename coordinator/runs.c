/* The runs of this process: what hosts and balancers say goes to the runs that it concerns, and every run is
 * looked at when something was said or a deadline may have passed. */
#include "runs.h"

#include <string.h>

struct run *runs_find(struct runs *runs, const char *id)
{
    struct run *run = runs->first;

    while (run && strcmp(run->id, id))
        run = run->next;
    return run;
}

void runs_add(struct runs *runs, struct run *run)
{
    run->next = runs->first;
    runs->first = run;
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
    for (struct run **at = &runs->first, *run; (run = *at);) {
        if (run->is_over) {
            *at = run->next;
            run_free(run);
        } else {
            at = &run->next;
        }
    }
}

void runs_wake(struct runs *runs)
{
    static const struct timeval interval = {0, RUNS_TICK_USEC};
    int64_t now_usec = time_now_usec();

    /* What can't be stored must not be decided. */
    for (struct run *run = runs->first; run && !store_failure(runs->coordinator->store); run = run->next) {
        run_look(run);
        run_advance(run, now_usec);
    }
    advance_waiting(runs, now_usec);
    drop_over(runs);
    balancers_watch(runs->coordinator->balancers, runs->first != NULL);
    if (runs->first || runs->waiting)
        event_add(runs->tick, &interval);
    else
        event_del(runs->tick);
}

static void on_tick(evutil_socket_t fd, short what, void *context)
{
    runs_wake(context);
}

static void on_fact(void *context, const struct balancer_fact *fact)
{
    struct runs *runs = context;

    for (struct run *run = runs->first; run; run = run->next)
        run_see_balancer(run, fact);
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
    r = runs->tick ? balancers_open(&coordinator->balancers, coordinator->base, &coordinator->config, on_fact,
                                    runs, error)
                   : error_oom(error);
    if (r == 0)
        r = runs_store_load(runs, error);
    if (r < 0)
        return r;
    balancers_watch(coordinator->balancers, true); /* once, for the budgets */
    for (struct run *run = runs->first; run; run = run->next)
        if (run->state == RUN_CHECKING)
            run_begin(run, time_now_usec()); /* the asks' ids were in memory: ask again */
    runs_wake(runs);
    return 0;
}

void runs_store_halts(struct coordinator *coordinator)
{
    for (struct run *run = coordinator->runs->first; run; run = run->next)
        if (run->state == RUN_HALTED)
            run_enter(run, RUN_HALTED, run->since_usec);
}

void runs_close(struct coordinator *coordinator)
{
    struct runs *runs = coordinator->runs;

    if (!runs)
        return;
    while (runs->waiting)
        waiting_free(runs->waiting); /* the server answers */
    for (struct run *run = runs->first; run; run = run->next)
        run->is_over = true;
    drop_over(runs);
    if (runs->tick)
        event_free(runs->tick);
    free(runs);
    coordinator->runs = NULL;
    coordinator->balancers = balancers_free(coordinator->balancers);
}

void runs_on_event(struct coordinator *coordinator, const struct host_event *event)
{
    for (struct run *run = coordinator->runs->first; run; run = run->next)
        if (!event->run || !strcmp(event->run, run->id))
            run_take_event(run, event);
    runs_wake(coordinator->runs);
}

void runs_on_answer(struct coordinator *coordinator, struct fleet_host *host, const struct document *payload)
{
    const json_t *answer = document_root(payload)->json;

    for (struct run *run = coordinator->runs->first; run; run = run->next)
        run_see_answer(run, host->id, answer);
    for (struct waiting *waiting = coordinator->runs->waiting; waiting; waiting = waiting->next)
        if (waiting->run)
            run_see_answer(waiting->run, host->id, answer);
    runs_wake(coordinator->runs);
}

void runs_on_head(struct coordinator *coordinator)
{
    runs_wake(coordinator->runs);
}

void runs_on_first_poll(struct coordinator *coordinator, struct fleet_host *host)
{
    for (struct run *run = coordinator->runs->first; run; run = run->next) {
        run_see_newborn(run, host->id, host->labels, host->address, host->joined_usec);
        run_order_late(run, host->id, host->labels, time_now_usec());
    }
}
