/* Events on their way into the journal: chained at once, written by the syncer, and only then told to the
 * courier, who fetches them and brings their receipt. What the disk does not take is tried again; faults end
 * meanwhile as ever. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "executor.h"

#define FETCH_BYTES (512 * 1024)

static struct events *events_of(void *context)
{
    return &((struct peer *)context)->executor->events;
}

/* ---- writing */

/* Return: -errno and @event is lost */
static int put(struct executor *executor, json_t *event, struct error *error)
{
    struct events *events = &executor->events;
    int r;

    if (!events->journal)
        return error_set(error, EIO, "%s", executor->broken);
    r = journal_append(events->journal, event, error);
    if (r == 0)
        event_active(events->on_written, EV_TIMEOUT, 0); /* once for all that this turn writes */
    return r;
}

void executor_record(struct executor *executor, const char *kind, const char *run, const char *order,
                     const char *step, json_t *body)
{
    struct events *events = &executor->events;
    const char *fault = json_string_value(json_object_get(body, "fault"));
    char at[TIME_TEXT_MAX];
    json_t *event = json_pack("{s:s s:I s:O? s:s s:s* s:s* s:s* s:O}", "at", time_format(time_now_usec(), at),
                              "boot_nsec", (json_int_t)time_boot_nsec(), "clock", events->clock, "kind", kind,
                              "run", run, "order", order, "step", step, "body", body);
    struct error error = {0};

    if (fault)
        executor_say_fault(kind, run, order, fault);
    if (put(executor, event, &error) < 0)
        executor_say(LOG_LEVEL_ERROR, "event %s is lost: %s", kind, error.text);
    json_decref(event);
    json_decref(body);
}

bool executor_has_room(const struct executor *executor)
{
    const struct journal *journal = executor->events.journal;

    return journal && journal_waiting_bytes(journal) < LINES_WAITING_MAX / 2;
}

/* ---- making durable */

void executor_tell_courier(struct executor *executor)
{
    if (executor->events.journal)
        peer_send(executor_peer(executor, CHANNEL_COURIER), CHANNEL_NEWS, "{\"last\":%" PRId64 "}",
                  journal_last(executor->events.journal, NULL));
}

/* Whether its last word was "durable" nobody can tell. Nothing is asked any more: events wait for our end,
 * which comes when no fault is under way; the next life has a syncer of its own. */
static void lose_syncer(struct executor *executor, const struct error *error)
{
    executor_break(executor, error);
    executor->is_to_restart = true;
    executor->events.is_syncing = true;
    executor_sync_orders(executor);
    executor_start_orders(executor); /* which are refused */
    executor_on_changed(executor);
}

/* Faults end as ever; nothing new until the disk takes it again. */
static void wait_for_disk(struct executor *executor, const struct error *error)
{
    static const struct timeval second = {.tv_sec = 1};
    struct events *events = &executor->events;

    if (!events->is_failing)
        executor_say(LOG_LEVEL_ERROR, "no new orders until events can be written again: %s", error->text);
    events->is_failing = true;
    event_add(events->on_retry, &second);
}

static void on_synced(void *context, struct lines_result result)
{
    struct executor *executor = context;
    struct events *events = &executor->events;
    struct error error = {0};

    if (result.error == -EPIPE) { /* no disk says that */
        error_set(&error, EPIPE, "the process that waits for the disk is gone");
        lose_syncer(executor, &error);
        return;
    }
    events->is_syncing = false;
    if (executor->replay)
        lines_group_end(replay_lines(executor->replay), result);
    if (journal_group_end(events->journal, result, &error) == 0)
        events->is_failing = false;
    else if (result.is_final)
        executor_break(executor, &error);
    else
        wait_for_disk(executor, &error);
    executor_tell_courier(executor);
    executor_start_orders(executor);
    executor_sync(executor); /* what came meanwhile is the next group */
}

/* Return: how many groups there are to be written, or -errno */
static int begin_groups(struct executor *executor, struct lines_group *ret, struct error *error)
{
    int r = executor->events.journal ? journal_group_begin(executor->events.journal, ret, error) : 0;

    return r < 0 || !executor->replay ? r : r + lines_group_begin(replay_lines(executor->replay), ret + r);
}

void executor_sync(struct executor *executor)
{
    struct events *events = &executor->events;
    struct lines_group groups[SYNCER_GROUPS_MAX];
    struct error error = {0};
    int count;

    if (events->is_syncing || !events->journal || event_pending(events->on_retry, EV_TIMEOUT, NULL))
        return;
    count = begin_groups(executor, groups, &error);
    executor_sync_orders(executor);
    if (count < 0)
        wait_for_disk(executor, &error);
    if (count <= 0) {
        executor_start_orders(executor); /* which are refused */
        return;
    }
    events->is_syncing = true;
    if (syncer_request(&events->syncer, groups, (size_t)count, &error) < 0)
        lose_syncer(executor, &error);
}

static void on_due(evutil_socket_t fd, short what, void *context)
{
    executor_sync(context);
}

/* ---- to the other side, and back */

int executor_on_fetch(void *context, struct message *message, struct error *error)
{
    struct journal *journal = events_of(context)->journal;
    json_int_t after = 0;
    json_auto_t *body = message_unpack(message, error, "{s:I}", "after", &after);
    _cleanup_free_ char *lines = NULL;
    struct error why = {0};
    size_t length = 0;

    if (!body)
        return -EINVAL;
    if (after < 0 || after == INT64_MAX)
        return error_set(error, EINVAL, "message: after: out of range");
    if (journal && journal_fetch(journal, after, FETCH_BYTES, &lines, &length, &why) < 0)
        executor_say(LOG_LEVEL_ERROR, "%s", why.text);
    peer_send_large(context, CHANNEL_EVENTS, lines ? lines : "", length);
    return 0;
}

static int take_ack(struct executor *executor, const struct message *message, struct error *error)
{
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    _cleanup_(ack_freep) struct ack *ack = NULL;
    char path[LINES_PATH_MAX];
    int r = message_verify(executor, message, ENVELOPE_ACK, ROOTS_ORDER, &bundle, error);

    if (r == 0)
        r = ack_parse(&ack, bundle.documents[0]->payload, bundle.documents[0]->payload_length, error);
    if (r < 0)
        return r;
    if (strcmp(ack->host, executor->policy->host))
        return error_set(error, EKEYREJECTED, "ack: host: meant for '%s'", ack->host);
    if (!executor->events.journal)
        return error_set(error, EIO, "ack: the journal is damaged; nothing is deleted");
    r = journal_acknowledge(executor->events.journal, ack->sequence, ack->hash, error);
    while (r == 0 && journal_drop(executor->events.journal, path))
        syncer_remove(&executor->events.syncer, path);
    return r;
}

int executor_on_ack(void *context, struct message *message, struct error *error)
{
    struct error why = {0};

    if (take_ack(((struct peer *)context)->executor, message, &why) < 0)
        executor_say(LOG_LEVEL_WARNING, "acknowledgement refused: %s", why.text);
    return 0;
}

/* The chain's head, so that a tail that is withheld shows. */
int executor_on_nonce(void *context, struct message *message, struct error *error)
{
    const struct executor *executor = ((struct peer *)context)->executor;
    char hash[HASH_TEXT_MAX], at[TIME_TEXT_MAX], boot[BOOT_ID_MAX];
    const char *nonce = NULL;
    json_auto_t *body = message_unpack(message, error, "{s:s}", "nonce", &nonce);
    int64_t sequence;

    if (!body)
        return -EINVAL;
    if (!executor->events.journal)
        return 0;
    sequence = journal_last(executor->events.journal, hash);
    peer_send_signed(context, CHANNEL_HEAD, ENVELOPE_HEAD,
                     json_pack("{s:s s:s s:s s:s s:I s:s s:s}", "schema", "grivet.head/1", "host",
                               executor->policy->host, "boot", time_boot_id(boot), "nonce", nonce, "sequence",
                               (json_int_t)sequence, "hash", hash, "at", time_format(time_now_usec(), at)));
    return 0;
}

int executor_on_clock(void *context, struct message *message, struct error *error)
{
    json_int_t offset_usec, bound_usec = 0;
    json_auto_t *clock =
        message_unpack(message, error, "{s:I s:I}", "offset_usec", &offset_usec, "bound_usec", &bound_usec);

    if (!clock)
        return -EINVAL;
    if (bound_usec < 0)
        return error_set(error, EINVAL, "message: bound_usec: below zero");
    json_decref(events_of(context)->clock);
    events_of(context)->clock = json_incref(clock);
    return 0;
}

/* ---- at the start */

static void on_old_event(void *context, const struct node *event)
{
    static const char *const ends[] = {"fault.reverted", "fault.ended", "fault.failed"};
    const char *kind = node_string(event, "kind"), *order = node_string(event, "order");
    json_t *orders = ((struct events *)context)->orders;

    if (!kind || !order)
        return;
    if (!strcmp(kind, "order.accepted"))
        json_object_set_new(orders, order, node_to_json(event));
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (!strcmp(kind, ends[i]))
            json_object_set_new(orders, order, json_false()); /* known, and over */
}

int executor_open_events(struct executor *executor, struct error *error)
{
    struct events *events = &executor->events;
    struct error why = {0};

    events->orders = json_object();
    events->on_written = executor_event(executor, -1, 0, on_due, NULL);
    events->on_retry = executor_event(executor, -1, 0, on_due, NULL);
    if (!events->orders || !events->on_written || !events->on_retry)
        return error_oom(error);
    /* Faults of an earlier life still have to be ended, and a halt has to be heard: so we go on, without
     * orders. */
    if (journal_open(&events->journal, JOURNAL_FOLDER, executor->policy->host, on_old_event, events, &why) <
        0)
        executor_break(executor, &why);
    return 0;
}

int executor_open_syncer(struct executor *executor, struct error *error)
{
    executor->events.syncer.done = on_synced;
    executor->events.syncer.context = executor;
    return syncer_open(&executor->events.syncer, EXECUTOR_STATE, executor->base, error);
}

/* Once more, whether or not the syncer came to its end. */
static void write_rest(struct executor *executor)
{
    struct lines_group groups[SYNCER_GROUPS_MAX];
    struct error error = {0};
    int count = begin_groups(executor, groups, &error);

    for (int i = 0; i < count && error.text[0] == '\0'; i++)
        if (lines_group_write(&groups[i]).error < 0)
            error_set(&error, EIO, "%s: can't write", groups[i].path);
    if (error.text[0])
        executor_say(LOG_LEVEL_ERROR, "events are lost: %s", error.text);
}

void executor_close_events(struct executor *executor)
{
    syncer_close(&executor->events.syncer);
    write_rest(executor);
    json_decref(executor->events.clock);
    json_decref(executor->events.orders);
    journal_free(executor->events.journal);
}
