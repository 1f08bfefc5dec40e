/*
 * The long poll: measure the clock, ask, hand over what came, have the nonce signed, ask again.
 *
 * The executor handles its messages in order. So the head that answers the nonce also proves that it has
 * taken the items sent before it; only then are they reported as received.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/times.h"
#include "courier.h"

#define POLL_TIMEOUT_MSEC 40000 /* a poll is held for 25 s */
#define HEAD_TIMEOUT_S    5
/* A mandate that takes longer must not keep us from polling, and neither must one that can't be had: a halt
 * may come meanwhile. */
#define PATIENCE_USEC 200000
#define AGAIN_USEC    400000

static int poll_on_silence(struct task *task, struct error *error)
{
    return error_set(error, ETIMEDOUT, "the executor did not sign a nonce within %d s", HEAD_TIMEOUT_S);
}

static int poll_send_nonce(struct task *task, struct error *error)
{
    struct courier *courier = task->courier;
    struct items *items = &courier->items;
    json_auto_t *json = json_pack("{s:s}", "nonce", courier->poll.nonce);
    _cleanup_free_ char *body = json_dumps(json, JSON_COMPACT);
    int r;

    if (!body)
        return error_oom(error);
    items->is_complete = items->is_complete && !items->n_fetches;
    if (items->is_complete) {
        items->said[0] = '\0';
        carrier_send(&courier->carrier, CHANNEL_CONTACT, courier->poll.contact, -1, NULL);
    }
    r = carrier_send(&courier->carrier, CHANNEL_NONCE, body, -1, error);
    if (r < 0)
        return r;
    items_move(items, ITEM_HANDED, ITEM_MARKED);
    task_wait(task, HEAD_TIMEOUT_S * USEC_PER_SEC, poll_on_silence);
    return 0;
}

static void poll_note_contact(struct poll *poll, const struct web_call *call)
{
    const char *address = "";
    long port = 0;

    curl_easy_getinfo(call->easy, CURLINFO_PRIMARY_IP, &address);
    curl_easy_getinfo(call->easy, CURLINFO_PRIMARY_PORT, &port);
    snprintf(poll->contact, sizeof(poll->contact),
             strchr(address, ':') ? "{\"coordinator\":\"[%s]:%ld\"}" : "{\"coordinator\":\"%s:%ld\"}",
             address, port);
}

static int poll_take_answer(struct task *task, const struct web_call *call, json_t *answer,
                            struct error *error)
{
    struct courier *courier = task->courier;
    struct poll *poll = &courier->poll;
    const char *now, *nonce;
    json_error_t why;
    json_t *items;

    if (!answer)
        return -EIO;
    if (json_unpack_ex(answer, &why, 0, "{s:s, s:s, s:o !}", "now", &now, "nonce", &nonce, "items", &items) <
        0)
        return error_set(error, EPROTO, "the answer to a poll: %s", why.text);
    if (!json_is_array(items) || strlen(nonce) >= sizeof(poll->nonce))
        return error_set(error, EPROTO, "the answer to a poll: expected a list of items and a nonce");
    strcpy(poll->nonce, nonce);
    poll_note_contact(poll, call);
    poll->is_first = false;
    items_move(&courier->items, ITEM_RECEIVED, ITEM_GONE);
    items_take(courier, items);
    if (!courier->items.n_fetches)
        return poll_send_nonce(task, error);
    task_wait(task, PATIENCE_USEC, poll_send_nonce);
    return 0;
}

void poll_on_items(struct poll *poll)
{
    if (poll->task.step == poll_send_nonce && !task_is_idle(&poll->task))
        task_go(&poll->task, poll_send_nonce);
}

/* A head goes along once: if it is what the coordinator does not want, the next nonce brings another. */
static int poll_ask(struct poll *poll, json_t *clock, struct error *error)
{
    char boot[BOOT_ID_MAX];
    json_auto_t *json = json_pack(
        "{s:b, s:s, s:o, s:o?, s:O}", "is_first", poll->is_first, "boot", time_boot_id(boot), "received",
        items_list(&poll->task.courier->items, ITEM_RECEIVED), "head", TAKE_PTR(poll->head), "clock", clock);
    _cleanup_free_ char *body = json_dumps(json, JSON_COMPACT);

    if (!body)
        return error_oom(error);
    return task_ask(&poll->task, "/v1/agent/poll", body, POLL_TIMEOUT_MSEC, poll_take_answer, error);
}

/* The coordinator read its clock somewhere between our sending and receiving: the middle, give or take half
 * of it. */
static int poll_take_time(struct task *task, const struct web_call *call, json_t *answer, struct error *error)
{
    struct poll *poll = &task->courier->poll;
    int64_t now_usec, sent_usec, round_trip_usec, received_usec = time_now_usec();
    _cleanup_free_ char *text = NULL;
    json_auto_t *clock = NULL;
    curl_off_t before_usec = 0;
    json_error_t why;
    const char *now;

    if (!answer)
        return -EIO;
    if (json_unpack_ex(answer, &why, 0, "{s:s !}", "now", &now) < 0 || time_parse(now, &now_usec) < 0)
        return error_set(error, EPROTO, "the coordinator's time: expected {\"now\"}");
    /* Connecting and TLS are not part of the round trip. */
    curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &before_usec);
    sent_usec = poll->begun_usec + before_usec;
    round_trip_usec = received_usec > sent_usec ? received_usec - sent_usec : 0;
    clock = json_pack("{s:I, s:I}", "offset_usec", (json_int_t)(sent_usec + round_trip_usec / 2 - now_usec),
                      "bound_usec", (json_int_t)((round_trip_usec + 1) / 2));
    text = json_dumps(clock, JSON_COMPACT);
    if (!text)
        return error_oom(error);
    carrier_send(&task->courier->carrier, CHANNEL_CLOCK, text, -1, NULL);
    return poll_ask(poll, clock, error);
}

int poll_begin(struct task *task, struct error *error)
{
    struct poll *poll = &task->courier->poll;

    poll->nonce[0] = '\0';
    poll->begun_usec = time_now_usec();
    return task_ask(task, "/v1/agent/time", NULL, COURIER_TIMEOUT_MSEC, poll_take_time, error);
}

/* A head that comes late answers an earlier nonce, and says nothing of what was handed over since. */
static bool poll_awaits(const struct poll *poll, const char *head)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    json_auto_t *json = NULL;
    const char *nonce;

    if (envelope_parse(&envelope, "head", ENVELOPE_HEAD, head, strlen(head), NULL) == 0)
        json = json_loadb((const char *)envelope->payload, envelope->payload_length, 0, NULL);
    nonce = json_string_value(json_object_get(json, "nonce"));
    return nonce && *nonce && !strcmp(nonce, poll->nonce);
}

void poll_on_head(struct poll *poll, const char *head)
{
    struct items *items = &poll->task.courier->items;

    if (!poll_awaits(poll, head))
        return;
    json_decref(poll->head);
    poll->head = json_loads(head, 0, NULL);
    poll->task.failures = 0;
    items_move(items, ITEM_MARKED, ITEM_RECEIVED);
    if (items->is_complete)
        task_go(&poll->task, poll_begin);
    else
        task_wait(&poll->task, AGAIN_USEC, poll_begin);
}
