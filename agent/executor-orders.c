/* Orders and asks: verified, judged, remembered, started; refused with one reason. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "executor.h"

#define REFUSALS_BURST 60
#define ASKS_BURST     30

static const enum envelope_kind order_kinds[] = {ENVELOPE_ORDER, ENVELOPE_MANDATE};
static const enum envelope_kind ask_kinds[] = {ENVELOPE_ASK, ENVELOPE_MANDATE};

/* A peer may make us do something once a second, and @burst times at once. @level_nsec: when it is back at
 * none. */
static bool is_within_rate(int64_t *level_nsec, int64_t burst)
{
    int64_t now = time_boot_nsec(), level = *level_nsec > now ? *level_nsec : now;

    if (level - now > (burst - 1) * NSEC_PER_SEC)
        return false;
    *level_nsec = level + NSEC_PER_SEC;
    return true;
}

static size_t count_active(const void *context, const char *class)
{
    const struct executor *executor = context;
    size_t count = strcmp(class, POLICY_CLASS_OBSERVE) ? supervisor_count_class(executor->supervisor, class)
                                                       : executor_watch_count(executor);

    for (const struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        count += !strcmp(waiting->admitted.class->name, class);
    return count;
}

void executor_make_lifeline(struct executor *executor)
{
    lifeline_make(&executor->lifeline, executor->policy, executor->courier_uid, &executor->contact.reported,
                  "");
}

const char *executor_why_closed(const struct executor *executor)
{
    if (*executor->broken)
        return executor->broken;
    if (json_array_size(executor->events.pending))
        return "events can't be written";
    if (executor->is_stopping)
        return "grivetd is being stopped";
    return executor->halts.has_file ? "halted: the file /run/grivet/halt is there" : NULL;
}

static struct admission make_admission(struct executor *executor)
{
    executor_make_lifeline(executor);
    return (struct admission){.policy = executor->policy,
                              .roots = executor->roots,
                              .replay = executor->replay,
                              .host = &executor->host,
                              .closed = executor_why_closed(executor),
                              .now_usec = time_now_usec(),
                              .is_clock_synchronised = time_is_synchronised(),
                              .count_active = count_active,
                              .context = executor};
}

static void refuse(struct executor *executor, const struct order *order, const struct error *error)
{
    const char *reason = error->text;

    executor_say(LOG_LEVEL_WARNING, "order refused: %s", reason);
    /* A courier gone bad may not fill the disk with its refusals. */
    if (is_within_rate(&executor->refusals_nsec, REFUSALS_BURST))
        executor_record(executor, "order.refused", order ? order->run : NULL, order ? order->id : NULL,
                        order ? order->step : NULL,
                        json_pack("{s:s s:s%}", "reason", reason, "document", reason,
                                  strcspn(reason, ":"))); /* every reason begins with it */
}

/* Kept until no order of this mandate can come any more, and as long as the cool-down looks back. */
static int remember(struct executor *executor, const struct admitted *admitted, int64_t end_usec,
                    struct error *error)
{
    const struct order *order = admitted->order;
    int64_t until_usec = admitted->mandate->not_after_usec + ORDER_START_WINDOW_USEC;
    int64_t cool_usec = end_usec + admitted->class->cool_down_s * USEC_PER_SEC;
    struct replay_entry entry = {.end_usec = end_usec,
                                 .until_usec = cool_usec > until_usec ? cool_usec : until_usec};

    snprintf(entry.mandate, sizeof(entry.mandate), "%s", admitted->mandate->hash);
    snprintf(entry.run, sizeof(entry.run), "%s", order->run);
    snprintf(entry.step, sizeof(entry.step), "%s", order->step);
    snprintf(entry.class, sizeof(entry.class), "%s", admitted->class->name);
    return replay_remember(executor->replay, &entry, error);
}

static void record_accepted(struct executor *executor, const struct admitted *admitted, int64_t end_usec)
{
    const struct order *order = admitted->order;
    char text[TIME_TEXT_MAX];
    int64_t msec = (end_usec - time_now_usec()) / USEC_PER_MSEC;

    executor_record(executor, "order.accepted", order->run, order->id, order->step,
                    json_pack("{s:s s:I s:s s:b}", "fault",
                              admitted->fault ? admitted->fault->name : MANDATE_OBSERVE, "duration_ms",
                              (json_int_t)msec, "deadline", time_format(end_usec, text), "is_late_joiner",
                              admitted->is_late_joiner));
}

static int start_fault(struct executor *executor, const struct admitted *admitted,
                       const struct envelope *envelope, int64_t end_usec, struct error *error)
{
    _cleanup_free_ char *payload = strndup((const char *)envelope->payload, envelope->payload_length);
    const struct order *order = admitted->order;
    const struct job job = {.order = order->id,
                            .run = order->run,
                            .step = order->step,
                            .deadline_real_usec = end_usec,
                            .deadline_boot_nsec =
                                time_boot_nsec() + (end_usec - time_now_usec()) * NSEC_PER_USEC,
                            .mandate = admitted->mandate,
                            .step_of_mandate = admitted->step,
                            .host = executor->host};

    if (!payload)
        return error_oom(error);
    return supervisor_start(executor->supervisor, &job, payload, error);
}

static void start(struct executor *executor, const struct admitted *admitted, const struct bundle *bundle,
                  int64_t end_usec)
{
    const struct order *order = admitted->order;
    struct error error = {0};
    int r;

    executor->contact.heard_boot_nsec = time_boot_nsec(); /* an order that is fresh and signed is contact */
    record_accepted(executor, admitted, end_usec);
    r = admitted->fault ? start_fault(executor, admitted, bundle->documents[1], end_usec, &error)
                        : executor_watch_start(executor, order, admitted->mandate, &error);
    if (r < 0) {
        executor_say(LOG_LEVEL_ERROR, "order %s: %s", order->id, error.text);
        executor_record(executor, "fault.failed", order->run, order->id, order->step,
                        json_pack("{s:s s:s s:b}", "fault",
                                  admitted->fault ? admitted->fault->name : MANDATE_OBSERVE, "reason",
                                  error.text, "is_reverted", true));
    }
    executor_on_changed(executor);
}

static int decide(struct executor *executor, const struct bundle *bundle, struct admitted *admitted,
                  int64_t *ret_end_usec, struct error *error)
{
    const struct admission admission = make_admission(executor);
    int64_t longest_usec;
    int r = admission_order(&admission, bundle, admitted, error);

    if (r < 0)
        return r;
    if (executor_is_halted(executor, admitted->order))
        return error_set(error, ECANCELED, "host: a halt came after this order's step had been started");
    /* Early by a clock's difference is not longer by it. */
    longest_usec = admission.now_usec + mandate_step_length_usec(admitted->mandate, admitted->order->step);
    *ret_end_usec = admitted->order->end_usec < longest_usec ? admitted->order->end_usec : longest_usec;
    return remember(executor, admitted, *ret_end_usec, error);
}

/* ---- orders that wait until the memory of them is durable: an effect must not be repeated after a crash */

static struct waiting *waiting_free(struct waiting *waiting)
{
    if (!waiting)
        return NULL;
    admitted_clear(&waiting->admitted);
    bundle_clear(&waiting->bundle);
    free(waiting);
    return NULL;
}
DEFINE_CLEANUP(struct waiting *, waiting_free)

void executor_halt_orders(struct executor *executor, const char *run)
{
    for (struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        waiting->is_halted |= !run || !strcmp(waiting->admitted.order->run, run);
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

bool executor_sync_orders(struct executor *executor)
{
    bool has_some = false;

    for (struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        has_some = waiting->is_syncing = true;
    return has_some;
}

/* The disk may have taken long, or have failed: is it still what was decided? */
static int check_waited(const struct executor *executor, const struct waiting *waiting, struct error *error)
{
    const char *closed = executor_why_closed(executor);

    if (waiting->is_halted || executor_is_halted(executor, waiting->admitted.order))
        return error_set(error, ECANCELED, "host: a halt came before it was started");
    if (closed)
        return error_set(error, ECANCELED, "host: %s", closed);
    if (time_now_usec() > waiting->admitted.order->start_before_usec)
        return error_set(error, EACCES, "order: start_before: expired while the disk took its time");
    return 0;
}

void executor_start_orders(struct executor *executor)
{
    while (executor->waiting && executor->waiting->is_syncing) {
        _cleanup_(waiting_freep) struct waiting *waiting = take_first(executor);
        struct error why = {0};

        if (check_waited(executor, waiting, &why) < 0)
            refuse(executor, waiting->admitted.order, &why);
        else
            start(executor, &waiting->admitted, &waiting->bundle, waiting->end_usec);
        executor_on_changed(executor);
    }
}

int executor_on_order(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    _cleanup_(waiting_freep) struct waiting *waiting = calloc(1, sizeof(*waiting));
    struct waiting **last = &executor->waiting;
    struct error why = {0};
    int r;

    if (!waiting)
        return error_oom(error);
    r = bundle_from_memfd(&waiting->bundle, message->fd, order_kinds, ARRAY_SIZE(order_kinds), &why);
    if (r == 0)
        r = decide(executor, &waiting->bundle, &waiting->admitted, &waiting->end_usec, &why);
    if (r < 0) {
        refuse(executor, waiting->admitted.order, &why);
        return 0;
    }
    while (*last)
        last = &(*last)->next;
    *last = TAKE_PTR(waiting);
    executor_sync(executor);
    return 0;
}

/* ---- asks */

void executor_answer(void *context, const struct ask *ask, const json_t *findings)
{
    struct executor *executor = context;
    char at[TIME_TEXT_MAX], boot[BOOT_ID_MAX];

    peer_send_signed(executor_peer(executor, CHANNEL_COURIER), CHANNEL_ANSWER, ENVELOPE_ANSWER,
                     json_pack("{s:s s:s s:s s:s s:s s:O s:s s:O s:o s:O?}", "schema", "grivet.answer/1",
                               "ask", ask->id, "host", executor->policy->host, "mandate", ask->mandate_hash,
                               "at", time_format(time_now_usec(), at), "is_accepted",
                               json_object_get(findings, "is_accepted"), "boot", time_boot_id(boot), "steps",
                               json_object_get(findings, "steps"), "lifeline",
                               lifeline_describe(&executor->lifeline), "clock", executor->events.clock));
}

/* What is not signed by the coordinator, or not meant for us, gets no answer: it would only be a way to make
 * us work. */
int executor_on_ask(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    const struct admission admission = make_admission(executor);
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    _cleanup_(ask_freep) struct ask *ask = NULL;
    struct error why = {0};
    json_t *no;
    int r = bundle_from_memfd(&bundle, message->fd, ask_kinds, ARRAY_SIZE(ask_kinds), &why);

    if (r == 0)
        r = admission_ask(&admission, &bundle, &ask, &why);
    if (r < 0) {
        executor_say(LOG_LEVEL_WARNING, "ask refused: %s", why.text);
        return 0;
    }
    if (!is_within_rate(&executor->asks_nsec, ASKS_BURST))
        r = error_set(&why, EBUSY, "host: too many asks; try again later");
    else
        r = answers_start(executor->answers, &admission, ask, bundle.documents[1], &why);
    if (r == 0) {
        TAKE_PTR(ask);
        return 0;
    }
    no = admission_answer_no(&why);
    executor_answer(executor, ask, no);
    json_decref(no);
    return 0;
}
