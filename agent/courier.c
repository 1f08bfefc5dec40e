/* grivet-courier: carries orders to the executor and events to the coordinator; believed by neither. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "courier.h"

#define ENVELOPE_TEXT_MAX (2 * 1024 * 1024)
#define EVENTS_TEXT_MAX   (16 * 1024 * 1024)

void courier_say(struct courier *courier, const struct error *error)
{
    log_warning("%s", error->text);
}

static int courier_on_events(void *context, struct message *message, struct error *error)
{
    struct courier *courier = context;
    size_t length;
    char *lines;
    int r;

    r = io_memfd_read(message->fd, EVENTS_TEXT_MAX, &lines, &length, error);
    if (r < 0)
        return r;
    events_on_lines(courier->events, lines, length);
    return 0;
}

static int courier_on_news(void *context, struct message *message, struct error *error)
{
    struct courier *courier = context;

    events_on_news(courier->events);
    return 0;
}

static int courier_on_answer(void *context, struct message *message, struct error *error)
{
    struct courier *courier = context;
    size_t length;
    char *text;
    int r;

    r = io_memfd_read(message->fd, ENVELOPE_TEXT_MAX, &text, &length, error);
    if (r < 0)
        return r;
    answers_add(courier->answers, text);
    return 0;
}

static int courier_on_head(void *context, struct message *message, struct error *error)
{
    struct courier *courier = context;
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_memfd_read(message->fd, ENVELOPE_TEXT_MAX, &text, &length, error);
    if (r == 0)
        poll_on_head(courier->poll, text);
    return r;
}

static void courier_on_up(void *context)
{
    struct courier *courier = context;

    log_info("connected to the executor");
    events_on_up(courier->events);
    poll_on_up(courier->poll);
}

static void courier_on_down(void *context)
{
    struct courier *courier = context;

    log_warning("the executor is gone");
    events_on_down(courier->events);
    poll_on_down(courier->poll);
}

static void courier_on_error(void *context, const struct error *error)
{
    log_error("%s", error->text);
}

static const struct channel_row rows[] = {
    {CHANNEL_EVENTS, "events", CHANNEL_EXECUTOR, 0, 0, true, courier_on_events},
    {CHANNEL_NEWS, "news", CHANNEL_EXECUTOR, 2, 256, false, courier_on_news},
    {CHANNEL_ANSWER, "answer", CHANNEL_EXECUTOR, 0, 0, true, courier_on_answer},
    {CHANNEL_HEAD, "head", CHANNEL_EXECUTOR, 0, 0, true, courier_on_head},
    {0},
};

static const struct link_events link_events = {rows, courier_on_up, courier_on_down, courier_on_error};

static void courier_on_terminate(evutil_socket_t signal, short what, void *context)
{
    event_base_loopbreak(context);
}

static int courier_run(struct courier *courier, const char *socket, struct error *error)
{
    struct event *terminate;
    int r;

    courier->base = event_base_new();
    if (!courier->base)
        return error_oom(error);
    r = web_new(&courier->web, courier->base, error);
    if (r == 0)
        r = events_new(&courier->events, courier, error);
    if (r == 0)
        r = answers_new(&courier->answers, courier, error);
    if (r == 0)
        r = poll_new(&courier->poll, courier, error);
    if (r == 0)
        r = renewal_new(&courier->renewal, courier, error);
    if (r == 0)
        r = link_new(&courier->link, courier->base, socket, &link_events, courier, error);
    if (r < 0)
        return r;

    terminate = evsignal_new(courier->base, SIGTERM, courier_on_terminate, courier->base);
    if (!terminate || event_add(terminate, NULL) < 0)
        return error_oom(error);
    r = event_base_dispatch(courier->base);
    event_free(terminate);
    return r < 0 ? error_set(error, EIO, "the event loop failed") : 0;
}

static void courier_clear(struct courier *courier)
{
    link_free(courier->link);
    renewal_free(courier->renewal);
    poll_free(courier->poll);
    answers_free(courier->answers);
    events_free(courier->events);
    web_free(courier->web);
    if (courier->base)
        event_base_free(courier->base);
    document_free(courier->config);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"socket", required_argument, NULL, 's'},
        {"config", required_argument, NULL, 'c'},
        {"folder", required_argument, NULL, 'f'},
        {0},
    };
    _cleanup_(courier_clear) struct courier courier = {.folder = COURIER_FOLDER};
    const char *socket = LINK_SOCKET, *config = COURIER_CONFIG;
    struct error error = {0};
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 's') {
            socket = optarg;
        } else if (option == 'c') {
            config = optarg;
        } else if (option == 'f') {
            courier.folder = optarg;
        } else {
            fprintf(stderr, "usage: grivet-courier [--socket PATH] [--config PATH] [--folder PATH]\n");
            return 2;
        }
    }
    log_open("grivet-courier");
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    if (courier_load_config(&courier, config, &error) < 0 || courier_run(&courier, socket, &error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
