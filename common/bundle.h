/*
 * Documents on their way from the courier to the executor: raw payloads with raw signatures, no base64, no
 * JSON around them, in a sealed memfd. The privileged side verifies bytes before it parses anything.
 */
#pragma once

#include "envelope.h"

#define BUNDLE_DOCUMENTS_MAX 2

struct bundle {
    size_t count;
    struct envelope *documents[BUNDLE_DOCUMENTS_MAX];
};

void bundle_clear(struct bundle *bundle);

/** bundle_to_memfd() - Return: a sealed memfd (F_SEAL_WRITE|SHRINK|GROW|SEAL, O_CLOEXEC) or -errno */
int bundle_to_memfd(const struct envelope *const *documents, size_t count, struct error *error);

/**
 * bundle_from_memfd() - read what bundle_to_memfd() made, trusting nothing
 * @kinds: the kinds expected, in order, @count of them
 * Refuses an fd that is no memfd or lacks a seal, other kinds, sizes over the limits, and trailing bytes.
 */
int bundle_from_memfd(struct bundle *ret, int fd, const enum envelope_kind *kinds, size_t count,
                      struct error *error);
