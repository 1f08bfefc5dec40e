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

#define TOKEN_TEXT_MAX 96

/** tokens_use() - one use of @token for a host with @labels. Return: 0 or -EACCES with the reason */
int tokens_use(struct store *store, const char *token, const json_t *labels, struct error *error);
/** labels_check() - a map of names to short strings? */
int labels_check(const struct document *document, const struct node *labels, struct error *error);
