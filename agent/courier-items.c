/*
 * What a poll brought, on its way to the executor: base64 undone here, nothing trusted here. Halts go first
 * and need nothing else; an order or an ask travels with its mandate, fetched by hash.
 *
 * A mandate is kept for the items of one answer only: the hash is that of the payload, and signatures are
 * added under the same hash between `plan` and `run`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/bundle.h"
#include "courier.h"

#define PATIENCE_USEC                                                                                        \
    200000 /* a mandate that takes longer must not keep us from polling: a halt may wait                     \
            */

#define ITEMS_MAX 64 /* handed over and not confirmed; as many as a poll may report */

struct items {
    struct courier *courier;
    void (*done)(void *context, bool is_complete);
    void *context;
    json_t *list, *handed;
    size_t next, n_marked;
    bool is_complete, is_done; /* is_done: of this list, @done was called */
    struct event *patience;
    struct web_request *fetch;
    struct envelope *mandate;
    char mandate_hash[HASH_TEXT_MAX];
    char said[ERROR_TEXT_MAX]; /* the last trouble: said once, not with every poll */
};

/* One item, pointers into the list. */
struct item {
    const char *id, *kind, *mandate_hash;
    json_t *envelope;
};

struct item_kind {
    const char *name;
    enum envelope_kind envelope;
    enum channel_type type;
    bool has_mandate;
};

static const struct item_kind kinds[] = {
    {"order", ENVELOPE_ORDER, CHANNEL_ORDER, true},
    {"ask", ENVELOPE_ASK, CHANNEL_ASK, true},
    {"halt", ENVELOPE_HALT, CHANNEL_HALT, false},
};

static const struct item_kind *item_kind_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
        if (!strcmp(kinds[i].name, name))
            return &kinds[i];
    return NULL;
}

static int item_decode(json_t *json, struct item *ret, const struct item_kind **ret_kind, struct error *error)
{
    struct item item = {0};
    json_error_t why;

    if (json_unpack_ex(json, &why, 0, "{s:s, s:s, s:o, s?s !}", "id", &item.id, "kind", &item.kind,
                       "envelope", &item.envelope, "mandate", &item.mandate_hash) < 0)
        return error_set(error, EPROTO, "an item of the coordinator: %s", why.text);
    *ret_kind = item_kind_find(item.kind);
    if (!*ret_kind)
        return error_set(error, EPROTO, "item %.40s: kind %.40s is unknown", item.id, item.kind);
    if ((*ret_kind)->has_mandate && (!item.mandate_hash || strlen(item.mandate_hash) != HASH_TEXT_MAX - 1 ||
                                     item.mandate_hash[strspn(item.mandate_hash, "0123456789abcdef")]))
        return error_set(error, EPROTO, "item %.40s: mandate: expected a hash", item.id);
    *ret = item;
    return 0;
}

static bool items_is_handed(const struct items *items, const char *id)
{
    json_t *value;
    size_t i;

    json_array_foreach(items->handed, i, value) if (!strcmp(json_string_value(value), id)) return true;
    return false;
}

/* Return: 0, -EPROTO when it can never be handed over, -errno when it may be later */
static int items_hand_over(struct items *items, const struct item *item, const struct item_kind *kind,
                           struct error *error)
{
    _cleanup_free_ char *text = json_dumps(item->envelope, JSON_COMPACT);
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    const struct envelope *documents[BUNDLE_DOCUMENTS_MAX];
    _cleanup_close_ int fd = -1;
    int r;

    if (!text)
        return error_oom(error);
    if (envelope_parse(&envelope, kind->name, kind->envelope, text, strlen(text), error) < 0)
        return -EPROTO;
    documents[0] = envelope;
    documents[1] = items->mandate;
    fd = bundle_to_memfd(documents, kind->has_mandate ? 2 : 1, error);
    if (fd < 0)
        return fd;
    r = link_send(items->courier->link, kind->type, "", fd);
    if (r < 0)
        return error_errno(error, -r, "item %.40s: can't reach the executor", item->id);
    return 0;
}

static void items_on_mandate(struct web_request *request, CURLcode code, void *context);

static int items_fetch(struct items *items, const char *hash, struct error *error)
{
    char path[32 + HASH_TEXT_MAX];

    snprintf(path, sizeof(path), "/v1/mandates/%s", hash);
    items->mandate = envelope_free(items->mandate);
    memcpy(items->mandate_hash, hash, HASH_TEXT_MAX);
    return courier_request(items->courier, &items->fetch, path, NULL, COURIER_MANDATE_MAX,
                           COURIER_TIMEOUT_MSEC, items_on_mandate, items, error);
}

/* Return: 1 a mandate has to be fetched first, 0 this item is dealt with, -errno it has to come again */
static int items_take(struct items *items, json_t *json, bool wants_halts, struct error *error)
{
    const struct item_kind *kind = NULL;
    struct item item = {0};
    int r;

    r = item_decode(json, &item, &kind, error);
    if (r < 0)
        return wants_halts ? r : 0; /* said with the halts */
    if (wants_halts != !kind->has_mandate || items_is_handed(items, item.id))
        return 0;
    if (json_array_size(items->handed) == ITEMS_MAX)
        return error_set(error, ENOBUFS, "more than %d items at once: the others wait", ITEMS_MAX);
    if (kind->has_mandate && (!items->mandate || strcmp(items->mandate_hash, item.mandate_hash))) {
        r = items_fetch(items, item.mandate_hash, error);
        return r < 0 ? r : 1;
    }
    r = items_hand_over(items, &item, kind, error);
    if (r < 0 && r != -EPROTO)
        return r;
    /* What can never be handed over is said and counts as received, or it would come for ever. */
    if (r == -EPROTO)
        courier_say(items->courier, error);
    return json_array_append_new(items->handed, json_string(item.id)) < 0 ? error_oom(error) : 0;
}

static void items_fail(struct items *items, const struct error *error)
{
    if (strcmp(items->said, error->text))
        courier_say(items->courier, error);
    snprintf(items->said, sizeof(items->said), "%s", error->text);
    items->is_complete = false;
}

static void items_done(struct items *items, bool is_complete)
{
    event_del(items->patience);
    if (is_complete)
        items->said[0] = '\0';
    if (items->is_done)
        return;
    items->is_done = true;
    items->done(items->context, is_complete);
}

/* Whatever waits for the mandate comes again with the next answer, until it was handed over. */
static void items_on_patience(evutil_socket_t fd, short what, void *context)
{
    items_done(context, false);
}

static void items_go_on(struct items *items)
{
    struct error error = {0};

    for (; items->next < json_array_size(items->list); items->next++) {
        int r = items_take(items, json_array_get(items->list, items->next), false, &error);

        if (r > 0)
            return;
        if (r < 0)
            items_fail(items, &error);
    }
    json_decref(TAKE_PTR(items->list));
    items->mandate = envelope_free(items->mandate);
    items_done(items, items->is_complete);
}

static int items_take_mandate(struct items *items, const struct web_request *request, CURLcode code,
                              struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *mandate = NULL;
    char hash[HASH_TEXT_MAX];
    int r;

    if (code != CURLE_OK || web_status(request) != 200 || !request->body)
        return web_error(request, code, error);
    r = envelope_parse(&mandate, "mandate", ENVELOPE_MANDATE, request->body, request->length, error);
    if (r < 0)
        return r;
    hash_text(mandate->payload, mandate->payload_length, hash);
    if (strcmp(hash, items->mandate_hash))
        return error_set(error, EPROTO, "mandate %.12s: the coordinator sent another one, %.12s",
                         items->mandate_hash, hash);
    items->mandate = TAKE_PTR(mandate);
    return 0;
}

static void items_on_mandate(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(web_request_freep) struct web_request *finished = request;
    struct items *items = context;
    struct error error = {0};

    items->fetch = NULL;
    if (items_take_mandate(items, finished, code, &error) < 0) {
        courier_blame(items->courier, finished);
        items_fail(items, &error);
        items->next++;
    }
    items_go_on(items);
}

int items_new(struct items **ret, struct courier *courier, void (*done)(void *context, bool is_complete),
              void *context, struct error *error)
{
    struct items *items = calloc(1, sizeof(*items));
    json_t *handed = json_array();

    if (items)
        *items = (struct items){.courier = courier, .done = done, .context = context, .handed = handed};
    if (items)
        items->patience = evtimer_new(courier->base, items_on_patience, items);
    if (!items || !handed || !items->patience) {
        if (!items)
            json_decref(handed);
        items_free(items);
        return error_oom(error);
    }
    *ret = items;
    return 0;
}

struct items *items_free(struct items *items)
{
    if (!items)
        return NULL;
    web_request_free(items->fetch);
    if (items->patience)
        event_free(items->patience);
    envelope_free(items->mandate);
    json_decref(items->list);
    json_decref(items->handed);
    free(items);
    return NULL;
}

void items_start(struct items *items, json_t *list)
{
    struct error error = {0};
    json_t *item;
    size_t i;

    items->is_complete = true;
    json_array_foreach(list, i, item) if (items_take(items, item, true, &error) < 0)
        items_fail(items, &error);
    items->is_done = false;
    if (items->fetch) { /* for an earlier list */
        items_done(items, false);
        return;
    }
    items->list = json_incref(list);
    items->next = 0;
    event_add(items->patience, &(struct timeval){.tv_usec = PATIENCE_USEC});
    items_go_on(items);
}

void items_mark(struct items *items)
{
    items->n_marked = json_array_size(items->handed);
}

json_t *items_confirm(struct items *items)
{
    json_t *confirmed = json_array();

    for (; confirmed && items->n_marked; items->n_marked--) {
        json_array_append(confirmed, json_array_get(items->handed, 0));
        json_array_remove(items->handed, 0);
    }
    return confirmed;
}

void items_on_down(struct items *items)
{
    json_array_clear(items->handed);
    items->n_marked = 0;
}
