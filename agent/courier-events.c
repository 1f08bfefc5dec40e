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

int events_begin(struct task *task, struct error *error)
{
    struct events *events = &task->courier->events;
    char body[64];
    int r;

    snprintf(body, sizeof(body), "{\"after\":%" PRId64 "}", events->cursor);
    r = carrier_send(&task->courier->carrier, CHANNEL_FETCH, body, -1, error);
    events->has_news = false;
    events->is_fetching = r == 0;
    return r;
}

static int events_take_ack(struct events *events, json_t *answer, struct error *error)
{
    _cleanup_free_ char *text = json_dumps(json_object_get(answer, "ack"), JSON_COMPACT);
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
    r = carrier_send(&events->task.courier->carrier, CHANNEL_ACK, "", fd, error);
    if (r == 0)
        events->cursor = ack->sequence;
    return r;
}

/* A 409 names the sequence where the coordinator wants to go on. */
static bool events_move_cursor(struct events *events, const struct web_call *call)
{
    json_auto_t *answer =
        json_loadb(call->body ? call->body : "", call->length, JSON_REJECT_DUPLICATES, NULL);
    json_int_t sequence = json_integer_value(json_object_get(answer, "sequence"));

    if (sequence > 0)
        events->cursor = sequence - 1;
    return sequence > 0;
}

static int events_take_answer(struct task *task, const struct web_call *call, json_t *answer,
                              struct error *error)
{
    struct events *events = &task->courier->events;
    int r = -EIO;

    if (answer) {
        r = events_take_ack(events, answer, error);
        if (r == 0)
            task->failures = 0;
    } else if (web_call_status(call) == 409 && events_move_cursor(events, call) && !task->failures) {
        task->failures++; /* a second break in a row waits */
        r = 0;
    }
    return r < 0 ? r : events_begin(task, error);
}

static int events_post(struct events *events, char *lines, size_t length, struct error *error)
{
    if (length > EVENTS_POST_MAX) {
        char *end = memrchr(lines, '\n', EVENTS_POST_MAX);

        lines[end ? end - lines + 1 : 0] = '\0';
    }
    if (!*lines)
        return events->has_news ? events_begin(&events->task, error) : 0;
    return task_ask(&events->task, "/v1/agent/events", lines, COURIER_TIMEOUT_MSEC, events_take_answer,
                    error);
}

void events_on_lines(struct events *events, char *lines, size_t length)
{
    struct error error = {0};

    if (!events->is_fetching)
        return;
    events->is_fetching = false;
    if (events_post(events, lines, length, &error) < 0)
        task_fail(&events->task, &error);
}

void events_on_news(struct events *events)
{
    events->has_news = true;
    if (!events->is_fetching && task_is_idle(&events->task))
        task_go(&events->task, events_begin);
}

void events_on_change(struct events *events, bool is_up)
{
    task_stop(&events->task);
    events->is_fetching = false;
    /* From the start: an acknowledgement may have died with the executor. */
    events->cursor = 0;
    if (is_up)
        task_go(&events->task, events_begin);
}
