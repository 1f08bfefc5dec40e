/* See link.h. */
#include "link.h"

#include <errno.h>
#include <string.h>

#include "backoff.h"

#define LINK_BURST 64 /* messages taken in one turn, so that the loop gets its turn too */

struct link {
    const char *path;
    const struct link_events *events;
    void *context;
    struct event_base *base;
    struct event *retry, *readable;
    struct backoff backoff;
    int socket;
};

static void link_retry_later(struct link *link)
{
    struct timeval wait = backoff_next(&link->backoff);

    event_add(link->retry, &wait);
}

static void link_close(struct link *link)
{
    if (link->readable)
        event_free(TAKE_PTR(link->readable));
    if (link->socket >= 0)
        close(TAKE_FD(link->socket));
}

static void link_on_readable(evutil_socket_t socket, short what, void *context)
{
    struct link *link = context;
    struct error error = {0};
    int r = 1;

    for (int i = 0; i < LINK_BURST && r == 1; i++)
        r = channel_receive(socket, CHANNEL_EXECUTOR, link->events->rows, link->context, &error);
    if (r >= 0)
        return;
    if (r != -EPIPE)
        link->events->on_error(link->context, &error);
    link_close(link);
    link->events->on_down(link->context);
    link_retry_later(link);
}

static int link_connect(struct link *link, struct error *error)
{
    link->socket = channel_connect(link->path, error);
    if (link->socket < 0)
        return link->socket;
    link->readable = event_new(link->base, link->socket, EV_READ | EV_PERSIST, link_on_readable, link);
    if (!link->readable || event_add(link->readable, NULL) < 0)
        return error_oom(error);
    return 0;
}

static void link_on_retry(evutil_socket_t fd, short what, void *context)
{
    struct link *link = context;
    struct error error = {0};

    if (link_connect(link, &error) < 0) {
        /* Said once an outage, not with every attempt. */
        if (!link->backoff.failures)
            link->events->on_error(link->context, &error);
        link_close(link);
        link_retry_later(link);
        return;
    }
    backoff_reset(&link->backoff);
    link->events->on_up(link->context);
}

int link_new(struct link **ret, struct event_base *base, const char *path, const struct link_events *events,
             void *context, struct error *error)
{
    _cleanup_(link_freep) struct link *link = calloc(1, sizeof(*link));
    struct timeval now = {0};

    if (!link)
        return error_oom(error);
    *link = (struct link){.path = path, .events = events, .context = context, .base = base, .socket = -1};
    link->retry = evtimer_new(base, link_on_retry, link);
    if (!link->retry || event_add(link->retry, &now) < 0)
        return error_oom(error);
    *ret = TAKE_PTR(link);
    return 0;
}

struct link *link_free(struct link *link)
{
    if (!link)
        return NULL;
    link_close(link);
    if (link->retry)
        event_free(link->retry);
    free(link);
    return NULL;
}

bool link_is_up(const struct link *link)
{
    return link->socket >= 0;
}

int link_send(struct link *link, enum channel_type type, const char *body, int fd)
{
    if (link->socket < 0)
        return -ENOTCONN;
    return channel_send(link->socket, type, body, strlen(body), fd);
}
