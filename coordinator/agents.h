/* Requests of agents (poll.c, join.c) and of those who let them in (tokens.c): rows of the table in serve.c.
 */
#pragma once

#include "coordinator.h"

void poll_handle(void *context, struct http_request *request);
void poll_handle_time(void *context, struct http_request *request);
void poll_handle_answers(void *context, struct http_request *request);
void join_handle(void *context, struct http_request *request);
void join_handle_renew(void *context, struct http_request *request);
void tokens_handle_new(void *context, struct http_request *request);
void tokens_handle_list(void *context, struct http_request *request);
void tokens_handle_revoke(void *context, struct http_request *request);

#define TOKEN_ID_MAX   17
#define TOKEN_TEXT_MAX 96

/** struct token_wish - @labels: a map of strings, not empty: hosts that join with it must bear these */
struct token_wish {
    json_t *labels;
    int64_t expires_in_s, max_uses;
};
/** tokens_make() - store a new token (only its hash) and tell it, this once, in @ret_token */
int tokens_make(struct store *store, const struct token_wish *wish, const char *by, char ret_id[TOKEN_ID_MAX],
                char ret_token[TOKEN_TEXT_MAX], struct error *error);
/** tokens_use() - one use of @token for a host with @labels. Return: 0 or -EACCES with the reason */
int tokens_use(struct store *store, const char *token, const json_t *labels, struct error *error);
/** labels_check() - a map of names to short strings? */
int labels_check(const struct document *document, const struct node *labels, struct error *error);
