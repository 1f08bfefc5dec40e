/* Orders that only watch: the prober is told what to ask until when, and its samples become events. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "executor.h"

#define SAMPLES_MAX   2000
#define ASKED_PER_SEC 20 /* by a probe at most: interval_ms in probes/probe.c */
#define EVENT_SAMPLES 16 /* an event without any takes as much room as so many samples */
#define BURST_NSEC    (20 * NSEC_PER_SEC)

static const char *text_of(const struct watch *watch, const char *key)
{
    return json_string_value(json_object_get(watch->body, key));
}

static void send_watch(const struct watch *watch)
{
    struct peer *prober = executor_peer(watch->executor, CHANNEL_PROBER);
    _cleanup_free_ char *body = prober ? json_dumps(watch->body, JSON_COMPACT) : NULL;

    if (body)
        peer_send_large(prober, CHANNEL_WATCH, body, strlen(body));
}

void executor_watch_resend(struct executor *executor)
{
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        if (executor->watches[i].body)
            send_watch(&executor->watches[i]);
}

size_t executor_watch_count(const struct executor *executor)
{
    size_t count = 0;

    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        count += executor->watches[i].body != NULL;
    return count;
}

static void clear(struct watch *watch)
{
    if (watch->timer)
        event_free(watch->timer);
    json_decref(watch->body);
    *watch = (struct watch){0};
}

static void end(struct watch *watch)
{
    struct executor *executor = watch->executor;
    const char *order = text_of(watch, "order");

    peer_send(executor_peer(executor, CHANNEL_PROBER), CHANNEL_UNWATCH, "{\"order\":\"%s\"}", order);
    executor_record(executor, "fault.ended", text_of(watch, "run"), order, MANDATE_OBSERVE,
                    json_pack("{s:s s:{}}", "fault", MANDATE_OBSERVE, "effect"));
    clear(watch);
}

void executor_watch_end(struct executor *executor, const char *run)
{
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++)
        if (executor->watches[i].body && (!run || !strcmp(text_of(&executor->watches[i], "run"), run)))
            end(&executor->watches[i]);
}

static void on_end(evutil_socket_t fd, short what, void *context)
{
    end(context);
}

int executor_watch_start(struct executor *executor, const struct order *order, const struct mandate *mandate,
                         struct error *error)
{
    struct watch *watch = executor->watches;
    int64_t left_usec = order->end_usec - time_now_usec();
    struct timeval left = {left_usec / USEC_PER_SEC, left_usec % USEC_PER_SEC};

    while (watch < executor->watches + EXECUTOR_WATCHES_MAX && watch->body)
        watch++;
    if (watch == executor->watches + EXECUTOR_WATCHES_MAX)
        return error_set(error, EBUSY, "host: %d observations are under way already", EXECUTOR_WATCHES_MAX);
    watch->executor = executor;
    watch->body = json_pack("{s:s s:s s:I s:o}", "order", order->id, "run", order->run, "until_usec",
                            (json_int_t)order->end_usec, "probes",
                            mandate->probes ? node_to_json(mandate->probes) : json_array());
    watch->timer = evtimer_new(executor->base, on_end, watch);
    if (!watch->body || !watch->timer || event_add(watch->timer, &left) < 0) {
        clear(watch);
        return error_oom(error);
    }
    send_watch(watch);
    return 0;
}

/* Lists of [at_usec, latency_usec, status, is_ok]. */
static int check_samples(const json_t *samples, struct error *error)
{
    static const int64_t max[] = {INT64_MAX, 3600 * USEC_PER_SEC, 999, 1};
    const json_t *sample, *value;
    size_t i, k;

    if (!json_is_array(samples) || !json_array_size(samples) || json_array_size(samples) > SAMPLES_MAX)
        return error_set(error, EINVAL, "message: samples: expected a list of 1 to %d entries", SAMPLES_MAX);
    json_array_foreach(samples, i, sample)
    {
        if (json_array_size(sample) != ARRAY_SIZE(max))
            return error_set(error, EINVAL, "message: samples[%zu]: expected a list of 4 integers", i);
        json_array_foreach(sample, k, value)
        {
            if (!json_is_integer(value) || json_integer_value(value) < 0 ||
                json_integer_value(value) > max[k])
                return error_set(error, EINVAL,
                                 "message: samples[%zu][%zu]: expected an integer of 0 to %" PRId64, i, k,
                                 max[k]);
        }
    }
    return 0;
}

/* What each probe heard in a second comes at once, after a time without us up to 1024 samples of it, by 64
 * (agent/prober-watch.c). Twice as much is more than any watch gives. */
static bool is_of_a_watch(struct watch *watch, size_t n_samples)
{
    int64_t per_sec = 2 * (ASKED_PER_SEC + EVENT_SAMPLES) *
                      (int64_t)json_array_size(json_object_get(watch->body, "probes"));

    return per_sec > 0 &&
           executor_is_within_rate(&watch->samples_nsec,
                                   NSEC_PER_SEC * (int64_t)(n_samples + EVENT_SAMPLES) / per_sec, BURST_NSEC);
}

/* They may be missing, which shows as a gap; an event of a fault may not. */
static void record_samples(struct watch *watch, const char *probe, json_t *samples)
{
    struct executor *executor = watch->executor;

    if (executor_has_room(executor) && is_of_a_watch(watch, json_array_size(samples))) {
        executor_record(executor, "probe.samples", text_of(watch, "run"), text_of(watch, "order"),
                        MANDATE_OBSERVE, json_pack("{s:s s:O}", "probe", probe, "samples", samples));
        return;
    }
    if (!watch->has_dropped)
        executor_say(LOG_LEVEL_WARNING,
                     "order %s: samples are dropped: more than a watch can give, or than the disk takes",
                     text_of(watch, "order"));
    watch->has_dropped = true;
}

int executor_on_samples(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    const char *order = NULL, *probe = NULL;
    json_t *samples = NULL;
    json_auto_t *body = message_unpack(message, error, "{s:s s:s s:o}", "order", &order, "probe", &probe,
                                       "samples", &samples);

    if (!body || check_samples(samples, error) < 0)
        return -EINVAL;
    if (!node_name_is_valid(probe))
        return error_set(error, EINVAL, "message: probe: not a name");
    /* Samples may cross with the end of their order on the way: they are late, not wrong. */
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++) {
        struct watch *watch = &executor->watches[i];

        if (watch->body && !strcmp(text_of(watch, "order"), order))
            record_samples(watch, probe, samples);
    }
    return 0;
}
