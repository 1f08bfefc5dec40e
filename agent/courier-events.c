/*
 * Events, in order, until they are acknowledged: fetch what follows the cursor, post it, pass the
 * acknowledgement on, fetch again. The journal is the executor's; nothing here has to survive.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/bundle.h"
#include "common/mandate.h"
#include "courier.h"

#define EVENTS_POST_MAX (1024 * 1024)

enum events_state { EVENTS_IDLE, EVENTS_FETCHING, EVENTS_POSTING, EVENTS_WAITING };

struct events {
    struct courier *courier;
    enum events_state state;
    struct web_request *request;
    struct event *timer;
    struct backoff backoff;
    int64_t cursor; /* acknowledged by the coordinator, or what it wants to go on after */
    bool has_news;
};

static void events_fail(struct events *events, const struct error *error)
{
    struct timeval wait;

    if (events->backoff.failures < events->courier->n_urls)
        courier_say(events->courier, error);
    wait = backoff_next(&events->backoff);
    events->state = EVENTS_WAITING;
    event_add(events->timer, &wait);
}

static void events_fetch(struct events *events)
{
    struct error error = {0};
    char body[64];
    int r;

    events->has_news = false;
    snprintf(body, sizeof(body), "{\"after\":%" PRId64 "}", events->cursor);
    r = link_send(events->courier->link, CHANNEL_FETCH, body, -1);
    events->state = r == 0 ? EVENTS_FETCHING : EVENTS_IDLE;
    if (r < 0 && r != -ENOTCONN) {
        error_errno(&error, -r, "can't ask the executor for events");
        events_fail(events, &error);
    }
}

static int events_take_ack(struct events *events, json_t *answer, struct error *error)
{
    json_t *json = json_object_get(answer, "ack");
    _cleanup_free_ char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(ack_freep) struct ack *ack = NULL;
    _cleanup_close_ int fd = -1;
    int r;

    if (!text)
        return error_set(error, EPROTO, "the answer to events: expected an acknowledgement");
    r = envelope_parse(&envelope, "ack", ENVELOPE_ACK, text, strlen(text), error);
    if (r < 0)
        return r;
    r = ack_parse(&ack, envelope->payload, envelope->payload_length, error);
    if (r < 0)
        return r;
    fd = bundle_to_memfd((const struct envelope *const[]){envelope}, 1, error);
    if (fd < 0)
        return fd;
    r = link_send(events->courier->link, CHANNEL_ACK, "", fd);
    if (r < 0)
        return error_errno(error, -r, "can't pass an acknowledgement to the executor");
    events->cursor = ack->sequence;
    return 0;
}

/* A 409 names the sequence where the coordinator wants to go on. */
static bool events_move_cursor(struct events *events, const struct web_request *request)
{
    json_t *answer =
        json_loadb(request->body ? request->body : "", request->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *sequence = json_object_get(answer, "sequence");
    bool is_moved = json_is_integer(sequence) && json_integer_value(sequence) > 0;

    if (is_moved)
        events->cursor = json_integer_value(sequence) - 1;
    json_decref(answer);
    return is_moved;
}

static void events_on_answer(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(web_request_freep) struct web_request *finished = request;
    struct events *events = context;
    struct error error = {0};
    json_t *answer = NULL;

    events->request = NULL;
    if (code == CURLE_OK && web_status(finished) == 409 && events_move_cursor(events, finished) &&
        !events->backoff.failures) {
        events->backoff.failures++; /* a second break in a row waits */
        events_fetch(events);
        return;
    }
    if (courier_answer(events->courier, finished, code, &answer, &error) < 0 ||
        events_take_ack(events, answer, &error) < 0) {
        events_fail(events, &error);
    } else {
        backoff_reset(&events->backoff);
        events_fetch(events);
    }
    json_decref(answer);
}

void events_on_lines(struct events *events, char *lines, size_t length)
{
    _cleanup_free_ char *owned = lines;
    struct error error = {0};

    if (events->state != EVENTS_FETCHING)
        return;
    if (length > EVENTS_POST_MAX) {
        char *end = memrchr(lines, '\n', EVENTS_POST_MAX);

        length = end ? (size_t)(end - lines) + 1 : 0;
        lines[length] = '\0';
    }
    events->state = EVENTS_IDLE;
    if (!length) {
        if (events->has_news)
            events_fetch(events);
        return;
    }
    events->state = EVENTS_POSTING;
    if (courier_request(events->courier, &events->request, "/v1/agent/events", lines, COURIER_ANSWER_MAX,
                        COURIER_TIMEOUT_MSEC, events_on_answer, events, &error) < 0)
        events_fail(events, &error);
}

void events_on_news(struct events *events)
{
    events->has_news = true;
    if (events->state == EVENTS_IDLE)
        events_fetch(events);
}

void events_on_up(struct events *events)
{
    /* From the start: an acknowledgement may have died with the executor. */
    events->cursor = 0;
    events->has_news = true;
    if (events->state == EVENTS_IDLE)
        events_fetch(events);
}

void events_on_down(struct events *events)
{
    if (events->state == EVENTS_FETCHING)
        events->state = EVENTS_IDLE;
}

static void events_on_timer(evutil_socket_t fd, short what, void *context)
{
    events_fetch(context);
}

int events_new(struct events **ret, struct courier *courier, struct error *error)
{
    struct events *events = calloc(1, sizeof(*events));

    if (!events)
        return error_oom(error);
    events->courier = courier;
    events->timer = evtimer_new(courier->base, events_on_timer, events);
    if (!events->timer) {
        free(events);
        return error_oom(error);
    }
    *ret = events;
    return 0;
}

struct events *events_free(struct events *events)
{
    if (!events)
        return NULL;
    web_request_free(events->request);
    event_free(events->timer);
    free(events);
    return NULL;
}
