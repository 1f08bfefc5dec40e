/*
 * One connection: its states, its deadlines, and the replies. Every state but a handler's has a deadline for
 * the whole of it, so that a client who drips bytes gains nothing. A client that goes away, or sends more,
 * while its request is held loses the request: ours wait for an answer before they ask again.
 */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/tcp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http-server.h"

#define READ_MAX 32768

static const int state_seconds[HTTP_STATES] = {
    [HTTP_IDLE] = 60,    [HTTP_HEAD] = 10,    [HTTP_BODY] = 30,
    [HTTP_HANDLING] = 0, [HTTP_WRITING] = 60, [HTTP_LINGERING] = 2,
};

void http_connection_enter(struct http_connection *connection, enum http_state state)
{
    connection->state = state;
    if (state_seconds[state] > 0)
        event_add(connection->deadline, &(struct timeval){.tv_sec = state_seconds[state]});
    else
        event_del(connection->deadline);
}

static void connection_close(struct http_connection *connection)
{
    if (connection->on_gone)
        connection->on_gone(connection->gone_context);
    free(connection->request.body);
    LIST_REMOVE(connection, link);
    connection->server->n_connections--;
    if (connection->deadline)
        event_free(connection->deadline);
    if (connection->kept)
        evbuffer_free(connection->kept);
    bufferevent_free(connection->stream);
    free(connection);
}

void http_connection_turn_away(struct http_connection *connection)
{
    static const char answer[] = "HTTP/1.1 503 \r\nContent-Type: application/json\r\n"
                                 "Content-Length: 35\r\nConnection: close\r\n\r\n"
                                 "{\"error\": \"the server is stopping\"}";

    if (connection->state == HTTP_HANDLING)
        SSL_write(bufferevent_openssl_get_ssl(connection->stream), answer, sizeof(answer) - 1);
    connection_close(connection);
}

/* What follows on the connection can't be trusted, or is not wanted: say why and close. */
static void refuse(struct http_connection *connection, int status, const char *text)
{
    connection->is_closing = connection->is_lingering = true;
    http_respond(connection, status, json_pack("{s:s}", "error", text), true);
}

/* Who is at the other end, by a certificate of our own CA that TLS has verified; @ret: its CN */
static enum http_who find_peer(SSL *ssl, char ret[64])
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    X509_NAME *subject = certificate ? X509_get_subject_name(certificate) : NULL;
    char unit[16];

    if (!subject || SSL_get_verify_result(ssl) != X509_V_OK ||
        X509_NAME_get_text_by_NID(subject, NID_organizationalUnitName, unit, sizeof(unit)) <= 0 ||
        X509_NAME_get_text_by_NID(subject, NID_commonName, ret, 64) <= 0)
        return HTTP_ANYONE;
    return !strcmp(unit, "agent") ? HTTP_AGENT : !strcmp(unit, "operator") ? HTTP_OPERATOR : HTTP_ANYONE;
}

/* Does @path fit @pattern? Where its argument stands and how long it is: the length is 0 without one. */
static bool path_fits(const char *pattern, const char *path, size_t *ret_at, size_t *ret_length)
{
    size_t at = strcspn(pattern, "@");

    *ret_at = at;
    *ret_length = 0;
    if (strncmp(pattern, path, at) != 0 || !pattern[at])
        return strcmp(pattern, path) == 0;
    *ret_length = strcspn(path + at, "/");
    return *ret_length > 0 && strcmp(pattern + at + 1, path + at + *ret_length) == 0;
}

/* Takes @target apart in its place. Return: 0, or the status to refuse with */
static int find_route(struct http_connection *connection, char *target)
{
    const struct http_route *route = connection->server->routes;
    struct http_request *request = &connection->request;
    size_t at, length;
    int status = 404;

    request->query = target + strcspn(target, "?");
    if (*request->query)
        target[request->query++ - target] = '\0';
    for (; route->method; route++) {
        if (!path_fits(route->path, target, &at, &length))
            continue;
        status = 405;
        if (strcmp(route->method, connection->guard.method) != 0)
            continue;
        target[at + length] = '\0';
        request->argument = target + at;
        connection->route = route;
        return 0;
    }
    return status;
}

/* The head is whole: who asks, for what, and may they send so much? Nothing of the body was read for it. */
static void begin_request(struct http_connection *connection)
{
    enum http_who who = find_peer(bufferevent_openssl_get_ssl(connection->stream), connection->peer);
    struct http_guard *guard = &connection->guard;
    struct http_request *request = &connection->request;
    int status;

    connection->is_closing = guard->is_closing;
    *request = (struct http_request){connection, who == HTTP_ANYONE ? NULL : connection->peer};
    status = find_route(connection, guard->target);
    if (status == 405)
        return refuse(connection, 405, "this path does not take this method");
    if (status)
        return refuse(connection, 404, "no such path");
    if (connection->route->who && who == HTTP_ANYONE)
        return refuse(connection, 401, "this needs a client certificate");
    if (connection->route->who && !(who & connection->route->who))
        return refuse(connection, 403, "not with this client certificate");
    if (guard->length > connection->route->body_max)
        return refuse(connection, 413, "the body is too large");
    request->length = guard->length;
    request->body = calloc(1, request->length + 1);
    if (!request->body)
        return refuse(connection, 503, "out of memory");
    connection->received = 0;
    http_connection_enter(connection, HTTP_BODY);
    if (guard->is_expecting && request->length > 0)
        evbuffer_add_printf(bufferevent_get_output(connection->stream), "HTTP/1.1 100 Continue\r\n\r\n");
}

static void take_head(struct http_connection *connection, struct evbuffer *input)
{
    int r = http_guard_take(&connection->guard, input);

    if (r < 0)
        refuse(connection, connection->guard.status, connection->guard.why);
    else if (r > 0)
        begin_request(connection);
}

static void handle(struct http_connection *connection)
{
    struct http_server *server = connection->server;
    const char *failure = connection->route->is_storing ? store_failure(server->store) : NULL;
    struct error error = {.text = ""};
    int r;

    http_connection_enter(connection, HTTP_HANDLING);
    r = failure ? error_set(&error, EROFS, "%s", failure)
                : connection->route->handle(server->coordinator, &connection->request, &error);
    if (r < 0)
        http_reply_failure(&connection->request, &error);
}

static void take_body(struct http_connection *connection, struct evbuffer *input)
{
    struct http_request *request = &connection->request;
    int taken =
        evbuffer_remove(input, request->body + connection->received, request->length - connection->received);

    connection->received += taken > 0 ? (size_t)taken : 0;
    if (connection->received == request->length)
        handle(connection);
}

static void on_read(struct bufferevent *stream, void *context)
{
    struct http_connection *connection = context;
    struct evbuffer *input = bufferevent_get_input(stream);

    if (connection->state == HTTP_HANDLING) {
        connection_close(connection);
        return;
    }
    if (connection->state == HTTP_LINGERING)
        evbuffer_drain(input, evbuffer_get_length(input));
    if (connection->state == HTTP_IDLE && evbuffer_get_length(input) > 0) {
        connection->guard = (struct http_guard){.taken = 0};
        http_connection_enter(connection, HTTP_HEAD);
    }
    if (connection->state == HTTP_HEAD)
        take_head(connection, input);
    if (connection->state == HTTP_BODY)
        take_body(connection, input);
}

static void linger(struct http_connection *connection)
{
    http_connection_enter(connection, HTTP_LINGERING);
    SSL_shutdown(bufferevent_openssl_get_ssl(connection->stream));
    shutdown(bufferevent_getfd(connection->stream), SHUT_WR);
    on_read(connection->stream, connection);
}

static void on_written(struct bufferevent *stream, void *context)
{
    struct http_connection *connection = context;

    if (connection->state != HTTP_WRITING || evbuffer_get_length(bufferevent_get_output(stream)) > 0)
        return;
    if (connection->is_lingering) {
        linger(connection);
    } else if (connection->is_closing) {
        connection_close(connection);
    } else {
        http_connection_enter(connection, HTTP_IDLE);
        on_read(stream, connection);
    }
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        connection_close(context);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    connection_close(context);
}

static void set_options(int fd)
{
    static const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_KEEPALIVE, 1},   {IPPROTO_TCP, TCP_KEEPIDLE, 10},
        {IPPROTO_TCP, TCP_KEEPINTVL, 5}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_NODELAY, 1},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 30000},
    };

    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        (void)setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

/* With BEV_OPT_DEFER_CALLBACKS: a callback may free its connection. */
static struct bufferevent *stream_new(struct http_server *server, int fd)
{
    SSL *ssl = SSL_new(server->tls);
    struct bufferevent *stream;

    if (!ssl)
        return NULL;
    stream = bufferevent_openssl_socket_new(server->base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                            BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!stream)
        SSL_free(ssl);
    return stream;
}

void http_connection_open(struct http_server *server, int fd)
{
    struct http_connection *connection = NULL;
    struct bufferevent *stream = NULL;

    if (server->n_connections < HTTP_CONNECTIONS_MAX)
        connection = calloc(1, sizeof(*connection));
    if (connection)
        stream = stream_new(server, fd);
    if (!stream) {
        free(connection);
        close(fd);
        return;
    }
    set_options(fd);
    connection->server = server;
    connection->request.connection = connection;
    connection->stream = stream;
    LIST_INSERT_HEAD(&server->connections, connection, link);
    server->n_connections++;
    connection->deadline = evtimer_new(server->base, on_deadline, connection);
    connection->kept = evbuffer_new();
    if (!connection->deadline || !connection->kept) {
        connection_close(connection);
        return;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    bufferevent_setcb(stream, on_read, on_written, on_event, connection);
    bufferevent_setwatermark(stream, EV_READ, 0, READ_MAX);
    http_connection_enter(connection, HTTP_HEAD);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
}
