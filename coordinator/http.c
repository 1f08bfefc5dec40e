/* The server: listens, and ends. What happens on a connection is in http-connection.c. */
#include "http.h"

#include <errno.h>
#include <string.h>

#include "http-server.h"

#define ACCEPT_PAUSE_MSEC 200

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

static int server_listen(struct http_server *server, const char *text, struct error *error)
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

int http_server_new(struct http_server **ret, struct event_base *base, const char *const *addresses,
                    const struct http_tls *tls, const struct http_route *routes, void *context,
                    struct error *error)
{
    _cleanup_(http_server_freep) struct http_server *server = calloc(1, sizeof(*server));
    int r;

    if (!server)
        return error_oom(error);
    server->base = base;
    server->routes = routes;
    server->context = context;
    server->resume = evtimer_new(base, on_resume, server);
    if (!server->resume)
        return error_oom(error);
    r = http_tls_new(&server->tls, tls, error);
    for (; r == 0 && *addresses; addresses++)
        r = server_listen(server, *addresses, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(server);
    return 0;
}

struct http_server *http_server_free(struct http_server *server)
{
    if (!server)
        return NULL;
    for (size_t i = 0; i < server->n_listeners; i++)
        evconnlistener_free(server->listeners[i]);
    while (server->connections)
        http_connection_turn_away(server->connections);
    if (server->resume)
        event_free(server->resume);
    SSL_CTX_free(server->tls);
    free(server);
    return NULL;
}
