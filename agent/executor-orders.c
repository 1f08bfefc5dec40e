/* Orders and asks: verified, judged, remembered, started; refused with one reason. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "executor-state.h"

#define REFUSALS_BURST 60
#define ASKS_BURST     30

static const enum envelope_kind order_kinds[] = {ENVELOPE_ORDER, ENVELOPE_MANDATE};
static const enum envelope_kind ask_kinds[] = {ENVELOPE_ASK, ENVELOPE_MANDATE};

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
    lifeline_make(&executor->lifeline, executor->policy, executor->courier_uid, &executor->reported, "");
}

static const char *why_closed(const struct executor *executor)
{
    if (*executor->broken)
        return executor->broken;
    if (executor->n_pending)
        return "events can't be written";
    if (executor->is_stopping)
        return "grivetd is being stopped";
    return executor->is_halted ? "halted: the file /run/grivet/halt is there" : NULL;
}

static struct admission make_admission(struct executor *executor)
{
    executor_make_lifeline(executor);
    return (struct admission){.policy = executor->policy,
                              .roots = executor->roots,
                              .replay = executor->replay,
                              .host = &executor->host,
                              .closed = why_closed(executor),
                              .now_usec = time_now_usec(),
                              .is_clock_synchronised = time_is_synchronised(),
                              .count_active = count_active,
                              .context = executor};
}

static void refuse(struct executor *executor, const struct admitted *admitted, const struct error *error)
{
    const struct order *order = admitted->order;

    executor_say(executor, LOG_LEVEL_WARNING, "order refused: %s", error->text);
    /* A courier gone bad may not fill the disk with its refusals. */
    if (!bucket_take(&executor->refusals, REFUSALS_BURST))
        return;
    executor_record(executor, "order.refused", order ? order->run : NULL, order ? order->id : NULL,
                    order ? order->step : NULL,
                    json_pack("{s:s s:s}", "reason", error->text, "document",
                              admitted->document ? admitted->document : "order"));
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

    executor->heard_boot_nsec = time_boot_nsec(); /* an order that is fresh and signed is contact */
    record_accepted(executor, admitted, end_usec);
    r = admitted->fault ? start_fault(executor, admitted, bundle->documents[1], end_usec, &error)
                        : executor_watch_start(executor, order, admitted->mandate, &error);
    if (r < 0) {
        executor_say(executor, LOG_LEVEL_ERROR, "order %s: %s", order->id, error.text);
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
    admitted->document = "host";
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

void executor_halt_waiting(struct executor *executor, const char *run)
{
    for (struct waiting *waiting = executor->waiting; waiting; waiting = waiting->next)
        if (!run || !strcmp(waiting->admitted.order->run, run))
            waiting->is_halted = true;
}

void executor_close_orders(struct executor *executor)
{
    while (executor->waiting) {
        struct waiting *waiting = executor->waiting;

        executor->waiting = waiting->next;
        waiting_free(waiting);
    }
}

/* The disk may have taken long: is it still what was decided? */
static int check_waited(struct waiting *waiting, int result, struct error *error)
{
    const char *closed = why_closed(waiting->executor);
    int r = replay_synced(waiting->executor->replay, result, error);

    if (r < 0)
        return r;
    if (waiting->is_halted || executor_is_halted(waiting->executor, waiting->admitted.order))
        return error_set(error, ECANCELED, "host: a halt came before it was started");
    if (closed)
        return error_set(error, ECANCELED, "host: %s", closed);
    if (time_now_usec() > waiting->admitted.order->start_before_usec)
        return error_set(error, EACCES, "order: start_before: expired while the disk took its time");
    return 0;
}

static void on_remembered(void *context, int result)
{
    _cleanup_(waiting_freep) struct waiting *waiting = context;
    struct executor *executor = waiting->executor;
    struct error why = {0};

    executor->waiting = waiting->next; /* answers come in the order of requests */
    if (check_waited(waiting, result, &why) < 0)
        refuse(executor, &waiting->admitted, &why);
    else
        start(executor, &waiting->admitted, &waiting->bundle, waiting->end_usec);
    executor_on_changed(executor);
}

static int wait_for_disk(struct executor *executor, struct waiting *waiting, struct error *error)
{
    const int fd = replay_fd(executor->replay);
    struct waiting **last = &executor->waiting;
    int r = syncer_request(executor->syncer, &fd, 1, on_remembered, waiting, error);

    if (r < 0)
        return r;
    while (*last)
        last = &(*last)->next;
    *last = waiting;
    return 0;
}

int executor_on_order(void *context, struct message *message, struct error *error)
{
    struct executor *executor = ((struct peer *)context)->executor;
    _cleanup_(waiting_freep) struct waiting *waiting = calloc(1, sizeof(*waiting));
    struct error why = {0};
    int r;

    if (!waiting)
        return error_oom(error);
    waiting->executor = executor;
    r = bundle_from_memfd(&waiting->bundle, message->fd, order_kinds, ARRAY_SIZE(order_kinds), &why);
    if (r == 0)
        r = decide(executor, &waiting->bundle, &waiting->admitted, &waiting->end_usec, &why);
    if (r == 0)
        r = wait_for_disk(executor, waiting, &why);
    if (r < 0)
        refuse(executor, &waiting->admitted, &why);
    else
        TAKE_PTR(waiting);
    return 0;
}

static json_t *make_answer(struct executor *executor, const struct ask *ask, const json_t *findings,
                           const struct error *error)
{
    char at[TIME_TEXT_MAX], boot[BOOT_ID_MAX];
    json_t *steps = json_object_get(findings, "steps");

    if (!findings)
        steps = json_pack("[{s:s s:b s:b s:s s:[] s:[]}]", "step", "mandate", "is_accepted", false,
                          "is_victim", false, "reason", error->text, "summary", "limits");
    else
        json_incref(steps);
    return json_pack(
        "{s:s s:s s:s s:s s:s s:b s:s s:o s:o s:O?}", "schema", "grivet.answer/1", "ask", ask->id, "host",
        executor->policy->host, "mandate", ask->mandate_hash, "at", time_format(time_now_usec(), at),
        "is_accepted", json_is_true(json_object_get(findings, "is_accepted")), "boot", time_boot_id(boot),
        "steps", steps, "lifeline", lifeline_describe(&executor->lifeline), "clock", executor->clock);
}

void executor_answer_done(void *context, const struct ask *ask, const json_t *findings,
                          const struct error *error)
{
    struct executor *executor = context;
    struct peer *courier = executor_peer(executor, CHANNEL_COURIER);
    json_t *answer = make_answer(executor, ask, findings, error);
    _cleanup_free_ char *payload = answer ? json_dumps(answer, JSON_COMPACT) : NULL, *text = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;

    json_decref(answer);
    if (!courier || !payload ||
        envelope_new(&envelope, ENVELOPE_ANSWER, payload, strlen(payload), NULL) < 0 ||
        envelope_sign(envelope, executor->key, NULL) < 0)
        return;
    text = envelope_format(envelope);
    if (text)
        peer_send_large(courier, CHANNEL_ANSWER, text, strlen(text));
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
    int r = bundle_from_memfd(&bundle, message->fd, ask_kinds, ARRAY_SIZE(ask_kinds), &why);

    if (r == 0)
        r = admission_ask(&admission, &bundle, &ask, &why);
    if (r < 0) {
        executor_say(executor, LOG_LEVEL_WARNING, "ask refused: %s", why.text);
        return 0;
    }
    r = bucket_take(&executor->asks, ASKS_BURST)
            ? 0
            : error_set(&why, EBUSY, "host: too many asks; try again later");
    if (r == 0)
        r = answers_start(executor->answers, &admission, ask, bundle.documents[1], &why);
    if (r < 0)
        executor_answer_done(executor, ask, NULL, &why);
    else
        TAKE_PTR(ask);
    return 0;
}
