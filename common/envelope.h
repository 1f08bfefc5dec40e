/* DSSE envelopes: a payload, its type, and signatures over both (DSSE 1.0.2; keyid decides nothing). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "key.h"

#define ENVELOPE_SIGNATURES_MAX 16
#define ENVELOPE_TYPE_MAX       64

/* The kinds of documents; the type on the wire is application/vnd.grivet.<kind>+json. */
enum envelope_kind {
    ENVELOPE_MANDATE,
    ENVELOPE_ORDER,
    ENVELOPE_ASK,
    ENVELOPE_ANSWER,
    ENVELOPE_HALT,
    ENVELOPE_HEAD,
    ENVELOPE_ACK,
    ENVELOPE_KINDS,
};

/* Largest payload of each kind: mandate 8 MiB, order, ask, head, ack, halt 64 KiB, answer 1 MiB. */
extern const size_t envelope_limit_bytes[ENVELOPE_KINDS];

/** envelope_kind_name() - "mandate", "order"... */
const char *envelope_kind_name(enum envelope_kind kind);

/**
 * struct envelope - payload bytes (with a NUL after their end) and signatures; the payload is checked as
 * bytes, and parsed only afterwards
 */
struct envelope {
    enum envelope_kind kind;
    uint8_t *payload;
    size_t payload_length;
    size_t n_signatures;
    uint8_t signatures[ENVELOPE_SIGNATURES_MAX][KEY_SIGNATURE_BYTES];
};

struct envelope *envelope_free(struct envelope *envelope);
DEFINE_CLEANUP(struct envelope *, envelope_free)

/** envelope_new() - copy @payload into a new envelope without signatures */
int envelope_new(struct envelope **ret, enum envelope_kind kind, const void *payload, size_t length,
                 struct error *error);

/**
 * envelope_parse() - read the JSON form
 * @kind: the only kind accepted
 * Unknown envelope fields are ignored, both base64 alphabets accepted (DSSE 1.0.2); size limits by kind.
 */
int envelope_parse(struct envelope **ret, const char *name, enum envelope_kind kind, const void *json,
                   size_t length, struct error *error);

/** envelope_format() - the JSON form as NUL-ended text, owned by the caller; NULL when out of memory */
char *envelope_format(const struct envelope *envelope);

/** envelope_sign() - add a signature; -EEXIST if this key has signed it already, -ENOSPC when full */
int envelope_sign(struct envelope *envelope, const struct secret_key *key, struct error *error);

/** envelope_is_signed_by() - is any of its signatures a valid one of @key? */
bool envelope_is_signed_by(const struct envelope *envelope, const struct public_key *key);

#define HASH_BYTES    32
#define HASH_TEXT_MAX 65
/** hash_text() - BLAKE2b-256 of @data as 64 lower-case hexadecimal digits and a NUL */
const char *hash_text(const void *data, size_t length, char ret[HASH_TEXT_MAX]);
