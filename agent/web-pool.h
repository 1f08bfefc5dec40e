/* HTTP requests from a libevent loop: libcurl's multi socket interface, driven by one event per socket and
 * one timer. */
#pragma once

#include <event2/event.h>

#include "common/web.h"

struct web_pool;

/** web_pool_new() - one pool of connections */
int web_pool_new(struct web_pool **ret, struct event_base *base, struct error *error);
/** web_pool_free() - free every request of the pool first */
struct web_pool *web_pool_free(struct web_pool *pool);
DEFINE_CLEANUP(struct web_pool *, web_pool_free)

/**
 * struct web_request - one request; further options by web_call_...() before web_request_start()
 * @done: called once from the loop, never from within web_request_start(); owns the request from then on
 */
struct web_request {
    struct web_call call;
    struct web_pool *pool;
    void (*done)(struct web_request *request, CURLcode code, void *context);
    void *context;
};

int web_request_new(struct web_request **ret, const char *url, size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error);
int web_request_start(struct web_request *request, struct web_pool *pool, struct error *error);
/** web_request_free() - cancels it when it is under way */
struct web_request *web_request_free(struct web_request *request);
DEFINE_CLEANUP(struct web_request *, web_request_free)
