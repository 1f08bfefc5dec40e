/*
 * What the parts of the courier share. Each carries one thing, as a task that asks a coordinator until it has
 * an answer; courier.c owns them all and hears the executor.
 *
 * Nothing here has to survive: orders come again until they are reported as received, events are the
 * journal's, and answers to asks are good for ten minutes.
 */
#pragma once

#include <jansson.h>
#include <sys/queue.h>

#include "carrier.h"
#include "common/document.h"
#include "common/envelope.h"

#define COURIER_FOLDER           "/var/lib/grivet-courier"
#define COURIER_COORDINATORS_MAX 16
#define COURIER_TIMEOUT_MSEC     10000

struct courier;

/**
 * struct task - something that is asked of a coordinator, one request at a time
 * @begin: the first step; also taken again after a failure, each time later and jittered
 * @step: what the timer waits for
 * @failures: in a row; whoever owns the task says when it went well
 */
struct task {
    struct courier *courier;
    int (*begin)(struct task *task, struct error *error);
    int (*step)(struct task *task, struct error *error);
    struct event *timer;
    struct web_request *request;
    int (*take)(struct task *task, const struct web_call *call, json_t *answer, struct error *error);
    unsigned int failures;
};

/**
 * struct poll - the long poll
 * @is_first: of this executor, whose readiness waits for the answer
 * @contact: the coordinator that answered, for the executor
 */
struct poll {
    struct task task;
    bool is_first;
    int64_t begun_usec;
    char nonce[128], contact[128];
    json_t *head;
};

/**
 * struct items - what a poll brought, on its way to the executor
 * @states: how far each item came, by its id
 * @is_complete: of the last answer, nothing was left behind
 * @said: the last trouble; said once, not with every poll
 */
struct items {
    json_t *states;
    LIST_HEAD(, fetch) fetches;
    size_t n_fetches;
    bool is_complete;
    char said[ERROR_TEXT_MAX];
};

/** struct events - @cursor: acknowledged by the coordinator, or what it wants to go on after */
struct events {
    struct task task;
    bool is_fetching, has_news;
    int64_t cursor;
};

/** struct answers - the oldest first */
struct answers {
    TAILQ_HEAD(, answer) list;
    size_t count;
};

/**
 * struct courier - owned by main()
 * @urls: the coordinators, borrowed from @config; @current: the one in use, moved on by courier_blame()
 * @host: this host's id
 */
struct courier {
    struct carrier carrier;
    struct document *config;
    const char *host;
    size_t n_urls, current;
    const char *urls[COURIER_COORDINATORS_MAX];
    struct poll poll;
    struct items items;
    struct events events;
    struct answers answers;
    struct task renewal;
};

/** courier_say() - one line for the log, from a part that must not log itself */
void courier_say(const struct error *error);

/* courier-task.c: towards the coordinators */

/** courier_request() - GET @path from the coordinator in use, or POST @body, over TLS 1.3 with the host's
 * certificate */
int courier_request(struct courier *courier, struct web_request **ret, const char *path, const char *body,
                    size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error);
/** courier_blame() - the coordinator of @call did not answer well: use the next one, unless somebody has
 * moved on already */
void courier_blame(struct courier *courier, const struct web_call *call);

int task_init(struct task *task, struct courier *courier,
              int (*begin)(struct task *task, struct error *error), struct error *error);
/** task_go() - take @step now */
void task_go(struct task *task, int (*step)(struct task *task, struct error *error));
/** task_fail() - say @error, and begin again later */
void task_fail(struct task *task, const struct error *error);
/** task_wait() - take @step later */
void task_wait(struct task *task, int64_t usec, int (*step)(struct task *task, struct error *error));
/**
 * task_ask() - as courier_request()
 * @take: called with the JSON of a 200, or with NULL and @error filled when the coordinator refuses (4xx);
 * what it returns < 0 begins the task again. No answer and 5xx never get there.
 */
int task_ask(struct task *task, const char *path, const char *body, long timeout_msec,
             int (*take)(struct task *task, const struct web_call *call, json_t *answer, struct error *error),
             struct error *error);
bool task_is_idle(const struct task *task);
/** task_hurry() - what waits after a failure is tried now */
void task_hurry(struct task *task);
/** task_stop() - forget the request and the timer */
void task_stop(struct task *task);
void task_clear(struct task *task);

/* courier-poll.c */
int poll_begin(struct task *task, struct error *error);
/** poll_on_head() - the executor signed the nonce; so it has also seen everything that was sent before it */
void poll_on_head(struct poll *poll, const char *head);
/** poll_on_items() - the last mandate that was waited for has come, or never will */
void poll_on_items(struct poll *poll);
void poll_on_down(struct poll *poll);

/* courier-items.c */

/** enum item_state - ITEM_MARKED: handed over before the nonce that is out; ITEM_RECEIVED: and that was
 * signed */
enum item_state { ITEM_GONE, ITEM_FETCHING, ITEM_HANDED, ITEM_MARKED, ITEM_RECEIVED };

/** items_take() - hand over @list (of one answer), halts at once, the others when their mandate is there */
void items_take(struct courier *courier, json_t *list);
/** items_move() - all items that are @from are @to now */
void items_move(struct items *items, enum item_state from, enum item_state to);
/** items_list() - the ids of all that are @state, a new list; NULL without memory */
json_t *items_list(const struct items *items, enum item_state state);
void items_on_down(struct items *items);

/* courier-events.c: the journal's events, in order, until they are acknowledged */
int events_begin(struct task *task, struct error *error);
void events_on_change(struct events *events, bool is_up);
void events_on_news(struct events *events);
void events_on_lines(struct events *events, char *lines, size_t length);

/* courier-answers.c: the executor's answers to asks */

/** answers_add() - takes over @envelope */
void answers_add(struct courier *courier, char *envelope);
void answers_clear(struct answers *answers);

/* courier-renew.c: a new certificate before the old one ends */
int renewal_begin(struct task *task, struct error *error);
