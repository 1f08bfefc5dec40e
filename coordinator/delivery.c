/*
 * Items are durable before they leave, and are repeated until the host says that it has them. Halts are the
 * exception: nothing is lost by one that is sent and forgotten, and much by one that waits for a disk.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "fleet.h"

#define ITEMS_MAX 16
#define KEEP_USEC (900 * USEC_PER_SEC) /* whatever is sent has expired by then */

const char *delivery_new_nonce(struct fleet_host *host)
{
    struct nonce *nonce = &host->mailbox.nonces[host->mailbox.next_nonce++ % DELIVERY_NONCES];
    unsigned char bytes[(DELIVERY_NONCE_TEXT - 1) / 2];

    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(nonce->text, sizeof(nonce->text), bytes, sizeof(bytes));
    nonce->at_usec = time_now_usec();
    nonce->sequence = host->sequence;
    return nonce->text;
}

static void halt_clear(struct halt_item *halt)
{
    free(halt->envelope);
    *halt = (struct halt_item){.id = ""};
}

static struct halt_item *find_halt(struct mailbox *mailbox, const char *id)
{
    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        if (*id && !strcmp(mailbox->halts[i].id, id))
            return &mailbox->halts[i];
    return NULL;
}

/* @mandate: hash, "" = none */
static void add_item(json_t *items, const char *id, const char *kind, const char *envelope,
                     const char *mandate)
{
    json_array_append_new(items,
                          json_pack("{s:s, s:s, s:o, s:s*}", "id", id, "kind", kind, "envelope",
                                    json_loads(envelope, 0, NULL), "mandate", *mandate ? mandate : NULL));
}

static json_t *waiting_halts(const struct mailbox *mailbox)
{
    int64_t oldest_usec = time_now_usec() - KEEP_USEC;
    json_t *items = json_array();

    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        if (mailbox->halts[i].created_usec > oldest_usec)
            add_item(items, mailbox->halts[i].id, "halt", mailbox->halts[i].envelope, "");
    return items;
}

static int add_stored(struct fleet_host *host, json_t *items, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row =
        store_select(host->coordinator->store, error,
                     "SELECT id, kind, envelope, mandate FROM items WHERE host = ? ORDER BY id LIMIT ?", "si",
                     host->id, (int64_t)ITEMS_MAX);
    int r;

    while ((r = store_next(row, error)) > 0)
        if (!find_halt(&host->mailbox, store_text(row, 0)))
            add_item(items, store_text(row, 0), store_text(row, 1), store_text(row, 2), store_text(row, 3));
    return r;
}

/* Takes over @items. @is_now: doesn't wait for the disk */
static void answer(struct fleet_host *host, json_t *items, bool is_now)
{
    struct http_request *request = TAKE_PTR(host->mailbox.held);
    json_t *body = json_pack("{s:o, s:s, s:o}", "now", json_time(time_now_usec()), "nonce",
                             delivery_new_nonce(host), "items", items);

    event_del(host->mailbox.due);
    if (is_now)
        http_reply_now(request, body);
    else
        http_reply_json(request, 200, body);
}

/* What was written in this turn may be among it: the server keeps the answer until that is durable. */
static void flush(struct fleet_host *host)
{
    struct mailbox *mailbox = &host->mailbox;
    json_t *items = waiting_halts(mailbox);
    struct error error;
    int r = add_stored(host, items, &error);

    if (json_array_size(items) > 0 || (r == 0 && mailbox->is_urgent)) {
        mailbox->is_urgent = false;
        answer(host, items, false);
        return;
    }
    json_decref(items);
    if (r < 0) {
        event_del(mailbox->due);
        http_reply_failure(TAKE_PTR(mailbox->held), &error);
    }
}

/* Something waits (EV_READ), or nothing came for as long as a poll is held. */
static void on_due(evutil_socket_t fd, short what, void *context)
{
    struct fleet_host *host = context;

    if (what & EV_TIMEOUT)
        host->mailbox.is_urgent = true;
    flush(host);
}

/* At the end of the turn: all that it brings goes into one answer. */
static void schedule(struct fleet_host *host)
{
    if (host->mailbox.held)
        event_active(host->mailbox.due, EV_READ, 0);
}

static void on_gone(void *context)
{
    struct fleet_host *host = context;

    host->mailbox.held = NULL;
    event_del(host->mailbox.due);
}

int delivery_open(struct fleet_host *host)
{
    host->mailbox.due = evtimer_new(host->coordinator->base, on_due, host);
    return host->mailbox.due ? 0 : -ENOMEM;
}

void delivery_close(struct fleet_host *host)
{
    struct mailbox *mailbox = &host->mailbox;

    for (size_t i = 0; i < DELIVERY_HALTS_MAX; i++)
        halt_clear(&mailbox->halts[i]);
    if (mailbox->due)
        event_free(mailbox->due);
    if (mailbox->held)
        http_reply_failure(mailbox->held, &(struct error){ENOENT, "this host was forgotten"});
}

void delivery_hold(struct fleet_host *host, struct http_request *request, bool is_urgent)
{
    struct mailbox *mailbox = &host->mailbox;

    if (mailbox->held) /* of a courier that is no more, or starts over */
        answer(host, json_array(), false);
    mailbox->held = request;
    mailbox->is_urgent |= is_urgent; /* a nudge may have come before the poll */
    http_hold(request, on_gone, host);
    event_add(mailbox->due, &(struct timeval){.tv_sec = DELIVERY_HOLD_SECONDS});
    flush(host);
}

int delivery_received(struct fleet_host *host, const char *id, struct error *error)
{
    struct halt_item *halt = find_halt(&host->mailbox, id);
    int r = store_write(host->coordinator->store, error, "DELETE FROM items WHERE id = ? AND host = ?", "ss",
                        id, host->id);

    if (halt)
        halt_clear(halt);
    return r == -EROFS ? 0 : r; /* delivery repeats, effects don't */
}

static int store_item(const struct fleet_host *host, const char *id, const char *kind, const char *envelope,
                      const char *mandate_hash, struct error *error)
{
    return store_write(host->coordinator->store, error,
                       "INSERT OR IGNORE INTO items (id, host, kind, envelope, mandate, created)"
                       " VALUES (?, ?, ?, ?, ?, ?)",
                       "sssssi", id, host->id, kind, envelope, mandate_hash, time_now_usec());
}

/* Sent first, written down afterwards, if that is possible at all. Takes over @envelope. */
static void send_halt(struct fleet_host *host, const char *id, char *envelope)
{
    struct halt_item *halt = &host->mailbox.halts[host->mailbox.next_halt++ % DELIVERY_HALTS_MAX];

    halt_clear(halt);
    halt->envelope = envelope;
    halt->created_usec = time_now_usec();
    strcpy(halt->id, id);
    if (host->mailbox.held)
        answer(host, waiting_halts(&host->mailbox), true);
    (void)store_item(host, id, "halt", envelope, NULL, NULL);
}

void delivery_store_halts(struct coordinator *coordinator)
{
    struct fleet_host *host;

    for (size_t i = 0; (host = fleet_at(coordinator, i)); i++)
        for (size_t k = 0; k < DELIVERY_HALTS_MAX; k++)
            if (host->mailbox.halts[k].id[0])
                (void)store_item(host, host->mailbox.halts[k].id, "halt", host->mailbox.halts[k].envelope,
                                 NULL, NULL);
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
        send_halt(host, item, TAKE_PTR(text));
        return 0;
    }
    r = store_item(host, item, envelope_kind_name(envelope->kind), text, mandate_hash, error);
    if (r == 0)
        schedule(host);
    return r;
}

void delivery_nudge(struct coordinator *coordinator, const char *id)
{
    struct fleet_host *host = fleet_find(coordinator, id);

    if (!host)
        return;
    host->mailbox.is_urgent = true;
    schedule(host);
}

void delivery_age(struct coordinator *coordinator)
{
    (void)store_write(coordinator->store, NULL, "DELETE FROM items WHERE created < ?", "i",
                      time_now_usec() - KEEP_USEC);
}
