/* What the parts of the courier share. Each carries one thing; courier.c owns them all and hears the
 * executor. */
#pragma once

#include <jansson.h>

#include "backoff.h"
#include "common/document.h"
#include "common/envelope.h"
#include "link.h"
#include "web.h"

#define COURIER_CONFIG           "/etc/grivet/agent.yaml"
#define COURIER_FOLDER           "/var/lib/grivet-courier"
#define COURIER_COORDINATORS_MAX 16
#define COURIER_ANSWER_MAX       (2 * 1024 * 1024)  /* of what a coordinator says */
#define COURIER_MANDATE_MAX      (12 * 1024 * 1024) /* 8 MiB of payload in base64, and signatures */
#define COURIER_TIMEOUT_MSEC     10000

struct poll;
struct items;
struct events;
struct answers;
struct renewal;

/**
 * struct courier - owned by main()
 * @urls: the coordinators, borrowed from @config; @current: the one in use, moved on by courier_blame()
 * @host: this host's id
 */
struct courier {
    struct event_base *base;
    struct web *web;
    struct link *link;
    struct document *config;
    const char *host, *folder;
    size_t n_urls, current;
    const char *urls[COURIER_COORDINATORS_MAX];
    struct poll *poll;
    struct events *events;
    struct answers *answers;
    struct renewal *renewal;
};

/** courier_say() - one line for the log, from a part that must not log itself */
void courier_say(struct courier *courier, const struct error *error);

/* courier-http.c */

/** courier_load_config() - host and coordinators from agent.yaml */
int courier_load_config(struct courier *courier, const char *path, struct error *error);

/**
 * courier_request() - start a request to the coordinator in use, over TLS 1.3 with the host's certificate
 * @path: "/v1/agent/poll"; @body: JSON or lines to POST (copied), NULL = GET
 */
int courier_request(struct courier *courier, struct web_request **ret, const char *path, const char *body,
                    size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error);

/** courier_blame() - the coordinator of @request did not answer: use the next one, unless somebody has moved
 * on already */
void courier_blame(struct courier *courier, const struct web_request *request);

/** courier_answer() - the JSON of a 200; else words, and blame where the coordinator is at fault. Return: 0
 * or -errno */
int courier_answer(struct courier *courier, const struct web_request *request, CURLcode code, json_t **ret,
                   struct error *error);

/* courier-items.c: orders, asks and halts that a poll brought, on their way to the executor */

/** items_new() - @done: everything was tried, or a mandate takes long and is waited for side by side with the
 * next polls; @is_complete: and the executor has it all */
int items_new(struct items **ret, struct courier *courier, void (*done)(void *context, bool is_complete),
              void *context, struct error *error);
struct items *items_free(struct items *items);
/** items_start() - hand over @list (of one answer), halts first; @done may be called at once */
void items_start(struct items *items, json_t *list);
/** items_mark() - the executor is asked now whether it has taken all that was handed over so far */
void items_mark(struct items *items);
/** items_confirm() - it has. Return: the ids of what was handed over before the mark, a new list, NULL
 * without memory */
json_t *items_confirm(struct items *items);
/** items_on_down() - what was handed over and not confirmed may be lost: hand it over again when it comes
 * again */
void items_on_down(struct items *items);

/* courier-poll.c: the long poll */
int poll_new(struct poll **ret, struct courier *courier, struct error *error);
struct poll *poll_free(struct poll *poll);
void poll_on_up(struct poll *poll);
void poll_on_down(struct poll *poll);
/** poll_on_head() - the executor signed the nonce; so it has also seen everything that was sent before the
 * nonce */
void poll_on_head(struct poll *poll, const char *head);

/* courier-events.c: the journal's events, in order, until they are acknowledged */
int events_new(struct events **ret, struct courier *courier, struct error *error);
struct events *events_free(struct events *events);
void events_on_up(struct events *events);
void events_on_down(struct events *events);
void events_on_news(struct events *events);
/** events_on_lines() - takes over @lines */
void events_on_lines(struct events *events, char *lines, size_t length);

/* courier-answers.c: the executor's answers to asks */
int answers_new(struct answers **ret, struct courier *courier, struct error *error);
struct answers *answers_free(struct answers *answers);
/** answers_add() - takes over @envelope */
void answers_add(struct answers *answers, char *envelope);

/* courier-renew.c: a new certificate before the old one ends */
int renewal_new(struct renewal **ret, struct courier *courier, struct error *error);
struct renewal *renewal_free(struct renewal *renewal);
