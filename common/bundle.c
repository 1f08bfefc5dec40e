/* Raw payloads and signatures in a sealed memfd: see bundle.h. */
#include "bundle.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io.h"

#define BUNDLE_MAGIC "GVB1"

struct bundle_head {
    char magic[4];
    uint32_t count;
};

struct document_head {
    uint32_t kind, payload_length, n_signatures;
};

/* A reader that knows where the bytes end. */
struct cursor {
    const char *next;
    size_t left;
};

void bundle_clear(struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++)
        envelope_free(bundle->documents[i]);
    *bundle = (struct bundle){0};
}

static size_t document_bytes(const struct envelope *envelope)
{
    return sizeof(struct document_head) + envelope->n_signatures * KEY_SIGNATURE_BYTES +
           envelope->payload_length;
}

static char *put_bytes(char *next, const void *data, size_t length)
{
    return (char *)memcpy(next, data, length) + length;
}

static char *put_document(char *next, const struct envelope *envelope)
{
    struct document_head head = {htole32(envelope->kind), htole32(envelope->payload_length),
                                 htole32(envelope->n_signatures)};

    next = put_bytes(next, &head, sizeof(head));
    next = put_bytes(next, envelope->signatures, envelope->n_signatures * KEY_SIGNATURE_BYTES);
    return put_bytes(next, envelope->payload, envelope->payload_length);
}

int bundle_to_memfd(const struct envelope *const *documents, size_t count, struct error *error)
{
    struct bundle_head head = {BUNDLE_MAGIC, htole32(count)};
    _cleanup_free_ char *data = NULL;
    size_t length = sizeof(head);
    char *next;

    if (count > BUNDLE_DOCUMENTS_MAX)
        return error_set(error, E2BIG, "bundle: %zu documents; at most %d are taken", count,
                         BUNDLE_DOCUMENTS_MAX);
    for (size_t i = 0; i < count; i++)
        length += document_bytes(documents[i]);
    data = malloc(length);
    if (!data)
        return error_oom(error);
    next = put_bytes(data, &head, sizeof(head));
    for (size_t i = 0; i < count; i++)
        next = put_document(next, documents[i]);
    return io_memfd("grivet-bundle", data, length, error);
}

/* Return: where the @length bytes begin, NULL when there are fewer. */
static const char *take_bytes(struct cursor *cursor, size_t length)
{
    const char *taken = cursor->next;

    if (cursor->left < length)
        return NULL;
    cursor->next += length;
    cursor->left -= length;
    return taken;
}

static int take_document(struct cursor *cursor, enum envelope_kind wanted, struct envelope **ret,
                         struct error *error)
{
    const char *raw = take_bytes(cursor, sizeof(struct document_head)), *signatures, *payload;
    struct document_head head;
    int r;

    if (!raw)
        return error_set(error, EINVAL, "bundle: ends inside of the head of its %s",
                         envelope_kind_name(wanted));
    memcpy(&head, raw, sizeof(head));
    head.payload_length = le32toh(head.payload_length);
    head.n_signatures = le32toh(head.n_signatures);
    if (le32toh(head.kind) != wanted)
        return error_set(error, EINVAL, "bundle: holds another document than the %s expected",
                         envelope_kind_name(wanted));
    if (head.n_signatures > ENVELOPE_SIGNATURES_MAX || head.payload_length > envelope_limit_bytes[wanted])
        return error_set(error, E2BIG, "bundle: its %s is over the limits", envelope_kind_name(wanted));
    signatures = take_bytes(cursor, head.n_signatures * KEY_SIGNATURE_BYTES);
    payload = signatures ? take_bytes(cursor, head.payload_length) : NULL;
    if (!payload)
        return error_set(error, EINVAL, "bundle: ends inside of its %s", envelope_kind_name(wanted));
    r = envelope_new(ret, wanted, payload, head.payload_length, error);
    if (r < 0)
        return r;
    memcpy((*ret)->signatures, signatures, head.n_signatures * KEY_SIGNATURE_BYTES);
    (*ret)->n_signatures = head.n_signatures;
    return 0;
}

static int take_bundle(struct bundle *bundle, struct cursor cursor, const enum envelope_kind *kinds,
                       size_t count, struct error *error)
{
    const char *raw = take_bytes(&cursor, sizeof(struct bundle_head));
    struct bundle_head head;
    int r = 0;

    if (!raw || memcmp(raw, BUNDLE_MAGIC, 4) != 0)
        return error_set(error, EINVAL, "bundle: does not begin with " BUNDLE_MAGIC);
    memcpy(&head, raw, sizeof(head));
    if (le32toh(head.count) != count)
        return error_set(error, EINVAL, "bundle: %u documents; expected %zu", le32toh(head.count), count);
    while (r == 0 && bundle->count < count) {
        r = take_document(&cursor, kinds[bundle->count], &bundle->documents[bundle->count], error);
        bundle->count += r == 0;
    }
    if (r == 0 && cursor.left)
        r = error_set(error, EINVAL, "bundle: %zu bytes after its end", cursor.left);
    return r;
}

int bundle_from_memfd(struct bundle *ret, int fd, const enum envelope_kind *kinds, size_t count,
                      struct error *error)
{
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    _cleanup_free_ char *data = NULL;
    size_t length, limit = sizeof(struct bundle_head);
    int r;

    for (size_t i = 0; i < count; i++)
        limit += sizeof(struct document_head) + sizeof(bundle.documents[0]->signatures) +
                 envelope_limit_bytes[kinds[i]];
    r = io_memfd_read(fd, limit, &data, &length, error);
    if (r == 0)
        r = take_bundle(&bundle, (struct cursor){data, length}, kinds, count, error);
    if (r < 0)
        return r;
    *ret = bundle;
    bundle = (struct bundle){0};
    return 0;
}
