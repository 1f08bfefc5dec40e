/*
 * One connection: its states, its deadlines, and the replies. Every state but a handler's has a deadline for
 * the whole of it, so that a client who drips bytes gains nothing. A client that goes away, or sends more,
 * while its request is held loses the request: ours wait for an answer before they ask again.
 */
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "http-server.h"

#define READ_MAX 32768

static const int state_seconds[HTTP_STATES] = {
    [HTTP_IDLE] = 60,    [HTTP_HEAD] = 10,    [HTTP_BODY] = 30,
    [HTTP_HANDLING] = 0, [HTTP_WRITING] = 60, [HTTP_LINGERING] = 2,
};

static struct http_request *request_free(struct http_request *request)
{
    if (!request)
        return NULL;
    http_target_clear(&request->target);
    free(request->body);
    free(request);
    return NULL;
}

static void enter(struct http_connection *connection, enum http_state state)
{
    connection->state = state;
    if (state_seconds[state] > 0)
        event_add(connection->deadline, &(struct timeval){.tv_sec = state_seconds[state]});
    else
        event_del(connection->deadline);
}

void http_connection_close(struct http_connection *connection)
{
    struct http_request *request = TAKE_PTR(connection->request);

    if (request && request->on_gone)
        request->on_gone(request->gone_context);
    request_free(request);
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    connection->server->n_connections--;
    if (connection->deadline)
        event_free(connection->deadline);
    bufferevent_free(connection->stream);
    free(connection);
}

void http_connection_turn_away(struct http_connection *connection)
{
    static const char answer[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
                                 "Content-Length: 35\r\nConnection: close\r\n\r\n"
                                 "{\"error\": \"the server is stopping\"}";

    if (connection->state == HTTP_HANDLING)
        SSL_write(bufferevent_openssl_get_ssl(connection->stream), answer, sizeof(answer) - 1);
    http_connection_close(connection);
}

static const char *status_phrase(int status)
{
    static const struct {
        int status;
        const char *phrase;
    } phrases[] = {{200, "OK"},
                   {400, "Bad Request"},
                   {401, "Unauthorized"},
                   {403, "Forbidden"},
                   {404, "Not Found"},
                   {405, "Method Not Allowed"},
                   {409, "Conflict"},
                   {413, "Content Too Large"},
                   {417, "Expectation Failed"},
                   {500, "Internal Server Error"},
                   {503, "Service Unavailable"}};

    for (size_t i = 0; i < ARRAY_SIZE(phrases); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "-";
}

static void respond(struct http_connection *connection, int status, const char *type, const char *body,
                    size_t length)
{
    struct evbuffer *output = bufferevent_get_output(connection->stream);

    connection->request = request_free(connection->request);
    enter(connection, HTTP_WRITING);
    evbuffer_add_printf(
        output,
        "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\n%s\r\n",
        status, status_phrase(status), type, length, connection->is_closing ? "Connection: close\r\n" : "");
    evbuffer_add(output, body, length);
}

static void respond_error(struct http_connection *connection, int status, const char *text)
{
    json_t *body = json_pack("{s:s}", "error", text);
    char *dump = body ? json_dumps(body, 0) : NULL;

    respond(connection, status, "application/json", dump ? dump : "{}", dump ? strlen(dump) : 2);
    free(dump);
    json_decref(body);
}

/* What follows on the connection can't be trusted, or is not wanted: say why and close. */
static void refuse(struct http_connection *connection, int status, const char *text)
{
    connection->is_closing = connection->is_lingering = true;
    respond_error(connection, status, text);
}

static bool is_welcome(const struct http_connection *connection, enum http_who wanted)
{
    return wanted == HTTP_ANYONE || connection->who == wanted ||
           (wanted == HTTP_MEMBER && connection->who != HTTP_ANYONE);
}

static int find_request(struct http_connection *connection, struct http_request *request)
{
    struct http_guard *guard = &connection->guard;
    int r = http_route_find(connection->server->routes, guard->method, guard->target, &request->route,
                            &request->target);

    if (r < 0) {
        if (r == -EOPNOTSUPP)
            refuse(connection, 405, "this path does not take this method");
        else
            refuse(connection, 404, "no such path");
        return r;
    }
    if (!is_welcome(connection, request->route->who)) {
        refuse(connection, connection->who == HTTP_ANYONE ? 401 : 403,
               connection->who == HTTP_ANYONE ? "this needs a client certificate"
                                              : "not with this client certificate");
        return -EPERM;
    }
    if (guard->length > request->route->body_max) {
        refuse(connection, 413, "the body is too large");
        return -E2BIG;
    }
    return 0;
}

/* The head is whole: who asks, for what, and may they send so much? Nothing of the body was read for it. */
static void begin_request(struct http_connection *connection)
{
    struct http_request *request = calloc(1, sizeof(*request));

    connection->who = http_tls_peer(bufferevent_openssl_get_ssl(connection->stream), connection->peer);
    connection->is_closing = connection->guard.is_closing;
    if (!request) {
        refuse(connection, 503, "out of memory");
        return;
    }
    request->connection = connection;
    request->length = connection->guard.length;
    if (find_request(connection, request) < 0) {
        request_free(request);
        return;
    }
    request->body = malloc(request->length + 1);
    if (!request->body) {
        request_free(request);
        refuse(connection, 503, "out of memory");
        return;
    }
    connection->request = request;
    enter(connection, HTTP_BODY);
    if (connection->guard.is_expecting && request->length > 0)
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

static void take_body(struct http_connection *connection, struct evbuffer *input)
{
    struct http_request *request = connection->request;
    int taken =
        evbuffer_remove(input, request->body + request->received, request->length - request->received);

    request->received += taken > 0 ? (size_t)taken : 0;
    if (request->received < request->length)
        return;
    request->body[request->length] = '\0';
    enter(connection, HTTP_HANDLING);
    request->route->handle(connection->server->context, request);
}

static void on_read(struct bufferevent *stream, void *context)
{
    struct http_connection *connection = context;
    struct evbuffer *input = bufferevent_get_input(stream);

    if (connection->state == HTTP_HANDLING) {
        http_connection_close(connection);
        return;
    }
    if (connection->state == HTTP_LINGERING)
        evbuffer_drain(input, evbuffer_get_length(input));
    if (connection->state == HTTP_IDLE && evbuffer_get_length(input) > 0) {
        connection->guard = (struct http_guard){.taken = 0};
        enter(connection, HTTP_HEAD);
    }
    if (connection->state == HTTP_HEAD)
        take_head(connection, input);
    if (connection->state == HTTP_BODY)
        take_body(connection, input);
}

static void linger(struct http_connection *connection)
{
    enter(connection, HTTP_LINGERING);
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
        http_connection_close(connection);
    } else {
        enter(connection, HTTP_IDLE);
        on_read(stream, connection);
    }
}

static void on_event(struct bufferevent *stream, short what, void *context)
{
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR))
        http_connection_close(context);
}

static void on_deadline(evutil_socket_t fd, short what, void *context)
{
    http_connection_close(context);
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
    connection->stream = stream;
    connection->next = server->connections;
    connection->link = &server->connections;
    if (connection->next)
        connection->next->link = &connection->next;
    server->connections = connection;
    server->n_connections++;
    connection->deadline = evtimer_new(server->base, on_deadline, connection);
    if (!connection->deadline) {
        http_connection_close(connection);
        return;
    }
    bufferevent_openssl_set_allow_dirty_shutdown(stream, 1);
    bufferevent_setcb(stream, on_read, on_written, on_event, connection);
    bufferevent_setwatermark(stream, EV_READ, 0, READ_MAX);
    enter(connection, HTTP_HEAD);
    bufferevent_enable(stream, EV_READ | EV_WRITE);
}

void http_reply_text(struct http_request *request, int status, const char *type, const char *body,
                     size_t length)
{
    respond(request->connection, status, type, body, length);
}

void http_reply_error(struct http_request *request, int status, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    respond_error(request->connection, status, text);
}

void http_hold(struct http_request *request, void (*on_gone)(void *context), void *context)
{
    request->on_gone = on_gone;
    request->gone_context = context;
}
