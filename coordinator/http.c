/* The server: TLS, listening, ending. What happens on a connection is in http-connection.c. */
#include "http.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>

#include "http-server.h"

#define ACCEPT_PAUSE_MSEC 200

DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)

/* TLS 1.3 only; a client certificate may be missing, but not wrong: each route says whom it wants. */
static int tls_new(SSL_CTX **ret, const char *folder, struct error *error)
{
    _cleanup_(SSL_CTX_freep) SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    char certificate[4096], key[4096], ca[4096], reason[200];
    const char *at;

    if (!context)
        return error_oom(error);
    snprintf(certificate, sizeof(certificate), "%s/server.crt", folder);
    snprintf(key, sizeof(key), "%s/server.key", folder);
    snprintf(ca, sizeof(ca), "%s/ca.crt", folder);
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0); /* a resumed session would outlive its certificate */
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(context, 1);
    if (SSL_CTX_use_certificate_chain_file(context, at = certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, at = key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1 ||
        SSL_CTX_load_verify_locations(context, at = ca, NULL) != 1) {
        ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
        ERR_clear_error();
        return error_set(error, EINVAL, "%s: %s", at, reason);
    }
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(ca));
    *ret = TAKE_PTR(context);
    return 0;
}

static void set_listening(struct http_server *server, bool is_on)
{
    for (size_t i = 0; i < server->n_listeners; i++)
        (is_on ? evconnlistener_enable : evconnlistener_disable)(server->listeners[i]);
}

static void on_resume(evutil_socket_t fd, short what, void *context)
{
    set_listening(context, true);
}

/* Out of descriptors or memory: a listener left on would spin. */
static void on_accept_error(struct evconnlistener *listener, void *context)
{
    struct http_server *server = context;

    set_listening(server, false);
    event_add(server->resume, &(struct timeval){.tv_usec = ACCEPT_PAUSE_MSEC * 1000});
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *context)
{
    http_connection_open(context, fd);
}

int http_server_listen(struct http_server *server, const char *text, struct error *error)
{
    struct sockaddr_storage address;
    int length = sizeof(address);
    struct evconnlistener *listener;

    if (server->n_listeners == HTTP_LISTENERS_MAX)
        return error_set(error, E2BIG, "listen: at most %d addresses", HTTP_LISTENERS_MAX);
    if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&address, &length) < 0)
        return error_set(error, EINVAL, "listen: %s: expected address:port", text);
    listener = evconnlistener_new_bind(server->base, on_accept, server,
                                       LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                       4096, (struct sockaddr *)&address, length);
    if (!listener)
        return error_errno(error, errno, "listen: %s", text);
    evconnlistener_set_error_cb(listener, on_accept_error);
    server->listeners[server->n_listeners++] = listener;
    return 0;
}

int http_server_new(struct http_server **ret, struct event_base *base, const char *folder,
                    const struct http_route *routes, struct store *store, struct coordinator *coordinator,
                    struct error *error)
{
    _cleanup_(http_server_freep) struct http_server *server = calloc(1, sizeof(*server));
    int r;

    if (!server)
        return error_oom(error);
    server->base = base;
    server->routes = routes;
    server->store = store;
    server->coordinator = coordinator;
    server->resume = evtimer_new(base, on_resume, server);
    if (!server->resume)
        return error_oom(error);
    r = tls_new(&server->tls, folder, error);
    if (r == 0)
        *ret = TAKE_PTR(server);
    return r;
}

struct http_server *http_server_free(struct http_server *server)
{
    if (!server)
        return NULL;
    for (size_t i = 0; i < server->n_listeners; i++)
        evconnlistener_free(server->listeners[i]);
    while (!LIST_EMPTY(&server->connections))
        http_connection_turn_away(LIST_FIRST(&server->connections));
    if (server->resume)
        event_free(server->resume);
    SSL_CTX_free(server->tls);
    free(server);
    return NULL;
}
