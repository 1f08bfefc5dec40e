/* Orders that only watch: the prober is told what to ask until when, and its samples become events. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "executor-state.h"

static void watch_send(struct executor *executor, const struct watch *watch)
{
    struct peer *prober = executor_peer(executor, CHANNEL_PROBER);

    if (prober)
        peer_send_large(prober, CHANNEL_WATCH, watch->body, strlen(watch->body));
}

void executor_watch_resend(struct executor *executor)
{
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        if (executor->watches[i].is_used)
            watch_send(executor, &executor->watches[i]);
}

size_t executor_watch_count(const struct executor *executor)
{
    size_t count = 0;

    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        count += executor->watches[i].is_used;
    return count;
}

static void watch_clear(struct watch *watch)
{
    if (watch->timer)
        event_free(watch->timer);
    free(watch->body);
    *watch = (struct watch){0};
}

static void watch_end(struct watch *watch)
{
    struct executor *executor = watch->executor;
    struct peer *prober = executor_peer(executor, CHANNEL_PROBER);
    char body[64];

    snprintf(body, sizeof(body), "{\"order\":\"%s\"}", watch->order);
    if (prober)
        peer_send(prober, CHANNEL_UNWATCH, body, -1);
    executor_record(executor, "fault.ended", watch->run, watch->order, MANDATE_OBSERVE,
                    json_pack("{s:s s:{}}", "fault", MANDATE_OBSERVE, "effect"));
    watch_clear(watch);
}

void executor_watch_end(struct executor *executor, const char *run)
{
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        if (executor->watches[i].is_used && (!run || !strcmp(executor->watches[i].run, run)))
            watch_end(&executor->watches[i]);
}

void executor_watch_forget(struct executor *executor)
{
    struct unfinished_orders *all = &executor->unfinished;
    size_t kept = 0;

    for (size_t i = 0; i < all->count; i++) {
        const struct unfinished *one = &all->orders[i];

        if (strcmp(one->fault, MANDATE_OBSERVE))
            all->orders[kept++] = *one;
        else
            executor_record(executor, "fault.failed", one->run, one->order, one->step,
                            json_pack("{s:s s:s s:b}", "fault", MANDATE_OBSERVE, "reason",
                                      "the executor was started again", "is_reverted", true));
    }
    all->count = kept;
}

static void watch_on_end(evutil_socket_t fd, short what, void *context)
{
    watch_end(context);
}

static char *make_body(const struct order *order, const struct mandate *mandate)
{
    json_t *probes = mandate->probes ? node_to_json(mandate->probes) : json_array();
    json_t *json = json_pack("{s:s s:s s:I s:o}", "order", order->id, "run", order->run, "until_usec",
                             (json_int_t)order->end_usec, "probes", probes);
    char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return text;
}

int executor_watch_start(struct executor *executor, const struct order *order, const struct mandate *mandate,
                         struct error *error)
{
    struct watch *watch = NULL;
    int64_t left_usec = order->end_usec - time_now_usec();
    struct timeval left = {left_usec / USEC_PER_SEC, left_usec % USEC_PER_SEC};

    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX && !watch; i++)
        if (!executor->watches[i].is_used)
            watch = &executor->watches[i];
    if (!watch)
        return error_set(error, EBUSY, "host: %d observations are under way already", EXECUTOR_WATCHES_MAX);
    watch->executor = executor;
    watch->until_usec = order->end_usec;
    snprintf(watch->order, sizeof(watch->order), "%s", order->id);
    snprintf(watch->run, sizeof(watch->run), "%s", order->run);
    watch->body = make_body(order, mandate);
    watch->timer = evtimer_new(executor->base, watch_on_end, watch);
    if (!watch->body || !watch->timer || event_add(watch->timer, &left) < 0) {
        watch_clear(watch);
        return error_oom(error);
    }
    watch->is_used = true;
    watch_send(executor, watch);
    return 0;
}

static const struct watch *watch_find(const struct executor *executor, const char *order)
{
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        if (executor->watches[i].is_used && !strcmp(executor->watches[i].order, order))
            return &executor->watches[i];
    return NULL;
}

struct samples_body {
    const char *order, *probe;
    const struct node *samples;
};

static const struct field samples_fields[] = {
    {"order", FIELD_UUID, offsetof(struct samples_body, order), true},
    {"probe", FIELD_NAME, offsetof(struct samples_body, probe), true},
    {"samples", FIELD_LIST, offsetof(struct samples_body, samples), true, 1, 2000},
    {},
};

/* [at_usec, latency_usec, status, is_ok] */
static int check_sample(const struct document *document, const struct node *sample, struct error *error)
{
    static const int64_t max[] = {INT64_MAX, 3600 * USEC_PER_SEC, 999, 1};
    size_t i = 0;

    if (sample->type != DOCUMENT_LIST || sample->count != ARRAY_SIZE(max))
        return node_error(document, sample, error, "expected a list of 4 integers");
    for (const struct node *value = sample->first; value; value = value->next, i++)
        if (value->type != DOCUMENT_INTEGER || value->integer < 0 || value->integer > max[i])
            return node_error(document, value, error, "expected an integer of 0 to %" PRId64, max[i]);
    return 0;
}

int executor_on_samples(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    _cleanup_(document_freep) struct document *document = NULL;
    struct samples_body body = {0};
    const struct watch *watch;
    int r = document_parse_json(&document, "samples", message->body, message->length, error);

    if (r == 0)
        r = node_decode(document, document_root(document), samples_fields, &body, error);
    for (const struct node *sample = r == 0 ? body.samples->first : NULL; sample && r == 0;
         sample = sample->next)
        r = check_sample(document, sample, error);
    if (r < 0)
        return r;
    /* Samples may cross with the end of their order on the way: they are late, not wrong. */
    watch = watch_find(executor, body.order);
    if (watch)
        executor_record(executor, "probe.samples", watch->run, watch->order, MANDATE_OBSERVE,
                        json_pack("{s:s s:o}", "probe", body.probe, "samples", node_to_json(body.samples)));
    return 0;
}
