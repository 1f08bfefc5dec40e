/* The long poll: what a host says of itself each time, and the answer that is held until something waits for
 * it. */
#include <errno.h>
#include <string.h>

#include "agents.h"

#define RECEIVED_MAX 64
#define CLOCK_MAX    (10 * 365 * 86400 * USEC_PER_SEC)

struct poll {
    bool is_first;
    const char *boot;
    const struct node *received, *head, *clock;
};

static const struct field poll_fields[] = {
    {"is_first", FIELD_BOOLEAN, offsetof(struct poll, is_first), true},
    {"boot", FIELD_STRING, offsetof(struct poll, boot), true, 1, 64},
    {"received", FIELD_LIST, offsetof(struct poll, received), true, 0, RECEIVED_MAX},
    {"head", FIELD_NODE, offsetof(struct poll, head), true},
    {"clock", FIELD_NODE, offsetof(struct poll, clock), true},
    {NULL},
};

struct clock {
    int64_t offset_usec, bound_usec;
};

static const struct field clock_fields[] = {
    {"offset_usec", FIELD_INTEGER, offsetof(struct clock, offset_usec), true, -CLOCK_MAX, CLOCK_MAX},
    {"bound_usec", FIELD_INTEGER, offsetof(struct clock, bound_usec), true, 0, CLOCK_MAX},
    {NULL},
};

static int take_clock(const struct document *document, const struct node *node, struct fleet_host *host,
                      struct error *error)
{
    struct clock clock;
    int r;

    if (node->type == DOCUMENT_NULL)
        return 0;
    r = node_decode(document, node, clock_fields, &clock, error);
    if (r < 0)
        return r;
    host->has_clock = true;
    host->clock_offset_usec = clock.offset_usec;
    host->clock_bound_usec = clock.bound_usec;
    return 0;
}

static int take_received(const struct document *document, const struct node *list, struct fleet_host *host,
                         struct error *error)
{
    int r = 0;

    for (const struct node *id = list->first; r == 0 && id; id = id->next) {
        if (id->type != DOCUMENT_STRING || !uuid_is_valid(id->string))
            return node_error(document, id, error, "expected an item's id");
        r = delivery_received(host, id->string, error);
    }
    return r;
}

static int take_head(const struct node *node, struct fleet_host *host, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ char *text = json_dumps(node->json, JSON_COMPACT | JSON_ENCODE_ANY);
    int r;

    if (node->type == DOCUMENT_NULL)
        return 0;
    if (!text)
        return error_oom(error);
    r = envelope_parse(&envelope, "head", ENVELOPE_HEAD, text, strlen(text), error);
    if (r == 0)
        r = journal_take_head(host, envelope, error);
    if (r == -EPROTO) /* the host is marked; its orders and halts still have to reach it */
        r = 0;
    return r;
}

static int take_poll(struct fleet_host *host, struct http_request *request, bool *ret_is_first,
                     struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct poll poll = {.is_first = false};
    int r;

    r = document_decode(&document, "poll", request->body, request->length, poll_fields, &poll, error);
    if (r == 0)
        r = take_clock(document, poll.clock, host, error);
    if (r == 0)
        r = take_received(document, poll.received, host, error);
    if (r == 0)
        r = take_head(poll.head, host, error);
    *ret_is_first = poll.is_first;
    return r;
}

int poll_handle(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct fleet_host *host = fleet_require(coordinator, request, error);
    bool is_first = false;
    int r = host ? take_poll(host, request, &is_first, error) : -error->code;

    if (r < 0)
        return r;
    if (is_first)
        runs_on_first_poll(coordinator, host);
    delivery_hold(host, request, is_first);
    return 0;
}

int poll_handle_time(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    http_reply_now(request, json_pack("{s:o}", "now", json_time(time_now_usec())));
    return 0;
}

int poll_handle_answers(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    struct fleet_host *host = fleet_require(coordinator, request, error);
    const char *ask, *named;
    int r;

    if (!host)
        return -error->code;
    r = envelope_parse(&envelope, "answer", ENVELOPE_ANSWER, request->body, request->length, error);
    if (r < 0)
        return r;
    if (!envelope_is_signed_by(envelope, &host->key))
        return error_set(error, EKEYREJECTED, "answer: not signed by the key of host %s", host->id);
    r = document_parse_json(&document, "answer", envelope->payload, envelope->payload_length, error);
    if (r < 0)
        return r;
    ask = node_string(document_root(document), "ask");
    named = node_string(document_root(document), "host");
    if (!ask || !uuid_is_valid(ask) || !named || strcmp(named, host->id) != 0)
        return error_set(error, EINVAL, "answer: expected the id of an ask, and host %s", host->id);
    runs_on_answer(coordinator, host, document);
    http_reply_json(request, 200, json_object());
    return 0;
}
