/* What courier and prober have in common: a loop, a pool of connections, and one socket to the executor that
 * is connected again whenever it breaks. */
#pragma once

#include "common/channel.h"
#include "web-pool.h"

/**
 * struct carrier_events - what the owner hears
 * @rows: messages taken from the executor, ended by a row without name
 * @on_change: the executor is there, or gone; what was sent before and not answered may be lost
 * @on_error: words for the log
 */
struct carrier_events {
    const struct channel_row *rows;
    void (*on_change)(void *context, bool is_up);
    void (*on_error)(void *context, const struct error *error);
};

/** struct carrier - @socket: to the executor, -1 while it is gone */
struct carrier {
    struct event_base *base;
    struct web_pool *pool;
    const struct carrier_events *events;
    void *context;
    struct event *terminate, *retry, *readable;
    int socket;
    bool is_said;
};

/** carrier_open() - @events and @context stay the caller's; the executor is sought from the loop. Clear it
 * even when this failed. */
int carrier_open(struct carrier *carrier, const struct carrier_events *events, void *context,
                 struct error *error);
/** carrier_run() - until SIGTERM. Return: 0, -EIO */
int carrier_run(struct carrier *carrier, struct error *error);
/** carrier_clear() - after every request of the pool was freed */
void carrier_clear(struct carrier *carrier);

/** carrier_send() - as channel_send(). Return: 0, -ENOTCONN, -EAGAIN while the executor does not read, -errno
 */
int carrier_send(struct carrier *carrier, enum channel_type type, const char *body, int fd,
                 struct error *error);
