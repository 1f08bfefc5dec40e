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

static int parse_signatures(struct envelope *envelope, const struct document *document,
                            const struct node *list, struct error *error)
{
    if (list->count > ENVELOPE_SIGNATURES_MAX)
        return node_error(document, list, error, "%zu signatures; at most %d are taken", list->count,
                          ENVELOPE_SIGNATURES_MAX);
    for (const struct node *node = list->first; node; node = node->next) {
        const char *text = node_string(node, "sig");

        if (!text || base64_decode_exactly(text, envelope->signatures[envelope->n_signatures],
                                           KEY_SIGNATURE_BYTES) < 0)
            return node_error(document, node, error, "expected 'sig', 64 bytes in base64");
        envelope->n_signatures++;
    }
    return 0;
}

static int parse_payload(struct envelope **ret, const struct document *document, enum envelope_kind kind,
                         struct error *error)
{
    const struct node *root = document_root(document);
    const char *type = node_string(root, "payloadType"), *text = node_string(root, "payload");
    _cleanup_free_ uint8_t *payload = NULL;
    char wanted[ENVELOPE_TYPE_MAX];
    size_t length;
    int r;

    if (!type || strcmp(type, envelope_type(kind, wanted)) != 0)
        return node_error(document, root, error, "payloadType is '%.80s'; expected %s", type ? type : "",
                          envelope_type(kind, wanted));
    r = text ? base64_decode(text, &payload, &length) : -EINVAL;
    if (r == -ENOMEM)
        return error_oom(error);
    if (r < 0)
        return node_error(document, root, error, "'payload' is not in base64");
    return envelope_make(ret, kind, &payload, length, error);
}

int envelope_parse(struct envelope **ret, const char *name, enum envelope_kind kind, const void *json,
                   size_t length, struct error *error)
{
    size_t limit = envelope_limit_bytes[kind] / 3 * 4 + ENVELOPE_FRAME_BYTES_MAX;
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    const struct node *signatures;
    int r;

    if (length > limit)
        return error_set(error, E2BIG, "%s: %zu bytes; at most %zu are taken", name, length, limit);
    r = document_parse_json(&document, name, json, length, error);
    if (r == 0)
        r = parse_payload(&envelope, document, kind, error);
    if (r < 0)
        return r;
    signatures = node_get(document_root(document), "signatures");
    if (!signatures || signatures->type != DOCUMENT_LIST)
        return node_error(document, document_root(document), error, "expected a list 'signatures'");
    r = parse_signatures(envelope, document, signatures, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(envelope);
    return 0;
}

static int append_signature(json_t *list, const uint8_t *signature)
{
    _cleanup_free_ char *text = base64_encode(signature, KEY_SIGNATURE_BYTES);

    return text ? json_array_append_new(list, json_pack("{s:s}", "sig", text)) : -1;
}

char *envelope_format(const struct envelope *envelope)
{
    _cleanup_free_ char *payload = base64_encode(envelope->payload, envelope->payload_length);
    json_t *signatures = json_array(), *json;
    char type[ENVELOPE_TYPE_MAX], *text;
    int r = payload && signatures ? 0 : -1;

    for (size_t i = 0; i < envelope->n_signatures && r == 0; i++)
        r = append_signature(signatures, envelope->signatures[i]);
    if (r < 0) {
        json_decref(signatures);
        return NULL;
    }
    json = json_pack("{s:s, s:s, s:o}", "payload", payload, "payloadType",
                     envelope_type(envelope->kind, type), "signatures", signatures);
    text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
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
