/* The way from courier and prober to the executor: one socket that is connected again whenever it breaks. */
#pragma once

#include <event2/event.h>

#include "common/channel.h"

#define LINK_SOCKET "/run/grivet/agent.sock"

/**
 * struct link_events - what the owner hears
 * @rows: messages taken from the executor, ended by a row without name
 * @on_up, @on_down: the executor is there, or gone; what was sent before and not answered may be lost
 * @on_error: words for the log
 */
struct link_events {
    const struct channel_row *rows;
    void (*on_up)(void *context);
    void (*on_down)(void *context);
    void (*on_error)(void *context, const struct error *error);
};

struct link;

/** link_new() - @path and @events stay the caller's; the first attempt is made from the loop */
int link_new(struct link **ret, struct event_base *base, const char *path, const struct link_events *events,
             void *context, struct error *error);
struct link *link_free(struct link *link);
DEFINE_CLEANUP(struct link *, link_free)

bool link_is_up(const struct link *link);

/** link_send() - as channel_send(). Return: 0, -ENOTCONN, -EAGAIN while the executor does not read, -errno */
int link_send(struct link *link, enum channel_type type, const char *body, int fd);
