/*
 * The guard: reads the raw head of a request, line by line, and lets through only what can be read in one
 * way. There is no second parser behind it, so no two that could disagree
 * (docs/decisions/0002-own-request-head.md).
 */
#pragma once

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX    16384 /* bytes of request line and headers */
#define HTTP_HEADERS_MAX 64
#define HTTP_TARGET_MAX  512

/**
 * struct http_guard - one request head as far as it has come; all zero = at its start
 * @target: origin-form, path and query as sent
 * @status: what to answer when http_guard_take() refused, @why in words
 */
struct http_guard {
    bool has_request_line, has_host, has_length, is_closing, is_expecting;
    size_t taken, n_headers;
    char method[8];
    char target[HTTP_TARGET_MAX];
    size_t length;
    int status;
    const char *why;
};

/** http_guard_take() - take what is complete from @input. Return: 1 the head is whole, 0 more must come,
 * -EBADMSG */
int http_guard_take(struct http_guard *guard, struct evbuffer *input);
