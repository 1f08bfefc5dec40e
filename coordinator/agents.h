/* Requests of agents (poll.c, journal.c, join.c) and of those who let them in (tokens.c): rows of the table
 * in serve.c. */
#pragma once

#include "run.h"

int poll_handle(struct coordinator *coordinator, struct http_request *request, struct error *error);
int poll_handle_time(struct coordinator *coordinator, struct http_request *request, struct error *error);
int poll_handle_answers(struct coordinator *coordinator, struct http_request *request, struct error *error);
int journal_handle_events(struct coordinator *coordinator, struct http_request *request, struct error *error);
int join_handle(struct coordinator *coordinator, struct http_request *request, struct error *error);
int join_handle_renew(struct coordinator *coordinator, struct http_request *request, struct error *error);
int tokens_handle_new(struct coordinator *coordinator, struct http_request *request, struct error *error);
int tokens_handle_list(struct coordinator *coordinator, struct http_request *request, struct error *error);
int tokens_handle_revoke(struct coordinator *coordinator, struct http_request *request, struct error *error);

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

#define TOKEN_TEXT_MAX 96
#define TOKEN_ID_MAX   17

/** tokens_check() - may a host with @labels join by @token? @ret_id: for tokens_use(). Return: 0 or -EACCES
 * with the reason */
int tokens_check(struct store *store, const char *token, const json_t *labels, char ret_id[TOKEN_ID_MAX],
                 struct error *error);
/** tokens_use() - one use less of what was checked in this turn */
int tokens_use(struct store *store, const char *id, struct error *error);
/** labels_check() - a map of names to short strings? */
int labels_check(const struct document *document, const struct node *labels, struct error *error);
