/* The runs of this process and what connects them with store, hosts and operators. Private to the
 * coordinator's side of people. */
#pragma once

#include "balancer.h"
#include "run-state.h"

/**
 * struct waiting - a request of an operator that is answered later; the first member of each kind
 * @run: asks hosts and is none of the runs, NULL = none
 * @advance: looked at by runs_wake(). Return: true when it has replied
 * @clear: frees what the kind holds, but not itself; may be NULL
 */
struct waiting {
    struct waiting *next;
    struct runs *runs;
    struct http_request *request;
    struct run *run;
    bool (*advance)(struct waiting *waiting, int64_t now_usec);
    void (*clear)(struct waiting *waiting);
};

/** struct runs - every run that is not over, and the requests that wait for something */
struct runs {
    struct coordinator *coordinator;
    struct run *first;
    struct event *tick;
    struct waiting *waiting;
};

#define RUNS_TICK_USEC (100 * USEC_PER_MSEC) /* only while something is under way: for deadlines */

struct run *runs_find(struct runs *runs, const char *id);
/** runs_add() - takes over @run */
void runs_add(struct runs *runs, struct run *run);
/** runs_wake() - look at everything now, and keep looking while something is under way */
void runs_wake(struct runs *runs);
/** runs_wait() - takes over @waiting, whose members but @next are set; it ends with its reply or its client
 */
void runs_wait(struct waiting *waiting);
/* run-store.c */
int runs_store_mandate(struct coordinator *coordinator, struct envelope *envelope, struct error *error);
int runs_store_insert(const struct run *run, struct error *error);
/** runs_store_load() - every run that is not over, with all that was said of it */
int runs_store_load(struct runs *runs, struct error *error);
