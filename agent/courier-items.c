/*
 * What a poll brought, on its way to the executor: base64 undone here, nothing trusted here. Halts go first
 * and need nothing else; an order or an ask travels with its mandate, fetched by hash.
 *
 * A mandate is fetched for the items of one answer and not kept: the hash is that of the payload, and
 * signatures are added under the same hash between `plan` and `run`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/bundle.h"
#include "courier.h"

#define MANDATE_MAX (12 * 1024 * 1024) /* 8 MiB of payload in base64, and signatures */
#define FETCHES_MAX 4                  /* at once, whatever a coordinator says */
#define ITEMS_MAX   64                 /* on their way; as many as a poll may report */

/* One item, pointers into the answer. */
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

/* A mandate on its way here, and the items of one answer that wait for it. */
struct fetch {
    LIST_ENTRY(fetch) entry;
    struct courier *courier;
    struct web_request *request;
    char hash[HASH_TEXT_MAX];
    json_t *list;
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
    if ((*ret_kind)->has_mandate && (!item.mandate_hash || strlen(item.mandate_hash) != HASH_TEXT_MAX - 1))
        return error_set(error, EPROTO, "item %.40s: mandate: expected a hash", item.id);
    *ret = item;
    return 0;
}

static void items_set(struct items *items, const char *id, enum item_state state)
{
    json_object_set_new(items->states, id, json_integer(state));
}

void items_move(struct items *items, enum item_state from, enum item_state to)
{
    const char *id;
    json_t *value;
    void *next;

    json_object_foreach_safe(items->states, next, id, value)
    {
        if (json_integer_value(value) != from)
            continue;
        if (to == ITEM_GONE)
            json_object_del(items->states, id);
        else
            json_integer_set(value, to);
    }
}

json_t *items_list(const struct items *items, enum item_state state)
{
    json_t *list = json_array(), *value;
    const char *id;

    json_object_foreach(items->states, id, value) if (json_integer_value(value) == state)
        json_array_append_new(list, json_string(id));
    return list;
}

/* What was left behind comes again with the next answer. */
static void items_fail(struct items *items, const struct error *error)
{
    items->is_complete = false;
    if (strcmp(items->said, error->text))
        courier_say(error);
    snprintf(items->said, sizeof(items->said), "%s", error->text);
}

/* Return: 0, -EPROTO when it can never be handed over, -errno when it may be later */
static int item_send(struct courier *courier, const struct item *item, const struct item_kind *kind,
                     const struct envelope *mandate, struct error *error)
{
    _cleanup_free_ char *text = json_dumps(item->envelope, JSON_COMPACT);
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_close_ int fd = -1;

    if (!text)
        return error_oom(error);
    if (envelope_parse(&envelope, kind->name, kind->envelope, text, strlen(text), error) < 0)
        return -EPROTO;
    fd = bundle_to_memfd((const struct envelope *const[]){envelope, mandate}, mandate ? 2 : 1, error);
    return fd < 0 ? fd : carrier_send(&courier->carrier, kind->type, "", fd, error);
}

static void item_hand_over(struct courier *courier, json_t *json, const struct envelope *mandate)
{
    const struct item_kind *kind;
    struct error error = {0};
    struct item item;
    int r;

    if (item_decode(json, &item, &kind, &error) < 0)
        return; /* never: items_sort() has decoded it before */
    r = item_send(courier, &item, kind, mandate, &error);
    /* What can never be handed over is said and counts as received, or it would come for ever. */
    if (r == -EPROTO)
        courier_say(&error);
    else if (r < 0)
        items_fail(&courier->items, &error);
    json_object_del(courier->items.states, item.id); /* so that it is listed in the order of handing over */
    if (r == 0 || r == -EPROTO)
        items_set(&courier->items, item.id, ITEM_HANDED);
}

static void fetch_free(struct fetch *fetch)
{
    LIST_REMOVE(fetch, entry);
    fetch->courier->items.n_fetches--;
    web_request_free(fetch->request);
    json_decref(fetch->list);
    free(fetch);
}

static void items_fail_all(struct items *items, json_t *list, const struct error *error)
{
    json_t *json;
    size_t i;

    items_fail(items, error);
    json_array_foreach(list, i, json)
        json_object_del(items->states, json_string_value(json_object_get(json, "id")));
}

static int fetch_take(const struct fetch *fetch, CURLcode code, struct envelope **ret, struct error *error)
{
    const struct web_call *call = &fetch->request->call;
    char hash[HASH_TEXT_MAX];
    int r;

    if (code != CURLE_OK || web_call_status(call) != 200 || !call->body)
        return web_call_error(call, code, error);
    r = envelope_parse(ret, "mandate", ENVELOPE_MANDATE, call->body, call->length, error);
    if (r < 0)
        return r;
    if (strcmp(hash_text((*ret)->payload, (*ret)->payload_length, hash), fetch->hash))
        return error_set(error, EPROTO, "mandate %.12s: the coordinator sent another one, %.12s", fetch->hash,
                         hash);
    return 0;
}

static void fetch_on_answer(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(envelope_freep) struct envelope *mandate = NULL;
    struct fetch *fetch = context;
    struct courier *courier = fetch->courier;
    struct error error = {0};
    json_t *json;
    size_t i;

    if (fetch_take(fetch, code, &mandate, &error) < 0) {
        courier_blame(courier, &request->call);
        items_fail_all(&courier->items, fetch->list, &error);
    } else {
        json_array_foreach(fetch->list, i, json) item_hand_over(courier, json, mandate);
    }
    fetch_free(fetch);
    if (!courier->items.n_fetches)
        poll_on_items(&courier->poll);
}

static int items_fetch(struct courier *courier, const char *hash, json_t *list, struct error *error)
{
    struct fetch *fetch;
    char path[32 + HASH_TEXT_MAX];
    int r;

    if (courier->items.n_fetches == FETCHES_MAX)
        return error_set(error, ENOBUFS, "more than %d mandates at once: the others wait", FETCHES_MAX);
    fetch = calloc(1, sizeof(*fetch));
    if (!fetch)
        return error_oom(error);
    fetch->courier = courier;
    fetch->list = json_incref(list);
    LIST_INSERT_HEAD(&courier->items.fetches, fetch, entry);
    courier->items.n_fetches++;
    snprintf(fetch->hash, sizeof(fetch->hash), "%s", hash);
    snprintf(path, sizeof(path), "/v1/mandates/%s", hash);
    r = courier_request(courier, &fetch->request, path, NULL, MANDATE_MAX, COURIER_TIMEOUT_MSEC,
                        fetch_on_answer, fetch, error);
    if (r < 0)
        fetch_free(fetch);
    return r;
}

/* A halt goes at once; what needs a mandate is added to @by_mandate. */
static int items_sort(struct courier *courier, json_t *json, json_t *by_mandate, struct error *error)
{
    struct items *items = &courier->items;
    const struct item_kind *kind;
    struct item item;
    json_t *list;
    int r;

    r = item_decode(json, &item, &kind, error);
    if (r < 0 || json_object_get(items->states, item.id))
        return r;
    if (json_object_size(items->states) == ITEMS_MAX)
        return error_set(error, ENOBUFS, "more than %d items at once: the others wait", ITEMS_MAX);
    if (!kind->has_mandate) {
        item_hand_over(courier, json, NULL);
        return 0;
    }
    list = json_object_get(by_mandate, item.mandate_hash);
    r = list ? json_array_append(list, json)
             : json_object_set_new(by_mandate, item.mandate_hash, json_pack("[O]", json));
    if (r < 0)
        return error_oom(error);
    items_set(items, item.id, ITEM_FETCHING);
    return 0;
}

void items_take(struct courier *courier, json_t *list)
{
    json_auto_t *by_mandate = json_object();
    struct error error = {0};
    const char *hash;
    json_t *json;
    size_t i;

    courier->items.is_complete = true;
    json_array_foreach(list, i, json) if (items_sort(courier, json, by_mandate, &error) < 0)
        items_fail(&courier->items, &error);
    json_object_foreach(by_mandate, hash, json) if (items_fetch(courier, hash, json, &error) < 0)
        items_fail_all(&courier->items, json, &error);
}

void items_on_down(struct items *items)
{
    while (items->n_fetches)
        fetch_free(LIST_FIRST(&items->fetches));
    for (enum item_state state = ITEM_FETCHING; state < ITEM_RECEIVED; state++)
        items_move(items, state, ITEM_GONE);
}
