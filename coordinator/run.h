/* Runs: from a signed mandate to a report. The agent side of the coordinator calls these when a host has said
 * something. */
#pragma once

#include "fleet.h"

/** struct host_event - one verified line of a host's chain, borrowed. @run, @order: NULL = of none; @clock:
 * JSON null = not known */
struct host_event {
    const char *host, *kind, *run, *order;
    int64_t at_usec;
    const json_t *body, *clock;
};

/** runs_open() - load from the store what is not over and go on; runs_close() frees */
int runs_open(struct coordinator *coordinator, struct error *error);
void runs_close(struct coordinator *coordinator);
/** runs_store_halts() - runs that were halted while nothing could be stored */
void runs_store_halts(struct coordinator *coordinator);

/** runs_on_event() - @event is in the store (not yet committed) and fits the chain; called exactly once for
 * each */
void runs_on_event(struct coordinator *coordinator, const struct host_event *event);
/** runs_on_answer() - @payload was signed by @host's key */
void runs_on_answer(struct coordinator *coordinator, struct fleet_host *host, const struct document *payload);
/** runs_on_head() - a fresh head of a host arrived and is known to the fleet */
void runs_on_head(struct coordinator *coordinator);
/** runs_on_first_poll() - before the first poll is answered: orders for a late joiner go out with that answer
 */
void runs_on_first_poll(struct coordinator *coordinator, struct fleet_host *host);

/* Handlers of the operator's requests, rows of the table in serve.c */
int runs_handle_plan(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_start(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_list(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_status(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_progress(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_report(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_halt(struct coordinator *coordinator, struct http_request *request, struct error *error);
int runs_handle_mandate(struct coordinator *coordinator, struct http_request *request, struct error *error);
