/* Events on their way into the journal: written at once, made durable by the syncer, and only then told to
 * the courier. What the disk does not take waits here and is tried again; faults end meanwhile as ever. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "executor-state.h"

void executor_say(struct executor *executor, int level, const char *format, ...)
{
    char text[ERROR_TEXT_MAX + 256];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    executor->config->say(level, text);
}

bool bucket_take(struct bucket *bucket, double burst)
{
    int64_t now = time_boot_nsec();

    if (!bucket->last_nsec)
        bucket->tokens = burst;
    else
        bucket->tokens += (double)(now - bucket->last_nsec) / (double)NSEC_PER_SEC;
    if (bucket->tokens > burst)
        bucket->tokens = burst;
    bucket->last_nsec = now;
    if (bucket->tokens < 1)
        return false;
    bucket->tokens -= 1;
    return true;
}

static void pending_clear(struct pending *pending)
{
    free(pending->kind);
    free(pending->run);
    free(pending->order);
    free(pending->step);
    json_decref(pending->clock);
    json_decref(pending->body);
    *pending = (struct pending){0};
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

static void executor_postpone(struct executor *executor, const struct event *event, const struct error *error)
{
    const struct timeval second = {.tv_sec = 1};

    if (executor->n_pending == EXECUTOR_PENDING_MAX) {
        executor_say(executor, LOG_LEVEL_ERROR, "an event is lost: %s: %s", event->kind, error->text);
        return;
    }
    if (!executor->n_pending)
        executor_say(executor, LOG_LEVEL_ERROR, "no new orders until events can be written again: %s",
                     error->text);
    executor->pending[executor->n_pending++] = (struct pending){
        copy(event->kind), copy(event->run), copy(event->order),        copy(event->step),
        event->at_usec,    event->boot_nsec, json_incref(event->clock), json_incref(event->body)};
    event_add(executor->on_retry, &second);
}

static void executor_sync_soon(struct executor *executor)
{
    event_active(executor->on_sync, EV_TIMEOUT, 0); /* once for all that this turn writes */
}

void executor_record(struct executor *executor, const char *kind, const char *run, const char *order,
                     const char *step, json_t *body)
{
    const struct event event = {kind, run, order, step, time_now_usec(), time_boot_nsec(), executor->clock,
                                body};
    struct error error = {0};
    const char *fault = json_string_value(json_object_get(body, "fault"));

    if (fault)
        executor->config->say_fault(kind, run, order, fault);
    if (!executor->journal)
        executor_say(executor, LOG_LEVEL_ERROR, "event %s is not recorded: %s", kind, executor->broken);
    else if (executor->n_pending)
        executor_postpone(executor, &event, &error); /* in their order */
    else if (journal_append(executor->journal, &event, &error) < 0)
        executor_postpone(executor, &event, &error);
    else
        executor_sync_soon(executor);
    json_decref(body);
}

static void on_retry(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;
    const struct timeval second = {.tv_sec = 1};
    size_t done = 0;

    for (; done < executor->n_pending; done++) {
        struct pending *pending = &executor->pending[done];
        const struct event event = {pending->kind,    pending->run,       pending->order, pending->step,
                                    pending->at_usec, pending->boot_nsec, pending->clock, pending->body};

        if (journal_append(executor->journal, &event, NULL) < 0)
            break;
        pending_clear(pending);
    }
    executor->n_pending -= done;
    memmove(executor->pending, executor->pending + done, executor->n_pending * sizeof(*executor->pending));
    if (executor->n_pending)
        event_add(executor->on_retry, &second);
    if (done)
        executor_sync_soon(executor);
}

static void tell_courier(struct executor *executor)
{
    struct peer *courier = executor_peer(executor, CHANNEL_COURIER);
    char body[64];

    snprintf(body, sizeof(body), "{\"last\":%" PRId64 "}", journal_last(executor->journal, NULL));
    if (courier)
        peer_send(courier, CHANNEL_NEWS, body, -1);
}

static void sync_failed(struct executor *executor, const struct error *error)
{
    if (*executor->broken)
        return;
    snprintf(executor->broken, sizeof(executor->broken), "%s", error->text);
    executor_say(executor, LOG_LEVEL_ERROR, "no new orders: %s", error->text);
}

static void sync_begin(struct executor *executor);

/* What came meanwhile is the next one's. */
static void on_synced(void *context, int result)
{
    struct executor *executor = context;
    struct error error = {0};

    executor->is_syncing = false;
    if (journal_sync_end(executor->journal, result, &error) < 0)
        sync_failed(executor, &error);
    tell_courier(executor);
    sync_begin(executor);
}

static void sync_begin(struct executor *executor)
{
    struct error error = {0};
    int fds[JOURNAL_SYNC_FDS];
    size_t count = executor->is_syncing ? 0 : journal_sync_begin(executor->journal, fds);

    if (!count)
        return;
    executor->is_syncing = true;
    if (syncer_request(executor->syncer, fds, count, on_synced, executor, &error) == 0)
        return;
    executor->is_syncing = false;
    journal_sync_end(executor->journal, -EIO, NULL);
    sync_failed(executor, &error);
}

void executor_greet_courier(struct executor *executor)
{
    if (executor->journal)
        tell_courier(executor);
}

void executor_flush(struct executor *executor)
{
    struct error error = {0};

    if (!executor->journal)
        return;
    if (journal_sync(executor->journal, &error) < 0)
        sync_failed(executor, &error);
    tell_courier(executor);
}

static void on_sync(evutil_socket_t fd, short what, void *context)
{
    sync_begin(context);
}

int executor_open_events(struct executor *executor, struct error *error)
{
    const struct journal_reader reader = {unfinished_read, &executor->unfinished};

    executor->on_sync = evtimer_new(executor->base, on_sync, executor);
    executor->on_retry = evtimer_new(executor->base, on_retry, executor);
    if (!executor->on_sync || !executor->on_retry)
        return error_oom(error);
    if (journal_open(&executor->journal, executor->config->events, executor->policy->host, &reader, error) ==
        0)
        return 0;
    /* Faults of an earlier life still have to be ended, and a halt has to be heard: so we go on, without
     * orders. */
    snprintf(executor->broken, sizeof(executor->broken), "%s", error->text);
    executor_say(executor, LOG_LEVEL_ERROR, "no orders are taken: %s", error->text);
    return 0;
}

void executor_close_events(struct executor *executor)
{
    for (size_t i = 0; i < executor->n_pending; i++)
        pending_clear(&executor->pending[i]);
    if (executor->on_sync)
        event_free(executor->on_sync);
    if (executor->on_retry)
        event_free(executor->on_retry);
    journal_free(executor->journal);
}
