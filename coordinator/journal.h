/* The chains of the hosts: what is taken into the store, and what a signed head says about it. */
#pragma once

#include "run.h"

#define JOURNAL_BODY_MAX (1024 * 1024 + 4096)

/**
 * journal_ingest() - take lines of @host's chain, each exactly once
 * @ret_wanted: where the host has to go on, when the lines don't fit: after the last proof, where a head that
 * it signed contradicts what came
 * What fits before a fault is kept. Return: 0, -EINVAL for a line that can't be read, -EPROTO for a break in
 * the chain
 */
int journal_ingest(struct fleet_host *host, const char *lines, size_t length, int64_t *ret_wanted,
                   struct error *error);

/** journal_take_head() - an envelope that must be @host's own; old nonces are passed over */
int journal_take_head(struct fleet_host *host, const struct envelope *envelope, struct error *error);

void journal_handle_events(void *context, struct http_request *request);
