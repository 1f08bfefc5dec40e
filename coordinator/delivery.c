/*
 * Items are durable before they leave, and are repeated until the host says that it has them. Halts are the
 * exception: nothing is lost by one that is sent and forgotten, and much by one that waits for a disk.
 */
#include "delivery.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

/** struct halt_item - @id "" = none */
struct halt_item {
    char id[UUID_TEXT_MAX];
    char *envelope;
    int64_t created_usec;
};

struct mailbox {
    struct coordinator *coordinator;
    struct fleet_host *host;
    struct http_request *held;
    bool is_urgent, is_flushing;
    struct event *patience;
    struct nonce nonces[DELIVERY_NONCES];
    size_t next_nonce;
    struct pending_head head;
    struct halt_item halts[DELIVERY_HALTS_MAX]; /* not received yet; the oldest gives way */
    size_t next_halt;
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

static struct halt_item *find_halt(struct mailbox *mailbox, const char *id)
{
    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        if (*id && !strcmp(mailbox->halts[i].id, id))
            return &mailbox->halts[i];
    return NULL;
}

static void halt_clear(struct halt_item *halt)
{
    free(halt->envelope);
    *halt = (struct halt_item){.id = ""};
}

static json_t *make_item(const char *id, const char *kind, const char *envelope)
{
    return json_pack("{s:s, s:s, s:o}", "id", id, "kind", kind, "envelope", json_loads(envelope, 0, NULL));
}

static void add_halts(const struct mailbox *mailbox, json_t *items)
{
    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        if (mailbox->halts[i].id[0])
            json_array_append_new(items, make_item(mailbox->halts[i].id, "halt", mailbox->halts[i].envelope));
}

struct item_list {
    struct mailbox *mailbox;
    json_t *items;
};

static int add_item(void *context, const struct store_row *row)
{
    struct item_list *list = context;
    json_t *item;

    if (find_halt(list->mailbox, store_text(row, 0)))
        return 0;
    item = make_item(store_text(row, 0), store_text(row, 1), store_text(row, 2));

    if (!item)
        return -ENOMEM;
    if (store_text(row, 3)[0])
        json_object_set_new(item, "mandate", json_string(store_text(row, 3)));
    return json_array_append_new(list->items, item) < 0 ? -ENOMEM : 0;
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

/* Called when all that waits is durable, or has been rolled back. */
static void mailbox_flush(void *context)
{
    struct mailbox *mailbox = context;
    struct item_list list = {mailbox, NULL};
    json_t *items;

    mailbox->is_flushing = false;
    if (!mailbox->held)
        return;
    items = list.items = json_array();
    add_halts(mailbox, items);
    if (store_query(mailbox->coordinator->store, add_item, &list, NULL,
                    "SELECT id, kind, envelope, mandate FROM items WHERE host = ? AND received IS NULL"
                    " ORDER BY id LIMIT ?",
                    "si", mailbox->host->id, (int64_t)DELIVERY_ITEMS_MAX) < 0 &&
        json_array_size(items) == 0) {
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
    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        halt_clear(&mailbox->halts[i]);
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
    struct halt_item *halt = find_halt(host->mailbox, id);
    int r = store_write(coordinator->store, error,
                        "UPDATE items SET received = ? WHERE id = ? AND host = ? AND received IS NULL", "iss",
                        time_now_usec(), id, host->id);

    if (halt)
        halt_clear(halt);
    return r < 0 && r != -EROFS ? r : 0; /* delivery repeats, effects don't */
}

static int store_item(struct coordinator *coordinator, const char *id, const char *host, const char *kind,
                      const char *envelope, const char *mandate_hash, struct error *error)
{
    int r = store_write(coordinator->store, error,
                        "INSERT OR IGNORE INTO items (id, host, kind, envelope, mandate, created)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        "sssssi", id, host, kind, envelope, mandate_hash, time_now_usec());

    return r < 0 ? r : 0;
}

/* Sent first, written down afterwards, if that is possible at all. Takes over @envelope. */
static void mailbox_halt(struct mailbox *mailbox, const char *id, char *envelope)
{
    struct halt_item *halt = &mailbox->halts[mailbox->next_halt++ % DELIVERY_HALTS_MAX];
    json_t *items = json_array();

    halt_clear(halt);
    halt->envelope = envelope;
    halt->created_usec = time_now_usec();
    snprintf(halt->id, sizeof(halt->id), "%s", id);
    add_halts(mailbox, items);
    if (mailbox->held)
        mailbox_answer(mailbox, items);
    else
        json_decref(items);
    (void)store_item(mailbox->coordinator, id, mailbox->host->id, "halt", envelope, NULL, NULL);
}

static int store_halts(void *context, struct fleet_host *host)
{
    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++) {
        const struct halt_item *halt = &host->mailbox->halts[i];

        if (halt->id[0])
            (void)store_item(context, halt->id, host->id, "halt", halt->envelope, NULL, NULL);
    }
    return 0;
}

void delivery_store_halts(struct coordinator *coordinator)
{
    fleet_each(coordinator, store_halts, coordinator);
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
    uuid_new(item);
    if (envelope->kind == ENVELOPE_HALT) {
        mailbox_halt(host->mailbox, item, TAKE_PTR(text));
        return 0;
    }
    r = store_item(coordinator, item, id, envelope_kind_name(envelope->kind), text, mandate_hash, error);
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

static int age_halts(void *context, struct fleet_host *host)
{
    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        if (host->mailbox->halts[i].created_usec < time_now_usec() - DELIVERY_KEEP_USEC)
            halt_clear(&host->mailbox->halts[i]);
    return 0;
}

void delivery_age(struct coordinator *coordinator)
{
    fleet_each(coordinator, age_halts, NULL);
    (void)store_write(coordinator->store, NULL, "DELETE FROM items WHERE created < ?", "i",
                      time_now_usec() - DELIVERY_KEEP_USEC);
}
