/* What a handler may ask of its request. */
#include <stdlib.h>
#include <string.h>

#include "http-server.h"

const char *http_peer(const struct http_request *request)
{
    return request->connection->peer[0] ? request->connection->peer : NULL;
}

const char *http_argument(const struct http_request *request, size_t index)
{
    return index < HTTP_ARGUMENTS_MAX ? request->target.arguments[index] : NULL;
}

int64_t http_query_integer(const struct http_request *request, const char *key, int64_t fallback)
{
    size_t length = strlen(key);

    for (const char *at = request->target.query; *at; at += strcspn(at, "&"), at += *at == '&') {
        long long value;
        char *end;

        if (strncmp(at, key, length) != 0 || at[length] != '=')
            continue;
        value = strtoll(at + length + 1, &end, 10);
        return end > at + length + 1 && (*end == '&' || !*end) ? value : fallback;
    }
    return fallback;
}

const char *http_body(const struct http_request *request, size_t *ret_length)
{
    if (ret_length)
        *ret_length = request->length;
    return request->body;
}

void http_reply_json(struct http_request *request, int status, json_t *body)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;

    json_decref(body);
    if (text)
        http_reply_text(request, status, "application/json", text, strlen(text));
    else
        http_reply_error(request, 503, "out of memory");
    free(text);
}
