/* Request heads, strictly: RFC 9112 without what our clients never send. Anything else is an attack or a
 * mistake. */
#include "http-guard.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/cleanup.h"

static int guard_refuse(struct http_guard *guard, int status, const char *why)
{
    guard->status = status;
    guard->why = why;
    return -EBADMSG;
}

static bool is_token(const char *text, size_t length)
{
    static const char allowed[] =
        "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    for (size_t i = 0; i < length; i++)
        if (!text[i] || !strchr(allowed, text[i]))
            return false;
    return length > 0;
}

static bool is_visible(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (text[i] <= ' ' || text[i] == 0x7f)
            return false;
    return true;
}

/* "METHOD SP /target SP HTTP/1.1": exactly two spaces; a char above 0x7f is negative here and so refused too.
 */
static int take_request_line(struct http_guard *guard, const char *line, size_t length)
{
    static const char version[] = " HTTP/1.1";
    const char *space = memchr(line, ' ', length);
    size_t tail = sizeof(version) - 1, method, target;

    if (!space || length < tail || memcmp(line + length - tail, version, tail) != 0)
        return guard_refuse(guard, 400, "not a request of HTTP/1.1");
    method = (size_t)(space - line);
    if (method >= sizeof(guard->method) || !is_token(line, method))
        return guard_refuse(guard, 400, "the method is no token");
    if (method + 1 + tail > length)
        return guard_refuse(guard, 400, "no target");
    target = length - tail - method - 1;
    if (target >= sizeof(guard->target))
        return guard_refuse(guard, 414, "the target is too long");
    if (target == 0 || space[1] != '/' || !is_visible(space + 1, target))
        return guard_refuse(guard, 400, "the target is not in origin-form");
    memcpy(guard->method, line, method);
    memcpy(guard->target, space + 1, target);
    guard->has_request_line = true;
    return 0;
}

static int take_host(struct http_guard *guard, const char *value, size_t length)
{
    if (guard->has_host)
        return guard_refuse(guard, 400, "two Host headers");
    if (length == 0 || !is_visible(value, length))
        return guard_refuse(guard, 400, "a Host header without a host");
    guard->has_host = true;
    return 0;
}

static int take_length(struct http_guard *guard, const char *value, size_t length)
{
    if (guard->has_length)
        return guard_refuse(guard, 400, "two Content-Length headers");
    if (length == 0)
        return guard_refuse(guard, 400, "Content-Length is no number");
    for (size_t i = 0; i < length; i++) {
        if (value[i] < '0' || value[i] > '9')
            return guard_refuse(guard, 400, "Content-Length is no number");
        if (i >= 15)
            return guard_refuse(guard, 413, "the body is too large");
        guard->length = guard->length * 10 + (size_t)(value[i] - '0');
    }
    guard->has_length = true;
    return 0;
}

static int take_encoding(struct http_guard *guard, const char *value, size_t length)
{
    return guard_refuse(guard, 400, "Transfer-Encoding is not accepted: send Content-Length");
}

static int take_connection(struct http_guard *guard, const char *value, size_t length)
{
    guard->is_closing = guard->is_closing || (length == 5 && strncasecmp(value, "close", 5) == 0);
    return 0;
}

static int take_expect(struct http_guard *guard, const char *value, size_t length)
{
    if (length != 12 || strncasecmp(value, "100-continue", 12) != 0)
        return guard_refuse(guard, 417, "only 100-continue can be expected");
    guard->is_expecting = true;
    return 0;
}

static const struct {
    const char *name;
    int (*take)(struct http_guard *guard, const char *value, size_t length);
} guard_headers[] = {
    {"host", take_host},
    {"content-length", take_length},
    {"transfer-encoding", take_encoding},
    {"connection", take_connection},
    {"expect", take_expect},
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static int take_header(struct http_guard *guard, const char *line, size_t length)
{
    const char *colon = memchr(line, ':', length), *value, *end = line + length;
    size_t name;

    if (++guard->n_headers > HTTP_HEADERS_MAX)
        return guard_refuse(guard, 431, "too many headers");
    if (!colon || !is_token(line, (size_t)(colon - line)))
        return guard_refuse(guard, 400, "a header's name is no token");
    name = (size_t)(colon - line);
    for (value = colon + 1; value < end && is_blank(*value); value++)
        ;
    for (; end > value && is_blank(end[-1]); end--)
        ;
    for (const char *c = value; c < end; c++)
        if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7f)
            return guard_refuse(guard, 400, "a control character in a header");
    for (size_t i = 0; i < ARRAY_SIZE(guard_headers); i++)
        if (strlen(guard_headers[i].name) == name && strncasecmp(line, guard_headers[i].name, name) == 0)
            return guard_headers[i].take(guard, value, (size_t)(end - value));
    return 0;
}

static int take_end(struct http_guard *guard)
{
    if (!guard->has_request_line)
        return guard_refuse(guard, 400, "no request line");
    if (!guard->has_host)
        return guard_refuse(guard, 400, "no Host header");
    return 1;
}

int http_guard_take(struct http_guard *guard, struct evbuffer *input)
{
    for (;;) {
        _cleanup_free_ char *line = NULL;
        size_t length;
        int r;

        line = evbuffer_readln(input, &length, EVBUFFER_EOL_CRLF_STRICT);
        if (!line) {
            bool is_over = guard->taken + evbuffer_get_length(input) > HTTP_HEAD_MAX;

            return is_over ? guard_refuse(guard, 431, "the head is too large") : 0;
        }
        guard->taken += length + 2;
        if (guard->taken > HTTP_HEAD_MAX)
            return guard_refuse(guard, 431, "the head is too large");
        if (length == 0)
            return take_end(guard);
        r = guard->has_request_line ? take_header(guard, line, length)
                                    : take_request_line(guard, line, length);
        if (r < 0)
            return r;
    }
}
