/* grivet-courier: carries orders to the executor and events to the coordinator; believed by neither. */
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "common/log.h"
#include "courier.h"
#include "sandbox.h"

#define CONFIG_PATH "/etc/grivet/agent.yaml"
#define TEXT_MAX    (16 * 1024 * 1024) /* of what the executor says */

void courier_say(const struct error *error)
{
    log_warning("%s", error->text);
}

static int courier_on_text(void *context, struct message *message, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    struct courier *courier = context;
    size_t length;
    int r;

    r = io_memfd_read(message->fd, TEXT_MAX, &text, &length, error);
    if (r < 0)
        return r;
    if (message->type == CHANNEL_HEAD)
        poll_on_head(&courier->poll, text);
    else if (message->type == CHANNEL_EVENTS)
        events_on_lines(&courier->events, text, length);
    else
        answers_add(courier, TAKE_PTR(text));
    return 0;
}

static int courier_on_news(void *context, struct message *message, struct error *error)
{
    struct courier *courier = context;

    /* Often the end of a fault, which may have been what stood between us and them. */
    task_hurry(&courier->events.task);
    task_hurry(&courier->poll.task);
    events_on_news(&courier->events);
    return 0;
}

/* A poll tells the coordinator that this host is in contact: never without its executor. */
static void courier_on_change(void *context, bool is_up)
{
    struct courier *courier = context;

    log_print(is_up ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
              is_up ? "connected to the executor" : "the executor is gone");
    items_on_down(&courier->items);
    task_stop(&courier->poll.task);
    courier->poll.is_first = true;
    if (is_up)
        task_go(&courier->poll.task, poll_begin);
    events_on_change(&courier->events, is_up);
}

static void courier_on_error(void *context, const struct error *error)
{
    log_error("%s", error->text);
}

static const struct channel_row rows[] = {
    {CHANNEL_EVENTS, "events", CHANNEL_EXECUTOR, 0, 0, true, courier_on_text},
    {CHANNEL_NEWS, "news", CHANNEL_EXECUTOR, 2, 256, false, courier_on_news},
    {CHANNEL_ANSWER, "answer", CHANNEL_EXECUTOR, 0, 0, true, courier_on_text},
    {CHANNEL_HEAD, "head", CHANNEL_EXECUTOR, 0, 0, true, courier_on_text},
    {0},
};

static const struct carrier_events carrier_events = {rows, courier_on_change, courier_on_error};

static int courier_take_url(struct courier *courier, const struct node *node, struct error *error)
{
    const char *host;

    if (node->type != DOCUMENT_STRING || strncmp(node->string, "https://", 8))
        return node_error(courier->config, node, error, "expected a URL such as https://10.0.0.2:8443");
    host = node->string + 8;
    if (!*host || host[strcspn(host, "/?#@ ")])
        return node_error(courier->config, node, error, "expected scheme, host and port only");
    courier->urls[courier->n_urls++] = node->string;
    return 0;
}

static int courier_load_config(struct courier *courier, struct error *error)
{
    const struct node *root, *urls;
    int r;

    r = document_load(&courier->config, CONFIG_PATH, 1024 * 1024, error);
    if (r < 0)
        return r;
    root = document_root(courier->config);
    courier->host = node_string(root, "host");
    if (!courier->host || !node_name_is_valid(courier->host))
        return node_error(courier->config, root, error, "host: expected this host's id");
    urls = node_get(root, "coordinators");
    if (!urls || urls->type != DOCUMENT_LIST || !urls->count || urls->count > COURIER_COORDINATORS_MAX)
        return node_error(courier->config, urls ? urls : root, error,
                          "coordinators: expected a list of 1 to %d URLs", COURIER_COORDINATORS_MAX);
    for (const struct node *i = urls->first; i && r == 0; i = i->next)
        r = courier_take_url(courier, i, error);
    return r;
}

static int courier_run(struct courier *courier, struct error *error)
{
    int r;

    r = courier_load_config(courier, error);
    if (r == 0)
        r = carrier_open(&courier->carrier, &carrier_events, courier, error);
    if (r == 0)
        r = task_init(&courier->poll.task, courier, poll_begin, error);
    if (r == 0)
        r = task_init(&courier->events.task, courier, events_begin, error);
    if (r == 0)
        r = task_init(&courier->renewal, courier, renewal_begin, error);
    if (r < 0)
        return r;
    courier->items.states = json_object();
    if (!courier->items.states)
        return error_oom(error);
    task_go(&courier->renewal, renewal_begin);
    return carrier_run(&courier->carrier, error);
}

static void courier_clear(struct courier *courier)
{
    items_on_down(&courier->items);
    json_decref(courier->items.states);
    json_decref(courier->poll.head);
    answers_clear(&courier->answers);
    task_clear(&courier->renewal);
    task_clear(&courier->events.task);
    task_clear(&courier->poll.task);
    carrier_clear(&courier->carrier);
    document_free(courier->config);
}

int main(int argc, char **argv)
{
    _cleanup_(courier_clear) struct courier courier = {0};
    struct error error = {0};

    if (argc > 1) {
        fprintf(stderr, "usage: grivet-courier\n");
        return 2;
    }
    TAILQ_INIT(&courier.answers.list);
    log_open("grivet-courier");
    if (sandbox_enter(SANDBOX_COURIER, &error) < 0 || courier_run(&courier, &error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
