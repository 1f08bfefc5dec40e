/* Which row of the table a target means. */
#pragma once

#include "http.h"

#define HTTP_ARGUMENTS_MAX 3

/** struct http_target - a target taken apart; pointers go into @text, a copy of its own */
struct http_target {
    char *text;
    char *query; /* "" without one */
    char *arguments[HTTP_ARGUMENTS_MAX];
};

/**
 * http_route_find() - the row of @routes for @method and @target
 * @ret: filled on success; http_target_clear() frees
 * Return: 0, -ENOENT no such path, -EOPNOTSUPP not with this method, -ENOMEM
 */
int http_route_find(const struct http_route *routes, const char *method, const char *target,
                    const struct http_route **ret_route, struct http_target *ret);
void http_target_clear(struct http_target *target);
