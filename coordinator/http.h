/*
 * HTTPS for the coordinator, as narrow as its handlers need: libevent's bufferevents over OpenSSL stay behind
 * this header. A guard takes the head of every request apart and lets nothing ambiguous pass.
 */
#pragma once

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>

#include "common/error.h"

enum http_who {
    HTTP_ANYONE = 0,        /* no client certificate needed: join, halt */
    HTTP_AGENT = 1 << 0,    /* certificate with OU=agent */
    HTTP_OPERATOR = 1 << 1, /* certificate with OU=operator */
    HTTP_MEMBER = HTTP_AGENT | HTTP_OPERATOR,
};

struct http_connection;
struct coordinator;
struct store;

/**
 * struct http_request - what a handler is given, until its reply
 * @peer: CN of the client's certificate, NULL without one
 * @argument: the segment that the route's `@` matched, as sent; "" without
 * @query: what follows `?`, "" without
 * @body: NUL-ended
 */
struct http_request {
    struct http_connection *connection;
    const char *peer, *argument, *query;
    char *body;
    size_t length;
};

/**
 * struct http_route - one row of the table of requests
 * @path: "/v1/runs/@/report": an `@` stands for one segment
 * @body_max: larger bodies are refused with 413 before they are read
 * @is_storing: refused with 503 while nothing can be stored
 * @handle: replies now (http_reply*) or keeps the request and replies later: 0, or leaves it to the server to
 * reply with @error: -errno
 */
struct http_route {
    const char *method, *path;
    enum http_who who;
    size_t body_max;
    bool is_storing;
    int (*handle)(struct coordinator *coordinator, struct http_request *request, struct error *error);
};

struct http_server;

/**
 * http_server_new() - serve @routes, ended by a row without method; nobody is let in before
 * http_server_listen()
 * @folder: has PEM files: server.crt and server.key, and ca.crt for client certificates
 * @store: no answer leaves while something in it is pending
 */
int http_server_new(struct http_server **ret, struct event_base *base, const char *folder,
                    const struct http_route *routes, struct store *store, struct coordinator *coordinator,
                    struct error *error);
/** http_server_flush() - after each commit: send what was kept, or why it isn't true */
void http_server_flush(struct http_server *server);
/** http_server_listen() - also on @address, such as "0.0.0.0:8443" */
int http_server_listen(struct http_server *server, const char *address, struct error *error);
/** http_server_free() - answers 503 to every held request first */
struct http_server *http_server_free(struct http_server *server);
DEFINE_CLEANUP(struct http_server *, http_server_free)

/** http_query_integer() - ?@key=123, or @fallback */
int64_t http_query_integer(const struct http_request *request, const char *key, int64_t fallback);

/** http_reply_json() - takes over the reference to @body; the request is gone afterwards, in each of these */
void http_reply_json(struct http_request *request, int status, json_t *body);
void http_reply_text(struct http_request *request, const char *json); /* 200 */
/** http_reply_now() - 200, and waits for nothing: for what needs not be durable */
void http_reply_now(struct http_request *request, json_t *body);
/** http_reply_failure() - @error, with the status that belongs to its code */
void http_reply_failure(struct http_request *request, const struct error *error);

/** http_hold() - the reply comes later; @on_gone is called (once, then the request is gone) if the client
 * goes first */
void http_hold(struct http_request *request, void (*on_gone)(void *context), void *context);
