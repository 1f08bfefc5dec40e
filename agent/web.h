/*
 * HTTP requests from a libevent loop: libcurl's multi socket interface, driven by one event per socket and
 * one timer. Nothing comes from the environment: no proxy, no redirect, no netrc, http and https only.
 */
#pragma once

#include <curl/curl.h>
#include <event2/event.h>
#include <stdbool.h>

#include "common/error.h"

struct web;

/** web_new() - one pool of connections */
int web_new(struct web **ret, struct event_base *base, struct error *error);
/** web_free() - cancel every request of the pool first */
struct web *web_free(struct web *web);
DEFINE_CLEANUP(struct web *, web_free)

/**
 * struct web_request - one request; options of its own by curl_easy_setopt() on @easy before web_start()
 * @body: what came back, NUL-ended; NULL when empty
 * @limit_bytes: a longer answer fails (CURLE_WRITE_ERROR, @is_too_long)
 * @done: called once from the loop, never from within web_start(); owns the request from then on
 */
struct web_request {
    CURL *easy;
    struct web *web;
    struct curl_slist *headers;
    char *body;
    size_t length, limit_bytes;
    bool is_too_long;
    void (*done)(struct web_request *request, CURLcode code, void *context);
    void *context;
    char words[CURL_ERROR_SIZE];
};

int web_request_new(struct web_request **ret, const char *url, size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error);
/** web_request_free() - cancels it when it is under way */
struct web_request *web_request_free(struct web_request *request);
DEFINE_CLEANUP(struct web_request *, web_request_free)

int web_start(struct web *web, struct web_request *request, struct error *error);

/** web_status() - HTTP status, 0 = no answer */
long web_status(const struct web_request *request);
/** web_error() - the words of a failed request: curl's, or what the status says. Return: -EIO */
int web_error(const struct web_request *request, CURLcode code, struct error *error);
