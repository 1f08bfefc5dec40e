/* Inside the server: connections and the one request that each may have. */
#pragma once

#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <openssl/ssl.h>
#include <sys/queue.h>

#include "http-guard.h"
#include "http.h"
#include "store.h"

#define HTTP_CONNECTIONS_MAX 20000
#define HTTP_LISTENERS_MAX   8

enum http_state {
    HTTP_IDLE, /* kept alive, nothing of the next request yet */
    HTTP_HEAD, /* handshake, then the head */
    HTTP_BODY,
    HTTP_HANDLING, /* a handler has the request, maybe holds it */
    HTTP_WRITING,
    HTTP_LINGERING, /* refused: let the client read why before the connection is reset */
    HTTP_STATES,
};

struct http_connection {
    struct http_server *server;
    LIST_ENTRY(http_connection) link;
    struct bufferevent *stream;
    struct event *deadline;
    enum http_state state;
    bool is_closing, is_lingering;
    struct http_guard guard;
    char peer[64];
    const struct http_route *route;
    struct http_request request;
    size_t received; /* of its body */
    bool is_kept;    /* the answer is, in @kept, until http_server_flush() */
    struct evbuffer *kept;
    void (*on_gone)(void *context);
    void *gone_context;
};

struct http_server {
    struct event_base *base;
    SSL_CTX *tls;
    const struct http_route *routes;
    struct store *store;
    struct coordinator *coordinator;
    struct evconnlistener *listeners[HTTP_LISTENERS_MAX];
    size_t n_listeners, n_connections;
    struct event *resume; /* accepts again after the descriptors ran out */
    LIST_HEAD(, http_connection) connections;
};

/** http_connection_open() - takes over @fd */
void http_connection_open(struct http_server *server, int fd);
void http_connection_enter(struct http_connection *connection, enum http_state state);
/** http_respond() - takes over @body; @is_urgent: it promises nothing that has to be durable first */
void http_respond(struct http_connection *connection, int status, json_t *body, bool is_urgent);
/** http_connection_turn_away() - 503 at once, past the loop, and close: the process is ending */
void http_connection_turn_away(struct http_connection *connection);
