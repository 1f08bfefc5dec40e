/* Orders: verified, judged, remembered, started; refused with one reason. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "executor.h"

#define REFUSALS_BURST_NSEC (60 * NSEC_PER_SEC)

bool executor_is_within_rate(int64_t *level_nsec, int64_t cost_nsec, int64_t burst_nsec)
{
    int64_t now = time_boot_nsec(), level = *level_nsec > now ? *level_nsec : now;

    if (level - now > burst_nsec - cost_nsec)
        return false;
    *level_nsec = level + cost_nsec;
    return true;
}

static size_t count_active(const void *context, const char *class)
{
    const struct executor *executor = context;
    size_t count = strcmp(class, POLICY_CLASS_OBSERVE) ? supervisor_count(executor->supervisor, class)
                                                       : executor_watch_count(executor);

    for (const struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        count += !strcmp(waiting->decision.class->name, class);
    return count;
}

static const char *why_closed(const struct executor *executor)
{
    if (*executor->broken)
        return executor->broken;
    if (executor->events.is_failing)
        return "events can't be written";
    if (executor->is_stopping)
        return "grivetd is being stopped";
    return executor->halts.has_file ? "halted: the file /run/grivet/halt is there" : NULL;
}

struct admission executor_make_admission(struct executor *executor)
{
    int64_t now_boot_nsec = time_boot_nsec(), now_usec = time_now_usec();

    lifeline_make(&executor->lifeline, executor->policy, executor->courier_uid, &executor->contact.reported,
                  ""); /* anew: resolvers change */
    return (struct admission){.policy = executor->policy,
                              .roots = executor->roots,
                              .replay = executor->replay,
                              .host = &executor->host,
                              .closed = why_closed(executor),
                              .now_usec = now_usec,
                              .latest_usec = executor_latest_usec(executor, now_usec, now_boot_nsec),
                              .now_boot_nsec = now_boot_nsec,
                              .is_clock_synchronised = executor_is_clock_right(executor),
                              .count_active = count_active,
                              .context = executor};
}

static void refuse(struct executor *executor, const struct order *order, const struct error *error)
{
    const char *reason = error->text;

    executor_say(LOG_LEVEL_WARNING, "order refused: %s", reason);
    /* A courier gone bad may not fill the disk with its refusals. */
    if (executor_is_within_rate(&executor->refusals_nsec, NSEC_PER_SEC, REFUSALS_BURST_NSEC))
        executor_record(executor, "order.refused", order ? order->run : NULL, order ? order->id : NULL,
                        order ? order->step : NULL,
                        json_pack("{s:s s:s%}", "reason", reason, "document", reason,
                                  strcspn(reason, ":"))); /* every reason begins with it */
}

/* Kept until no order of this mandate can come any more, and as long as the cool-down looks back. */
static int remember(struct executor *executor, const struct decision *decision, struct error *error)
{
    const struct envelope *payload = decision->bundle.documents[0];
    int64_t until_usec = decision->mandate->not_after_usec + ORDER_START_WINDOW_USEC;
    int64_t cool_usec = decision->end_usec + decision->class->cool_down_s * USEC_PER_SEC;
    struct replay_entry entry = {.end_usec = decision->end_usec,
                                 .until_usec = cool_usec > until_usec ? cool_usec : until_usec};

    snprintf(entry.mandate, sizeof(entry.mandate), "%s", decision->mandate->hash);
    hash_text(payload->payload, payload->payload_length, entry.order);
    snprintf(entry.run, sizeof(entry.run), "%s", decision->order->run);
    snprintf(entry.step, sizeof(entry.step), "%s", decision->order->step);
    snprintf(entry.class, sizeof(entry.class), "%s", decision->class->name);
    return replay_remember(executor->replay, &entry, error);
}

static int start_fault(struct executor *executor, const struct decision *decision, struct error *error)
{
    const struct order *order = decision->order;
    const struct job job = {.order = order->id,
                            .run = order->run,
                            .step = order->step,
                            .deadline_real_usec = decision->end_usec,
                            .deadline_boot_nsec = decision->end_boot_nsec,
                            .fault = decision->fault,
                            .parameters = decision->step->parameters,
                            .mandate = decision->mandate,
                            .host = executor->host};

    return supervisor_start(executor->supervisor, &job, error);
}

static void start(struct executor *executor, const struct decision *decision)
{
    const struct order *order = decision->order;
    const char *fault = decision->fault ? decision->fault->name : MANDATE_OBSERVE;
    char text[TIME_TEXT_MAX];
    struct error error = {0};
    int r;

    executor->contact.heard_boot_nsec = time_boot_nsec(); /* an order that is fresh and signed is contact */
    executor_record(executor, "order.accepted", order->run, order->id, order->step,
                    json_pack("{s:s s:I s:s s:b}", "fault", fault, "duration_ms",
                              (json_int_t)((decision->end_usec - time_now_usec()) / USEC_PER_MSEC),
                              "deadline", time_format(decision->end_usec, text), "is_late_joiner",
                              decision->is_late_joiner));
    r = decision->fault ? start_fault(executor, decision, &error)
                        : executor_watch_start(executor, order, decision->mandate, &error);
    if (r < 0) {
        executor_say(LOG_LEVEL_ERROR, "order %s: %s", order->id, error.text);
        executor_record(
            executor, "fault.failed", order->run, order->id, order->step,
            json_pack("{s:s s:s s:b}", "fault", fault, "reason", error.text, "is_reverted", true));
    }
}

/* Is it told in events what became of it, or will it be? */
static bool is_known(const struct executor *executor, const struct order *order)
{
    for (const struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        if (!strcmp(waiting->decision.order->id, order->id))
            return true;
    return json_object_get(executor->events.orders, order->id);
}

static int decide(struct executor *executor, int fd, struct decision *decision, struct error *error)
{
    struct admission admission;
    int r;

    executor_look_for_halt(executor); /* the event about it may stand behind this order */
    admission = executor_make_admission(executor);
    r = admission_order(&admission, fd, decision, error);

    if (r == 0 && executor_is_halted(executor, decision->order))
        r = error_set(error, ECANCELED, "host: a halt came after this order's step had been started");
    return r < 0 ? r : remember(executor, decision, error);
}

/* ---- orders that wait until the memory of them is durable: an effect must not be repeated after a crash */

static struct waiting *waiting_free(struct waiting *waiting)
{
    if (!waiting)
        return NULL;
    decision_clear(&waiting->decision);
    free(waiting);
    return NULL;
}
DEFINE_CLEANUP(struct waiting *, waiting_free)

void executor_halt_orders(struct executor *executor, const char *run)
{
    for (struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        waiting->is_halted |= !run || !strcmp(waiting->decision.order->run, run);
}

static struct waiting *take_first(struct executor *executor)
{
    struct waiting *first = executor->waiting;

    executor->waiting = first->next;
    return first;
}

void executor_close_orders(struct executor *executor)
{
    while (executor->waiting)
        waiting_free(take_first(executor));
}

void executor_sync_orders(struct executor *executor)
{
    for (struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        waiting->is_syncing = true;
}

/* The disk may have taken long, or have failed: is it still what was decided? */
static int check_waited(const struct executor *executor, const struct waiting *waiting, struct error *error)
{
    const char *closed = why_closed(executor);
    const struct decision *decision = &waiting->decision;
    int64_t now_usec = time_now_usec(), now_boot_nsec = time_boot_nsec();

    if (waiting->is_halted || executor_is_halted(executor, waiting->decision.order))
        return error_set(error, ECANCELED, "host: a halt came before it was started");
    if (closed)
        return error_set(error, ECANCELED, "host: %s", closed);
    if (now_usec > decision->order->start_before_usec || now_usec >= decision->end_usec ||
        now_boot_nsec > decision->start_boot_nsec || now_boot_nsec >= decision->end_boot_nsec)
        return error_set(error, EACCES, "order: start_before, end_at: over while the disk took its time");
    return 0;
}

void executor_start_orders(struct executor *executor)
{
    while (executor->waiting && executor->waiting->is_syncing) {
        _cleanup_(waiting_freep) struct waiting *waiting = take_first(executor);
        struct error why = {0};

        if (check_waited(executor, waiting, &why) < 0)
            refuse(executor, waiting->decision.order, &why);
        else
            start(executor, &waiting->decision);
        json_object_set_new(executor->events.orders, waiting->decision.order->id, json_true());
        executor_on_changed(executor);
    }
}

static void judge_order(struct executor *executor, int fd)
{
    _cleanup_(waiting_freep) struct waiting *waiting = calloc(1, sizeof(*waiting));
    struct waiting **last = &executor->waiting;
    struct error why = {0};
    int r;

    r = waiting ? decide(executor, fd, &waiting->decision, &why) : error_oom(&why);
    /* Delivery repeats, effects don't: what became of it stands in the events, which are delivered as well.
     */
    if (r == -EALREADY && is_known(executor, waiting->decision.order)) {
        executor_say(LOG_LEVEL_INFO, "order %s came again", waiting->decision.order->id);
        return;
    }
    if (r < 0) {
        refuse(executor, waiting ? waiting->decision.order : NULL, &why);
        return;
    }
    while (*last)
        last = &(*last)->next;
    *last = TAKE_PTR(waiting);
    executor_sync(executor);
}

int executor_on_order(void *context, struct message *message, struct error *error)
{
    executor_when_clock_known(((struct peer *)context)->executor, message, judge_order);
    return 0;
}
