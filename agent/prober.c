/* grivet-prober: asks the endpoints that a running experiment watches, and tells the executor what they
 * answered. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/document.h"
#include "common/io.h"
#include "common/log.h"
#include "prober-watch.h"

struct prober {
    struct event_base *base;
    struct web *web;
    struct link *link;
    struct event *flush, *terminate;
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
    if (r < 0)
        return r;
    r = watch_start(&watch, prober->base, prober->web, text, length, error);
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
    struct prober *prober = context;
    _cleanup_(document_freep) struct document *document = NULL;
    struct {
        const char *order;
    } text = {0};
    const struct field fields[] = {{"order", FIELD_UUID, 0, true, 0, 0}, {0}};
    struct watch *watch;
    int r;

    r = document_parse_json(&document, "unwatch", message->body, message->length, error);
    if (r < 0)
        return r;
    r = node_decode(document, document_root(document), fields, &text, error);
    if (r < 0)
        return r;
    watch = prober_find(prober, text.order);
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
        watch_flush(watch, prober->link);
        if (!watch_is_over(watch)) {
            i++;
            continue;
        }
        log_info("order %s: watched to the end", watch_order(watch));
        watch_free(watch);
        prober->watches[i] = prober->watches[--prober->n_watches];
    }
}

static void prober_on_up(void *context)
{
    log_info("connected to the executor");
}

static void prober_on_down(void *context)
{
    log_warning("the executor is gone; watching goes on");
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

static const struct link_events events = {rows, prober_on_up, prober_on_down, prober_on_error};

static void prober_on_terminate(evutil_socket_t signal, short what, void *context)
{
    struct prober *prober = context;

    event_base_loopbreak(prober->base);
}

static int prober_run(struct prober *prober, const char *socket, struct error *error)
{
    struct timeval second = {.tv_sec = 1};
    int r;

    prober->base = event_base_new();
    if (!prober->base)
        return error_oom(error);
    prober->terminate = evsignal_new(prober->base, SIGTERM, prober_on_terminate, prober);
    prober->flush = event_new(prober->base, -1, EV_PERSIST, prober_on_flush, prober);
    if (!prober->flush || event_add(prober->flush, &second) < 0 || !prober->terminate ||
        event_add(prober->terminate, NULL) < 0)
        return error_oom(error);
    r = web_new(&prober->web, prober->base, error);
    if (r < 0)
        return r;
    r = link_new(&prober->link, prober->base, socket, &events, prober, error);
    if (r < 0)
        return r;
    return event_base_dispatch(prober->base) < 0 ? error_set(error, EIO, "the event loop failed") : 0;
}

static void prober_clear(struct prober *prober)
{
    while (prober->n_watches)
        watch_free(prober->watches[--prober->n_watches]);
    link_free(prober->link);
    web_free(prober->web);
    if (prober->flush)
        event_free(prober->flush);
    if (prober->terminate)
        event_free(prober->terminate);
    if (prober->base)
        event_base_free(prober->base);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"socket", required_argument, NULL, 's'}, {0}};
    _cleanup_(prober_clear) struct prober prober = {0};
    const char *socket = LINK_SOCKET;
    struct error error = {0};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option != 's') {
            fprintf(stderr, "usage: grivet-prober [--socket PATH]\n");
            return 2;
        }
        socket = optarg;
    }
    log_open("grivet-prober");
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (prober_run(&prober, socket, &error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
