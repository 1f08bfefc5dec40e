/* Raw payloads and signatures in a sealed memfd: see bundle.h. */
#include "bundle.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "io.h"

#define BUNDLE_MAGIC "GVB2"

/* In the machine's own byte order: a memfd does not leave it. The payloads follow. */
struct bundle_head {
    char magic[4];
    uint32_t count;
    struct document_head {
        uint32_t kind, payload_length, n_signatures;
        uint8_t signatures[ENVELOPE_SIGNATURES_MAX][KEY_SIGNATURE_BYTES];
    } documents[BUNDLE_DOCUMENTS_MAX];
};

void bundle_clear(struct bundle *bundle)
{
    for (size_t i = 0; i < bundle->count; i++)
        envelope_free(bundle->documents[i]);
    *bundle = (struct bundle){0};
}

int bundle_to_memfd(const struct envelope *const *documents, size_t count, struct error *error)
{
    struct bundle_head head = {BUNDLE_MAGIC, count, {{0}}};
    _cleanup_free_ char *data = NULL;
    size_t length = sizeof(head);

    if (count > BUNDLE_DOCUMENTS_MAX)
        return error_set(error, E2BIG, "bundle: %zu documents; at most %d are taken", count,
                         BUNDLE_DOCUMENTS_MAX);
    for (size_t i = 0; i < count; i++)
        length += documents[i]->payload_length;
    data = malloc(length);
    if (!data)
        return error_oom(error);
    length = sizeof(head);
    for (size_t i = 0; i < count; i++) {
        const struct envelope *envelope = documents[i];

        head.documents[i] = (struct document_head){
            .kind = envelope->kind,
            .payload_length = envelope->payload_length,
            .n_signatures = envelope->n_signatures,
        };
        memcpy(head.documents[i].signatures, envelope->signatures, sizeof(envelope->signatures));
        memcpy(data + length, envelope->payload, envelope->payload_length);
        length += envelope->payload_length;
    }
    memcpy(data, &head, sizeof(head));
    return io_memfd("grivet-bundle", data, length, error);
}

/* @payload: @left bytes, of which the document has those that @head says */
static int take_document(struct envelope **ret, const struct document_head *head, enum envelope_kind wanted,
                         const char *payload, size_t left, struct error *error)
{
    const char *kind = envelope_kind_name(wanted);
    int r;

    if (head->kind != wanted)
        return error_set(error, EINVAL, "bundle: holds another document than the %s expected", kind);
    if (head->n_signatures > ENVELOPE_SIGNATURES_MAX || head->payload_length > envelope_limit_bytes[wanted])
        return error_set(error, E2BIG, "bundle: its %s is over the limits", kind);
    if (head->payload_length > left)
        return error_set(error, EINVAL, "bundle: ends inside of its %s", kind);
    r = envelope_new(ret, wanted, payload, head->payload_length, error);
    if (r < 0)
        return r;
    memcpy((*ret)->signatures, head->signatures, sizeof(head->signatures));
    (*ret)->n_signatures = head->n_signatures;
    return 0;
}

static int take_bundle(struct bundle *bundle, const char *data, size_t length,
                       const enum envelope_kind *kinds, size_t count, struct error *error)
{
    struct bundle_head head;
    size_t at = sizeof(head);
    int r = 0;

    if (length < sizeof(head) || memcmp(data, BUNDLE_MAGIC, sizeof(head.magic)) != 0)
        return error_set(error, EINVAL, "bundle: does not begin with the head of a bundle");
    memcpy(&head, data, sizeof(head));
    if (head.count != count)
        return error_set(error, EINVAL, "bundle: %u documents; expected %zu", head.count, count);
    for (size_t i = 0; i < count && r == 0; i++) {
        r = take_document(&bundle->documents[i], &head.documents[i], kinds[i], data + at, length - at, error);
        at += head.documents[i].payload_length;
        bundle->count += r == 0;
    }
    if (r == 0 && at < length)
        r = error_set(error, EINVAL, "bundle: %zu bytes after its end", length - at);
    return r;
}

int bundle_from_memfd(struct bundle *ret, int fd, const enum envelope_kind *kinds, size_t count,
                      struct error *error)
{
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    size_t length, limit = sizeof(struct bundle_head);
    _cleanup_free_ char *data = NULL;
    int r;

    for (size_t i = 0; i < count; i++)
        limit += envelope_limit_bytes[kinds[i]];
    r = io_memfd_read(fd, limit, &data, &length, error);
    if (r == 0)
        r = take_bundle(&bundle, data, length, kinds, count, error);
    if (r < 0)
        return r;
    *ret = bundle;
    bundle = (struct bundle){0};
    return 0;
}
