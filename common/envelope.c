/* DSSE envelopes: see envelope.h. */
#include "envelope.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base64.h"
#include "document.h"

static const char *const kind_names[ENVELOPE_KINDS] = {
    [ENVELOPE_MANDATE] = "mandate", [ENVELOPE_ORDER] = "order", [ENVELOPE_ASK] = "ask",
    [ENVELOPE_ANSWER] = "answer",   [ENVELOPE_HALT] = "halt",   [ENVELOPE_HEAD] = "head",
    [ENVELOPE_ACK] = "ack",
};

const size_t envelope_limit_bytes[ENVELOPE_KINDS] = {
    [ENVELOPE_MANDATE] = 8 << 20, [ENVELOPE_ORDER] = 64 << 10, [ENVELOPE_ASK] = 64 << 10,
    [ENVELOPE_ANSWER] = 1 << 20,  [ENVELOPE_HALT] = 64 << 10,  [ENVELOPE_HEAD] = 64 << 10,
    [ENVELOPE_ACK] = 64 << 10,
};

/* Around the payload: type, signatures with their key ids, and what DSSE lets others add. */
#define ENVELOPE_FRAME_BYTES_MAX 16384

const char *envelope_kind_name(enum envelope_kind kind)
{
    return kind_names[kind];
}

static const char *envelope_type(enum envelope_kind kind, char ret[ENVELOPE_TYPE_MAX])
{
    snprintf(ret, ENVELOPE_TYPE_MAX, "application/vnd.grivet.%s+json", kind_names[kind]);
    return ret;
}

struct envelope *envelope_free(struct envelope *envelope)
{
    if (envelope)
        free(envelope->payload);
    free(envelope);
    return NULL;
}

/* Takes over @payload. */
static int envelope_make(struct envelope **ret, enum envelope_kind kind, uint8_t **payload, size_t length,
                         struct error *error)
{
    struct envelope *envelope;

    if (length > envelope_limit_bytes[kind])
        return error_set(error, E2BIG, "%s: %zu bytes; at most %zu are taken", kind_names[kind], length,
                         envelope_limit_bytes[kind]);
    envelope = calloc(1, sizeof(*envelope));
    if (!envelope)
        return error_oom(error);
    envelope->kind = kind;
    envelope->payload = TAKE_PTR(*payload);
    envelope->payload_length = length;
    *ret = envelope;
    return 0;
}

int envelope_new(struct envelope **ret, enum envelope_kind kind, const void *payload, size_t length,
                 struct error *error)
{
    _cleanup_free_ uint8_t *copy = malloc(length + 1);

    if (!copy)
        return error_oom(error);
    memcpy(copy, payload, length);
    copy[length] = '\0';
    return envelope_make(ret, kind, &copy, length, error);
}

struct envelope_text {
    const char *type, *payload;
    const struct node *signatures;
};

static const struct field envelope_fields[] = {
    {"payloadType", FIELD_STRING, offsetof(struct envelope_text, type), true},
    {"payload", FIELD_STRING, offsetof(struct envelope_text, payload), true, 0, INT64_MAX},
    {"signatures", FIELD_LIST, offsetof(struct envelope_text, signatures), true, 0, ENVELOPE_SIGNATURES_MAX},
    FIELD_OTHERS_IGNORED,
};

static int parse_signatures(struct envelope *envelope, const struct document *document,
                            const struct node *list, struct error *error)
{
    for (const struct node *node = list->first; node; node = node->next) {
        const char *text = node_string(node, "sig");

        if (!text || base64_decode_exactly(text, envelope->signatures[envelope->n_signatures++],
                                           KEY_SIGNATURE_BYTES) < 0)
            return node_error(document, node, error, "expected 'sig', 64 bytes in base64");
    }
    return 0;
}

int envelope_parse(struct envelope **ret, const char *name, enum envelope_kind kind, const void *json,
                   size_t length, struct error *error)
{
    size_t limit = envelope_limit_bytes[kind] / 3 * 4 + ENVELOPE_FRAME_BYTES_MAX;
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ uint8_t *payload = NULL;
    struct envelope_text text = {0};
    char wanted[ENVELOPE_TYPE_MAX];
    int r;

    if (length > limit)
        return error_set(error, E2BIG, "%s: %zu bytes; at most %zu are taken", name, length, limit);
    r = document_decode(&document, name, json, length, envelope_fields, &text, error);
    if (r < 0)
        return r;
    if (strcmp(text.type, envelope_type(kind, wanted)) != 0)
        return node_error(document, document_root(document), error, "payloadType is '%.80s'; expected %s",
                          text.type, wanted);
    r = base64_decode(text.payload, &payload, &length);
    if (r < 0)
        return r == -ENOMEM
                   ? error_oom(error)
                   : node_error(document, document_root(document), error, "'payload' is not in base64");
    r = envelope_make(&envelope, kind, &payload, length, error);
    if (r == 0)
        r = parse_signatures(envelope, document, text.signatures, error);
    if (r == 0)
        *ret = TAKE_PTR(envelope);
    return r;
}

/* For json_pack(), which fails when one of its values could not be made. */
static json_t *json_base64(const void *data, size_t length)
{
    _cleanup_free_ char *text = base64_encode(data, length);

    return text ? json_string(text) : NULL;
}

char *envelope_format(const struct envelope *envelope)
{
    char type[ENVELOPE_TYPE_MAX], *text = NULL;
    json_t *signatures = json_array(), *json;
    int r = signatures ? 0 : -1;

    for (size_t i = 0; i < envelope->n_signatures && r == 0; i++)
        r = json_array_append_new(
            signatures, json_pack("{s:o}", "sig", json_base64(envelope->signatures[i], KEY_SIGNATURE_BYTES)));
    json = json_pack("{s:o, s:s, s:O}", "payload", json_base64(envelope->payload, envelope->payload_length),
                     "payloadType", envelope_type(envelope->kind, type), "signatures", signatures);
    if (json && r == 0)
        text = json_dumps(json, JSON_INDENT(2));
    json_decref(signatures);
    json_decref(json);
    return text;
}

/* The pre-authentication encoding, which is what gets signed: DSSE 1.0.2. */
static uint8_t *envelope_encode(const struct envelope *envelope, size_t *ret_length)
{
    char head[ENVELOPE_TYPE_MAX + 64], type[ENVELOPE_TYPE_MAX];
    uint8_t *encoded;
    size_t length;

    envelope_type(envelope->kind, type);
    length = snprintf(head, sizeof(head), "DSSEv1 %zu %s %zu ", strlen(type), type, envelope->payload_length);
    encoded = malloc(length + envelope->payload_length);
    if (!encoded)
        return NULL;
    memcpy(encoded, head, length);
    memcpy(encoded + length, envelope->payload, envelope->payload_length);
    *ret_length = length + envelope->payload_length;
    return encoded;
}

int envelope_sign(struct envelope *envelope, const struct secret_key *key, struct error *error)
{
    _cleanup_free_ uint8_t *encoded = NULL;
    struct public_key public = secret_key_public(key);
    size_t length;

    if (envelope_is_signed_by(envelope, &public))
        return error_set(error, EEXIST, "%s: this key has signed it already", kind_names[envelope->kind]);
    if (envelope->n_signatures == ENVELOPE_SIGNATURES_MAX)
        return error_set(error, ENOSPC, "%s: has %d signatures, no more are taken",
                         kind_names[envelope->kind], ENVELOPE_SIGNATURES_MAX);
    encoded = envelope_encode(envelope, &length);
    if (!encoded)
        return error_oom(error);
    secret_key_sign(key, encoded, length, envelope->signatures[envelope->n_signatures++]);
    return 0;
}

bool envelope_is_signed_by(const struct envelope *envelope, const struct public_key *key)
{
    size_t length;
    _cleanup_free_ uint8_t *encoded = envelope_encode(envelope, &length);

    for (size_t i = 0; encoded && i < envelope->n_signatures; i++)
        if (crypto_sign_verify_detached(envelope->signatures[i], encoded, length, key->bytes) == 0)
            return true;
    return false;
}

const char *hash_text(const void *data, size_t length, char ret[HASH_TEXT_MAX])
{
    uint8_t hash[HASH_BYTES];

    crypto_generichash(hash, sizeof(hash), data, length, NULL, 0);
    return sodium_bin2hex(ret, HASH_TEXT_MAX, hash, sizeof(hash));
}
