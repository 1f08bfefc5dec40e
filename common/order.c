/* What the coordinator and halt keys sign: orders, asks, halts, acknowledgements; and whether an order keeps
 * inside its mandate. */
#include <errno.h>
#include <string.h>

#include "mandate.h"

#define VALID_MAX_USEC (600 * USEC_PER_SEC) /* of asks and halts */

static const struct field order_fields[] = {
    FIELD_SCHEMA_IS("grivet.order/1"),
    {"id", FIELD_UUID, offsetof(struct order, id), true},
    {"mandate", FIELD_HASH, offsetof(struct order, mandate_hash), true},
    {"step", FIELD_NAME, offsetof(struct order, step), true},
    {"run", FIELD_UUID, offsetof(struct order, run), true},
    {"host", FIELD_NAME, offsetof(struct order, host), true},
    {"step_started_at", FIELD_TIME, offsetof(struct order, step_started_usec), true},
    {"start_before", FIELD_TIME, offsetof(struct order, start_before_usec), true},
    {"end_at", FIELD_TIME, offsetof(struct order, end_usec), true},
    {},
};

static const char *const purposes[] = {"plan", "start", NULL};
static const char *const scopes[] = {"fleet", "run", "host", NULL};

static const struct field ask_fields[] = {
    FIELD_SCHEMA_IS("grivet.ask/1"),
    {"id", FIELD_UUID, offsetof(struct ask, id), true},
    {"purpose", FIELD_CHOICE, offsetof(struct ask, purpose), true, .choices = purposes},
    {"mandate", FIELD_HASH, offsetof(struct ask, mandate_hash), true},
    {"host", FIELD_NAME, offsetof(struct ask, host), true},
    {"run", FIELD_UUID, offsetof(struct ask, run)},
    {"steps", FIELD_NAMES, offsetof(struct ask, steps), false, 1, MANDATE_STEPS_MAX},
    {"issued_at", FIELD_TIME, offsetof(struct ask, issued_usec), true},
    {"expires_at", FIELD_TIME, offsetof(struct ask, expires_usec), true},
    {},
};

static const struct field halt_fields[] = {
    FIELD_SCHEMA_IS("grivet.halt/1"),
    {"id", FIELD_UUID, offsetof(struct halt, id), true},
    {"scope", FIELD_CHOICE, offsetof(struct halt, scope), true, .choices = scopes},
    {"run", FIELD_UUID, offsetof(struct halt, run)},
    {"host", FIELD_NAME, offsetof(struct halt, host)},
    {"issued_at", FIELD_TIME, offsetof(struct halt, issued_usec), true},
    {"expires_at", FIELD_TIME, offsetof(struct halt, expires_usec), true},
    {},
};

static const struct field ack_fields[] = {
    FIELD_SCHEMA_IS("grivet.ack/1"),
    {"host", FIELD_NAME, offsetof(struct ack, host), true},
    {"sequence", FIELD_INTEGER, offsetof(struct ack, sequence), true, 1, INT64_MAX},
    {"hash", FIELD_HASH, offsetof(struct ack, hash), true},
    {"at", FIELD_TIME, offsetof(struct ack, at_usec), true},
    {},
};

/* Every struct of this file begins with its document; @ret points to a pointer to it. */
static int payload_new(size_t size, const char *name, const void *payload, size_t length,
                       const struct field *fields, void *ret, struct error *error)
{
    struct document **decoded = calloc(1, size);
    int r;

    if (!decoded)
        return error_oom(error);
    r = document_decode(decoded, name, payload, length, fields, decoded, error);
    if (r < 0)
        free(decoded);
    else
        memcpy(ret, &decoded, sizeof(decoded));
    return r;
}

void *payload_free(void *payload)
{
    if (payload)
        document_free(*(struct document **)payload);
    free(payload);
    return NULL;
}

int order_parse(struct order **ret, const void *payload, size_t length, struct error *error)
{
    return payload_new(sizeof(struct order), "order", payload, length, order_fields, ret, error);
}

/* Asks and halts are good for minutes, so that a kept one is worth nothing. */
static int check_validity(const struct document *document, int64_t issued_usec, int64_t expires_usec,
                          struct error *error)
{
    if (expires_usec <= issued_usec || expires_usec - issued_usec > VALID_MAX_USEC)
        return node_error(document, node_get(document_root(document), "expires_at"), error,
                          "must come after issued_at, by 10 minutes at most");
    return 0;
}

int ask_parse(struct ask **ret, const void *payload, size_t length, struct error *error)
{
    _cleanup_(ask_freep) struct ask *ask = NULL;
    int r;

    r = payload_new(sizeof(struct ask), "ask", payload, length, ask_fields, &ask, error);
    if (r == 0)
        r = check_validity(ask->document, ask->issued_usec, ask->expires_usec, error);
    if (r < 0)
        return r;
    ask->is_start = strcmp(ask->purpose, "start") == 0;
    *ret = TAKE_PTR(ask);
    return 0;
}

/* Exactly what the scope needs: a halt of a run that also names a host would leave open what it meant. */
static int check_scope(const struct halt *halt, struct error *error)
{
    bool is_run = strcmp(halt->scope, "run") == 0, is_host = strcmp(halt->scope, "host") == 0;

    if (is_run != !!halt->run || is_host != !!halt->host)
        return node_error(halt->document, document_root(halt->document), error,
                          "scope run takes 'run', scope host takes 'host', scope fleet neither");
    return 0;
}

int halt_parse(struct halt **ret, const void *payload, size_t length, struct error *error)
{
    _cleanup_(halt_freep) struct halt *halt = NULL;
    int r;

    r = payload_new(sizeof(struct halt), "halt", payload, length, halt_fields, &halt, error);
    if (r == 0)
        r = check_validity(halt->document, halt->issued_usec, halt->expires_usec, error);
    if (r == 0)
        r = check_scope(halt, error);
    if (r == 0)
        *ret = TAKE_PTR(halt);
    return r;
}

int ack_parse(struct ack **ret, const void *payload, size_t length, struct error *error)
{
    return payload_new(sizeof(struct ack), "ack", payload, length, ack_fields, ret, error);
}

static int order_error(const struct order *order, const char *key, struct error *error, const char *text)
{
    return node_error(order->document, node_get(document_root(order->document), key), error, "%s", text);
}

bool labels_match(const json_t *labels, const struct node *wanted)
{
    bool matches = wanted && wanted->count;

    for (const struct node *node = wanted ? wanted->first : NULL; node; node = node->next)
        matches = matches && json_equal(json_object_get(labels, node->key), node->json);
    return matches;
}

static int check_host(const struct order *order, const struct mandate *mandate, const char *host,
                      const struct node *labels, struct error *error)
{
    const struct step *step = mandate_step(mandate, order->step);

    if (strcmp(order->host, host) != 0)
        return order_error(order, "host", error, "is for another host");
    if (!step && strcmp(order->step, MANDATE_OBSERVE) != 0)
        return order_error(order, "step", error, "is no step of the mandate");
    if (mandate_step_has_host(mandate, order->step, host))
        return 0;
    if (!step || !step->takes_late_joiners)
        return order_error(order, "host", error, "is not among the hosts that were signed for this step");
    if (!labels_match(labels ? labels->json : NULL, mandate->late_labels))
        return order_error(order, "host", error,
                           "was not signed for this step, and its labels are not those of a late joiner");
    return 0;
}

static int check_times(const struct order *order, const struct mandate *mandate, struct error *error)
{
    int64_t started = order->step_started_usec;

    if (started < mandate->not_before_usec || started > mandate->not_after_usec)
        return order_error(order, "step_started_at", error,
                           "is outside of the mandate's not_before to not_after");
    if (order->start_before_usec < started || order->start_before_usec - started > ORDER_START_WINDOW_USEC)
        return order_error(order, "start_before", error, "must come after step_started_at, by 300 s at most");
    if (order->end_usec <= started)
        return order_error(order, "end_at", error, "must come after step_started_at");
    if (order->end_usec - started > mandate_step_length_usec(mandate, order->step))
        return order_error(order, "end_at", error, "is later than the duration that was signed");
    return 0;
}

int order_check(const struct order *order, const struct mandate *mandate, const char *host,
                const struct node *labels, struct error *error)
{
    int r;

    if (strcmp(order->mandate_hash, mandate->hash) != 0)
        return order_error(order, "mandate", error, "is the hash of another mandate");
    r = check_host(order, mandate, host, labels, error);
    return r < 0 ? r : check_times(order, mandate, error);
}
