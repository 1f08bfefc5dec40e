/* grivet-prober: asks the endpoints that a running experiment watches, and tells the executor what they
 * answered. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "prober-watch.h"
#include "sandbox.h"

struct prober {
    struct carrier carrier;
    struct event *flush;
    size_t n_watches;
    struct watch *watches[WATCHES_MAX];
};

static struct watch *prober_find(struct prober *prober, const char *order)
{
    for (size_t i = 0; i < prober->n_watches; i++)
        if (!strcmp(watch_order(prober->watches[i]), order))
            return prober->watches[i];
    return NULL;
}

static int prober_watch(struct prober *prober, struct message *message, struct error *error)
{
    _cleanup_(watch_freep) struct watch *watch = NULL;
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_memfd_read(message->fd, WATCH_BYTES_MAX, &text, &length, error);
    if (r == 0)
        r = watch_start(&watch, &prober->carrier, text, length, error);
    if (r < 0)
        return r;
    /* The executor came back and says again what is watched already: the schedule goes on. */
    if (prober_find(prober, watch_order(watch)))
        return 0;
    if (prober->n_watches == WATCHES_MAX)
        return error_set(error, ENOSPC, "order %s: %d orders are watched already", watch_order(watch),
                         WATCHES_MAX);
    log_info("order %s: watching", watch_order(watch));
    prober->watches[prober->n_watches++] = TAKE_PTR(watch);
    return 0;
}

/* A watch that can't be is said and left: closing the channel would only bring it again. */
static int prober_on_watch(void *context, struct message *message, struct error *error)
{
    struct error why = {0};

    if (prober_watch(context, message, &why) < 0)
        log_error("not watched: %s", why.text);
    return 0;
}

static int prober_on_unwatch(void *context, struct message *message, struct error *error)
{
    json_auto_t *json = json_loadb(message->body, message->length, 0, NULL);
    const char *order = json_string_value(json_object_get(json, "order"));
    struct watch *watch = order ? prober_find(context, order) : NULL;

    if (watch)
        watch_stop(watch);
    return 0;
}

static void prober_on_flush(evutil_socket_t fd, short what, void *context)
{
    struct prober *prober = context;

    for (size_t i = 0; i < prober->n_watches;) {
        struct watch *watch = prober->watches[i];

        /* What the executor does not take now is offered again with the next turn. */
        watch_flush(watch, &prober->carrier);
        if (!watch_is_over(watch)) {
            i++;
            continue;
        }
        log_info("order %s: watched to the end", watch_order(watch));
        watch_free(watch);
        prober->watches[i] = prober->watches[--prober->n_watches];
    }
}

static void prober_on_change(void *context, bool is_up)
{
    log_print(is_up ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
              is_up ? "connected to the executor" : "the executor is gone; watching goes on");
}

static void prober_on_error(void *context, const struct error *error)
{
    log_error("%s", error->text);
}

static const struct channel_row rows[] = {
    {CHANNEL_WATCH, "watch", CHANNEL_EXECUTOR, 0, 0, true, prober_on_watch},
    {CHANNEL_UNWATCH, "unwatch", CHANNEL_EXECUTOR, 2, 256, false, prober_on_unwatch},
    {0},
};

static const struct carrier_events events = {rows, prober_on_change, prober_on_error};

static int prober_run(struct prober *prober, struct error *error)
{
    struct timeval second = {.tv_sec = 1};
    int r;

    r = carrier_open(&prober->carrier, &events, prober, error);
    if (r < 0)
        return r;
    prober->flush = event_new(prober->carrier.base, -1, EV_PERSIST, prober_on_flush, prober);
    if (!prober->flush || event_add(prober->flush, &second) < 0)
        return error_oom(error);
    return carrier_run(&prober->carrier, error);
}

static void prober_clear(struct prober *prober)
{
    while (prober->n_watches)
        watch_free(prober->watches[--prober->n_watches]);
    if (prober->flush)
        event_free(prober->flush);
    carrier_clear(&prober->carrier);
}

int main(int argc, char **argv)
{
    _cleanup_(prober_clear) struct prober prober = {0};
    struct error error = {0};

    if (argc > 1) {
        fprintf(stderr, "usage: grivet-prober\n");
        return 2;
    }
    log_open("grivet-prober");
    if (sandbox_enter(SANDBOX_PROBER, &error) < 0 || prober_run(&prober, &error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
