/* Items are durable before they leave, and are repeated until the host says that it has them. */
#include "delivery.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

struct mailbox {
    struct coordinator *coordinator;
    struct fleet_host *host;
    struct http_request *held;
    bool is_urgent, is_flushing;
    struct event *patience;
    struct nonce nonces[DELIVERY_NONCES];
    size_t next_nonce;
    struct pending_head head;
};

const char *delivery_new_nonce(struct fleet_host *host)
{
    struct mailbox *mailbox = host->mailbox;
    struct nonce *nonce = &mailbox->nonces[mailbox->next_nonce++ % DELIVERY_NONCES];
    unsigned char bytes[(DELIVERY_NONCE_TEXT - 1) / 2];

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return NULL;
    for (size_t i = 0; i < sizeof(bytes); i++)
        snprintf(nonce->text + 2 * i, 3, "%02x", bytes[i]);
    nonce->at_usec = time_now_usec();
    nonce->sequence = host->sequence;
    return nonce->text;
}

const struct nonce *delivery_find_nonce(const struct fleet_host *host, const char *text)
{
    for (size_t i = 0; i < DELIVERY_NONCES; i++)
        if (host->mailbox->nonces[i].text[0] && strcmp(host->mailbox->nonces[i].text, text) == 0)
            return &host->mailbox->nonces[i];
    return NULL;
}

struct pending_head *delivery_head(struct fleet_host *host)
{
    return &host->mailbox->head;
}

static int add_item(void *context, const struct store_row *row)
{
    json_t *item = json_pack("{s:s, s:s, s:o}", "id", store_text(row, 0), "kind", store_text(row, 1),
                             "envelope", json_loads(store_text(row, 2), 0, NULL));

    if (!item)
        return -ENOMEM;
    if (store_text(row, 3)[0])
        json_object_set_new(item, "mandate", json_string(store_text(row, 3)));
    return json_array_append_new(context, item) < 0 ? -ENOMEM : 0;
}

static void mailbox_answer(struct mailbox *mailbox, json_t *items)
{
    struct http_request *request = TAKE_PTR(mailbox->held);
    const char *nonce = delivery_new_nonce(mailbox->host);

    event_del(mailbox->patience);
    http_reply_json(
        request, 200,
        json_pack("{s:o, s:s, s:o}", "now", json_time(time_now_usec()), "nonce", nonce, "items", items));
}

/* Called when all that waits is durable. */
static void mailbox_flush(void *context)
{
    struct mailbox *mailbox = context;
    json_t *items;

    mailbox->is_flushing = false;
    if (!mailbox->held)
        return;
    items = json_array();
    if (!items ||
        store_query(mailbox->coordinator->store, add_item, items, NULL,
                    "SELECT id, kind, envelope, mandate FROM items WHERE host = ? AND received IS NULL"
                    " ORDER BY id LIMIT ?",
                    "si", mailbox->host->id, (int64_t)DELIVERY_ITEMS_MAX) < 0) {
        json_decref(items);
        event_del(mailbox->patience);
        http_reply_error(TAKE_PTR(mailbox->held), 503, "the store can't be read");
        return;
    }
    if (mailbox->is_urgent || json_array_size(items) > 0) {
        mailbox->is_urgent = false;
        mailbox_answer(mailbox, items);
    } else {
        json_decref(items);
    }
}

static void mailbox_schedule(struct mailbox *mailbox)
{
    if (mailbox->is_flushing || !mailbox->held)
        return;
    mailbox->is_flushing = true;
    store_after_commit(mailbox->coordinator->store, mailbox_flush, mailbox);
}

static void on_patience(evutil_socket_t fd, short what, void *context)
{
    struct mailbox *mailbox = context;

    mailbox->is_urgent = true;
    mailbox_schedule(mailbox);
}

static void on_gone(void *context)
{
    struct mailbox *mailbox = context;

    mailbox->held = NULL;
    event_del(mailbox->patience);
}

struct mailbox *delivery_mailbox(struct coordinator *coordinator, struct fleet_host *host)
{
    struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

    if (!mailbox)
        return NULL;
    mailbox->coordinator = coordinator;
    mailbox->host = host;
    mailbox->patience = evtimer_new(coordinator->base, on_patience, mailbox);
    if (!mailbox->patience) {
        free(mailbox);
        return NULL;
    }
    return mailbox;
}

void delivery_drop(struct fleet_host *host)
{
    struct mailbox *mailbox = TAKE_PTR(host->mailbox);

    if (!mailbox)
        return;
    store_forget(mailbox->coordinator->store, mailbox);
    event_free(mailbox->patience);
    if (mailbox->held)
        http_reply_error(mailbox->held, 503, "this host was forgotten");
    free(mailbox);
}

void delivery_hold(struct fleet_host *host, struct http_request *request, bool is_urgent)
{
    struct mailbox *mailbox = host->mailbox;

    if (mailbox->held) /* of a courier that is no more, or starts over */
        mailbox_answer(mailbox, json_array());
    mailbox->held = request;
    mailbox->is_urgent |= is_urgent; /* a nudge may have come before the poll */
    http_hold(request, on_gone, mailbox);
    event_add(mailbox->patience, &(struct timeval){.tv_sec = DELIVERY_HOLD_SECONDS});
    mailbox_schedule(mailbox);
}

int delivery_received(struct coordinator *coordinator, const struct fleet_host *host, const char *id,
                      struct error *error)
{
    int r = store_write(coordinator->store, error,
                        "UPDATE items SET received = ? WHERE id = ? AND host = ? AND received IS NULL", "iss",
                        time_now_usec(), id, host->id);

    return r < 0 ? r : 0;
}

int delivery_send(struct coordinator *coordinator, const char *id, const struct envelope *envelope,
                  const char *mandate_hash, struct error *error)
{
    struct fleet_host *host = fleet_find(coordinator, id);
    _cleanup_free_ char *text = envelope_format(envelope);
    char item[UUID_TEXT_MAX];
    int r;

    if (!host)
        return error_set(error, ENOENT, "host %s is not known", id);
    if (!text)
        return error_oom(error);
    r = store_write(
        coordinator->store, error,
        "INSERT INTO items (id, host, kind, envelope, mandate, created) VALUES (?, ?, ?, ?, ?, ?)", "sssssi",
        uuid_new(item), id, envelope_kind_name(envelope->kind), text, mandate_hash, time_now_usec());
    if (r < 0)
        return r;
    mailbox_schedule(host->mailbox);
    return 0;
}

void delivery_nudge(struct coordinator *coordinator, const char *id)
{
    struct fleet_host *host = fleet_find(coordinator, id);

    if (!host)
        return;
    host->mailbox->is_urgent = true;
    mailbox_schedule(host->mailbox);
}

void delivery_age(struct coordinator *coordinator)
{
    (void)store_write(coordinator->store, NULL, "DELETE FROM items WHERE created < ?", "i",
                      time_now_usec() - DELIVERY_KEEP_USEC);
}
