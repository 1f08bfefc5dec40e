/* What a handler may do with its request: ask it, keep it, answer it. */
#include <errno.h>
#include <string.h>

#include "http-server.h"

/* @is_urgent: see http_respond() */
static void respond(struct http_connection *connection, int status, const char *json, bool is_urgent)
{
    struct http_server *server = connection->server;
    struct evbuffer *to = bufferevent_get_output(connection->stream);

    connection->on_gone = NULL;
    free(TAKE_PTR(connection->request.body));
    connection->is_kept = !is_urgent && store_is_pending(server->store);
    if (connection->is_kept)
        to = connection->kept;
    else
        http_connection_enter(connection, HTTP_WRITING);
    evbuffer_add_printf(to,
                        "HTTP/1.1 %d \r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                        "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n%s\r\n",
                        status, strlen(json), connection->is_closing ? "Connection: close\r\n" : "");
    evbuffer_add(to, json, strlen(json));
}

void http_respond(struct http_connection *connection, int status, json_t *body, bool is_urgent)
{
    _cleanup_free_ char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    respond(connection, text ? status : 503, text ? text : "{\"error\": \"out of memory\"}", is_urgent);
}

void http_reply_text(struct http_request *request, const char *json)
{
    respond(request->connection, 200, json, false);
}

void http_reply_json(struct http_request *request, int status, json_t *body)
{
    http_respond(request->connection, status, body, false);
}

void http_reply_now(struct http_request *request, json_t *body)
{
    http_respond(request->connection, 200, body, true);
}

void http_reply_failure(struct http_request *request, const struct error *error)
{
    static const struct {
        int code, status;
    } statuses[] = {{EINVAL, 400}, {E2BIG, 400},       {EPERM, 403},  {EACCES, 403}, {EKEYREJECTED, 403},
                    {ENOENT, 404}, {EKEYEXPIRED, 403}, {EEXIST, 409}, {EBUSY, 409}};
    const char *why = error->code == EROFS ? "nothing can be stored now, only halts are taken: " : "";
    int status = 503;

    for (size_t i = 0; i < ARRAY_SIZE(statuses); i++)
        if (statuses[i].code == error->code)
            status = statuses[i].status;
    http_reply_json(request, status, json_pack("{s:s+}", "error", why, error->text));
}

void http_server_flush(struct http_server *server)
{
    const char *failure = store_failure(server->store);
    struct http_connection *at;
    struct error error;

    LIST_FOREACH(at, &server->connections, link)
    {
        if (!at->is_kept)
            continue;
        at->is_kept = false;
        if (failure) {
            evbuffer_drain(at->kept, evbuffer_get_length(at->kept));
            error_set(&error, EROFS, "%s", failure);
            http_reply_failure(&at->request, &error);
        } else {
            http_connection_enter(at, HTTP_WRITING);
            evbuffer_add_buffer(bufferevent_get_output(at->stream), at->kept);
        }
    }
}

void http_hold(struct http_request *request, void (*on_gone)(void *context), void *context)
{
    request->connection->on_gone = on_gone;
    request->connection->gone_context = context;
}

int64_t http_query_integer(const struct http_request *request, const char *key, int64_t fallback)
{
    size_t length = strlen(key);

    for (const char *at = request->query; *at; at += strcspn(at, "&"), at += *at == '&') {
        char *end;
        long long value;

        if (strncmp(at, key, length) != 0 || at[length] != '=')
            continue;
        value = strtoll(at + length + 1, &end, 10);
        return end > at + length + 1 && (*end == '&' || !*end) ? value : fallback;
    }
    return fallback;
}
