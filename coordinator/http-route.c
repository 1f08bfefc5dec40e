/* Paths against the table of routes, segment by segment. */
#include "http-route.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

/* In place; no byte of value 0 may come out of it. */
static bool decode_percent(char *text)
{
    char *out = text;

    for (const char *in = text; *in; in++) {
        int high, low;

        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        high = hex_digit(in[1]);
        low = high < 0 ? -1 : hex_digit(in[2]);
        if (low < 0 || high + low == 0)
            return false;
        *out++ = (char)(high << 4 | low);
        in += 2;
    }
    *out = '\0';
    return true;
}

/* Does @path fit @pattern? Marks where the arguments stand, without changing @path. */
static bool path_fits(const char *pattern, char *path, char **arguments)
{
    size_t n = 0;

    while (*pattern && *path) {
        if (*pattern == '@') {
            size_t length = strcspn(path, "/");

            if (length == 0 || n == HTTP_ARGUMENTS_MAX)
                return false;
            arguments[n++] = path;
            path += length;
            pattern++;
        } else if (*pattern++ != *path++) {
            return false;
        }
    }
    return !*pattern && !*path;
}

static bool cut_arguments(char **arguments)
{
    for (size_t i = 0; i < HTTP_ARGUMENTS_MAX && arguments[i]; i++) {
        arguments[i][strcspn(arguments[i], "/")] = '\0';
        if (!decode_percent(arguments[i]))
            return false;
    }
    return true;
}

static int target_split(struct http_target *ret, const char *target)
{
    *ret = (struct http_target){.text = strdup(target)};
    if (!ret->text)
        return -ENOMEM;
    ret->query = ret->text + strcspn(ret->text, "?");
    if (*ret->query)
        *ret->query++ = '\0';
    return 0;
}

int http_route_find(const struct http_route *routes, const char *method, const char *target,
                    const struct http_route **ret_route, struct http_target *ret)
{
    bool is_known = false;
    int r = target_split(ret, target);

    for (; r == 0 && routes->method; routes++) {
        char *arguments[HTTP_ARGUMENTS_MAX] = {NULL};

        if (!path_fits(routes->path, ret->text, arguments))
            continue;
        is_known = true;
        if (strcmp(routes->method, method) != 0)
            continue;
        memcpy(ret->arguments, arguments, sizeof(arguments));
        if (!cut_arguments(ret->arguments))
            break;
        *ret_route = routes;
        return 0;
    }
    http_target_clear(ret);
    return r < 0 ? r : is_known ? -EOPNOTSUPP : -ENOENT;
}

void http_target_clear(struct http_target *target)
{
    free(target->text);
    *target = (struct http_target){.text = NULL};
}
