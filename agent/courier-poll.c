/*
 * The long poll: measure the clock, ask, hand over what came, have the nonce signed, ask again.
 *
 * The executor handles its messages in order. So the head that answers the nonce also proves that it has
 * taken the items sent before it; only then are they reported as received.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/times.h"
#include "courier.h"

#define POLL_TIMEOUT_MSEC 40000 /* a poll is held for 25 s */
#define HEAD_TIMEOUT_S    5
#define AGAIN_USEC        400000 /* while something is still to be handed over: a halt may come meanwhile */

enum poll_state { POLL_IDLE, POLL_TIME, POLL_ASKING, POLL_ITEMS, POLL_HEAD, POLL_WAITING };

struct poll {
    struct courier *courier;
    struct items *items;
    enum poll_state state;
    struct web_request *request;
    struct event *timer; /* of POLL_HEAD and POLL_WAITING */
    struct backoff backoff;
    bool is_first, is_complete, has_clock;
    int64_t offset_usec, bound_usec, sent_usec;
    char nonce[128];
    json_t *head, *received;
};

static void poll_begin(struct poll *poll);

static void poll_try_later(struct poll *poll)
{
    struct timeval wait = backoff_next(&poll->backoff);

    poll->state = POLL_WAITING;
    event_add(poll->timer, &wait);
}

static void poll_fail(struct poll *poll, const struct error *error)
{
    /* Once for each coordinator and outage. */
    if (poll->backoff.failures < poll->courier->n_urls)
        courier_say(poll->courier, error);
    poll_try_later(poll);
}

static void poll_send_contact(struct poll *poll, const struct web_request *request)
{
    const char *address = "";
    char body[128];
    long port = 0;

    curl_easy_getinfo(request->easy, CURLINFO_PRIMARY_IP, &address);
    curl_easy_getinfo(request->easy, CURLINFO_PRIMARY_PORT, &port);
    snprintf(body, sizeof(body),
             strchr(address, ':') ? "{\"coordinator\":\"[%s]:%ld\"}" : "{\"coordinator\":\"%s:%ld\"}",
             address, port);
    link_send(poll->courier->link, CHANNEL_CONTACT, body, -1);
}

static int poll_send_nonce(struct poll *poll, struct error *error)
{
    json_t *json = json_pack("{s:s}", "nonce", poll->nonce);
    _cleanup_free_ char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    int r;

    json_decref(json);
    if (!body)
        return error_oom(error);
    r = link_send(poll->courier->link, CHANNEL_NONCE, body, -1);
    items_mark(poll->items);
    return r < 0 ? error_errno(error, -r, "can't reach the executor") : 0;
}

static void poll_on_items(void *context, bool is_complete)
{
    struct timeval patience = {.tv_sec = HEAD_TIMEOUT_S};
    struct poll *poll = context;
    struct error error = {0};

    poll->is_complete = is_complete;
    if (is_complete)
        poll_send_contact(poll, poll->request);
    poll->request = web_request_free(poll->request);
    if (poll_send_nonce(poll, &error) < 0) {
        poll_fail(poll, &error);
        return;
    }
    poll->state = POLL_HEAD;
    event_add(poll->timer, &patience);
}

static int poll_take_answer(struct poll *poll, json_t *answer, json_t **ret_items, struct error *error)
{
    const char *now, *nonce;
    json_error_t why;

    if (json_unpack_ex(answer, &why, 0, "{s:s, s:s, s:o !}", "now", &now, "nonce", &nonce, "items",
                       ret_items) < 0)
        return error_set(error, EPROTO, "the answer to a poll: %s", why.text);
    if (!json_is_array(*ret_items) || strlen(nonce) >= sizeof(poll->nonce))
        return error_set(error, EPROTO, "the answer to a poll: expected a list of items and a nonce");
    strcpy(poll->nonce, nonce);
    return 0;
}

static void poll_on_answer(struct web_request *request, CURLcode code, void *context)
{
    struct poll *poll = context;
    json_t *answer = NULL, *items;
    struct error error = {0};

    if (courier_answer(poll->courier, request, code, &answer, &error) < 0 ||
        poll_take_answer(poll, answer, &items, &error) < 0) {
        poll->request = web_request_free(request);
        /* It may be the head that is not wanted; the next nonce brings a new one. */
        json_decref(TAKE_PTR(poll->head));
        poll_fail(poll, &error);
    } else {
        poll->is_first = false;
        json_array_clear(poll->received);
        json_decref(TAKE_PTR(poll->head));
        poll->state = POLL_ITEMS;
        items_start(poll->items, items);
    }
    json_decref(answer);
}

static char *poll_format(const struct poll *poll)
{
    char boot[BOOT_ID_MAX], *text;
    json_t *clock = poll->has_clock ? json_pack("{s:I, s:I}", "offset_usec", (json_int_t)poll->offset_usec,
                                                "bound_usec", (json_int_t)poll->bound_usec)
                                    : json_null();
    json_t *body =
        json_pack("{s:b, s:s, s:O, s:O?, s:o}", "is_first", poll->is_first, "boot", time_boot_id(boot),
                  "received", poll->received, "head", poll->head, "clock", clock);

    if (body && !poll->head)
        json_object_set_new(body, "head", json_null());
    text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return text;
}

static int poll_ask(struct poll *poll, struct error *error)
{
    _cleanup_free_ char *body = poll_format(poll);

    if (!body)
        return error_oom(error);
    poll->state = POLL_ASKING;
    return courier_request(poll->courier, &poll->request, "/v1/agent/poll", body, COURIER_ANSWER_MAX,
                           POLL_TIMEOUT_MSEC, poll_on_answer, poll, error);
}

/* The coordinator read its clock somewhere between our sending and receiving: the middle, give or take half
 * of it. */
static int poll_take_time(struct poll *poll, const struct web_request *request, json_t *answer,
                          struct error *error)
{
    int64_t now_usec, received_usec = time_now_usec(), sent_usec = poll->sent_usec;
    curl_off_t before_usec = 0;
    json_error_t why;
    const char *now;
    char body[96];

    if (json_unpack_ex(answer, &why, 0, "{s:s !}", "now", &now) < 0 || time_parse(now, &now_usec) < 0)
        return error_set(error, EPROTO, "the coordinator's time: expected {\"now\"}");
    /* Connecting and TLS are not part of the round trip. */
    curl_easy_getinfo(request->easy, CURLINFO_PRETRANSFER_TIME_T, &before_usec);
    sent_usec += before_usec;
    poll->offset_usec = sent_usec + (received_usec - sent_usec) / 2 - now_usec;
    poll->bound_usec = received_usec > sent_usec ? (received_usec - sent_usec + 1) / 2 : 0;
    poll->has_clock = true;
    snprintf(body, sizeof(body), "{\"offset_usec\":%" PRId64 ",\"bound_usec\":%" PRId64 "}",
             poll->offset_usec, poll->bound_usec);
    link_send(poll->courier->link, CHANNEL_CLOCK, body, -1);
    return 0;
}

static void poll_on_time(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(web_request_freep) struct web_request *finished = request;
    struct poll *poll = context;
    struct error error = {0};
    json_t *answer = NULL;

    poll->request = NULL;
    if (courier_answer(poll->courier, finished, code, &answer, &error) < 0 ||
        poll_take_time(poll, finished, answer, &error) < 0 || poll_ask(poll, &error) < 0)
        poll_fail(poll, &error);
    json_decref(answer);
}

static void poll_begin(struct poll *poll)
{
    struct error error = {0};

    poll->state = POLL_IDLE;
    /* A poll tells the coordinator that this host is in contact: never without its executor. */
    if (!link_is_up(poll->courier->link))
        return;
    poll->state = POLL_TIME;
    poll->sent_usec = time_now_usec();
    if (courier_request(poll->courier, &poll->request, "/v1/agent/time", NULL, COURIER_ANSWER_MAX,
                        COURIER_TIMEOUT_MSEC, poll_on_time, poll, &error) < 0)
        poll_fail(poll, &error);
}

/* A head that comes late answers an earlier nonce, and says nothing of what was handed over since. */
static bool poll_awaits(const struct poll *poll, const char *head)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(document_freep) struct document *document = NULL;
    const char *nonce = NULL;

    if (envelope_parse(&envelope, "head", ENVELOPE_HEAD, head, strlen(head), NULL) == 0 &&
        document_parse_json(&document, "head", envelope->payload, envelope->payload_length, NULL) == 0)
        nonce = node_string(document_root(document), "nonce");
    return poll->state == POLL_HEAD && nonce && !strcmp(nonce, poll->nonce);
}

void poll_on_head(struct poll *poll, const char *head)
{
    json_t *confirmed;

    if (!poll_awaits(poll, head))
        return;
    event_del(poll->timer);
    json_decref(poll->head);
    poll->head = json_loads(head, 0, NULL);
    confirmed = items_confirm(poll->items);
    json_array_extend(poll->received, confirmed);
    json_decref(confirmed);
    backoff_reset(&poll->backoff);
    if (poll->is_complete) {
        poll_begin(poll);
        return;
    }
    poll->state = POLL_WAITING;
    event_add(poll->timer, &(struct timeval){.tv_usec = AGAIN_USEC});
}

static void poll_on_timer(evutil_socket_t fd, short what, void *context)
{
    struct poll *poll = context;
    struct error error = {0};

    if (poll->state == POLL_HEAD) {
        error_set(&error, ETIMEDOUT, "the executor did not sign a nonce within %d s", HEAD_TIMEOUT_S);
        poll_fail(poll, &error);
    } else {
        poll_begin(poll);
    }
}

void poll_on_up(struct poll *poll)
{
    if (poll->state == POLL_IDLE)
        poll_begin(poll);
}

void poll_on_down(struct poll *poll)
{
    items_on_down(poll->items);
    if (poll->state == POLL_HEAD || poll->state == POLL_WAITING) {
        event_del(poll->timer);
        poll->state = POLL_IDLE;
    }
}

int poll_new(struct poll **ret, struct courier *courier, struct error *error)
{
    struct poll *poll = calloc(1, sizeof(*poll));
    int r;

    if (!poll)
        return error_oom(error);
    poll->courier = courier;
    poll->is_first = true;
    poll->received = json_array();
    poll->timer = evtimer_new(courier->base, poll_on_timer, poll);
    r = poll->received && poll->timer ? items_new(&poll->items, courier, poll_on_items, poll, error)
                                      : error_oom(error);
    if (r < 0)
        poll_free(poll);
    else
        *ret = poll;
    return r;
}

struct poll *poll_free(struct poll *poll)
{
    if (!poll)
        return NULL;
    web_request_free(poll->request);
    items_free(poll->items);
    if (poll->timer)
        event_free(poll->timer);
    json_decref(poll->head);
    json_decref(poll->received);
    free(poll);
    return NULL;
}
