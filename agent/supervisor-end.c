/* What is told of a fault, by its holder and after it: undo what it left, look at the kernel until nothing is
 * left, and only then say so. The same for what an earlier life of the executor left behind, and for what the
 * sweep did in our place. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/hands.h"
#include "common/io.h"
#include "executor.h"
#include "faults/kernel/undo.h"
#include "rollback.h"

#define HEAR_BURST 32
#define RETRY_NSEC (100 * NSEC_PER_MSEC)

/* ---- what a holder says of its fault: a row for each word */

/** struct state_row - a word of docs/protocol.md; @next: SLOT_FREE = as before; @is_over: nothing of it is
 * left when this is said */
struct state_row {
    const char *state;
    enum slot_state next;
    bool is_over;
};

static const struct state_row states[] = {
    {"armed", SLOT_ARMED, false}, {"exercised", SLOT_EXERCISED, false}, {"reverted", SLOT_OVER, true},
    {"ended", SLOT_OVER, true},   {"failed", SLOT_OVER, false},         {"interrupted", SLOT_FREE, false},
};

static const struct state_row *state_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(states) && name; i++)
        if (!strcmp(states[i].state, name))
            return &states[i];
    return NULL;
}

/* Each word is said once: a holder that has been taken over may not fill the journal with its own, either. */
static bool is_expected(const struct slot *slot, const struct state_row *row)
{
    return slot->state != SLOT_OVER && (row->next ? row->next > slot->state : !slot->has_failed);
}

/* The body is passed on as it stands: a holder that has been taken over may lie about its own fault only. */
static void slot_on_said(struct slot *slot, const struct state_row *row, json_t *body)
{
    static const char *const ended_by[] = {NULL, "halt", "executor"};
    json_t *effect = json_object_get(body, "effect");
    char kind[32];

    if (row->next)
        slot->state = row->next;
    slot->has_failed |= !row->next || (row->next == SLOT_OVER && !row->is_over);
    slot->has_ended = row->is_over || json_is_true(json_object_get(body, "is_reverted"));
    if (effect) {
        json_decref(slot->effect);
        slot->effect = json_incref(effect);
    }
    if (slot->end && json_object_get(body, "ended_by"))
        json_object_set_new(body, "ended_by", json_string(ended_by[slot->end]));
    snprintf(kind, sizeof(kind), "fault.%s", row->state);
    slot_event(slot, kind, json_incref(body));
    if (row->next == SLOT_ARMED)
        executor_on_changed(slot->supervisor->executor);
}

static int slot_on_state(void *context, struct message *message, struct error *error)
{
    struct slot *slot = context;
    json_t *said = json_loadb(message->body, message->length, JSON_REJECT_DUPLICATES, NULL);
    json_t *body = json_object_get(said, "body");
    const struct state_row *row = state_find(json_string_value(json_object_get(said, "state")));
    int r = 0;

    if (row && json_is_object(body) && is_expected(slot, row))
        slot_on_said(slot, row, body);
    else
        r = error_set(error, EPROTO, "holder of order %s: unexpected state", slot->order);
    json_decref(said);
    return r;
}

int slot_hear(struct slot *slot, struct error *error)
{
    static const struct channel_row rows[] = {
        {CHANNEL_STATE, "state", CHANNEL_HOLDER, 2, CHANNEL_BODY_MAX, false, slot_on_state},
        {0},
    };
    int r = 1;

    for (int i = 0; i < HEAR_BURST && r == 1; i++)
        r = channel_receive(slot->channel, CHANNEL_HOLDER, rows, slot, error);
    return r < 0 ? r : 0;
}

/* ---- what it did not say itself */

static void say_interrupted(const struct slot *slot, const char *reason)
{
    slot_event(slot, "fault.interrupted", json_pack("{s:s}", "reason", reason));
}

static json_t *json_msec(int64_t nsec)
{
    return json_real((double)(nsec / NSEC_PER_USEC) / 1000.0);
}

/* @error_msec: taken; null = not known. So is whether somebody interfered: who could tell is gone. */
static void say_reverted(struct slot *slot, int64_t at_usec, json_t *error_msec, const char *ended_by)
{
    char at[TIME_TEXT_MAX];

    slot_event(slot, "fault.reverted",
               json_pack("{s:s s:o s:s s:O? s:n}", "reverted_at", time_format(at_usec, at), "revert_error_ms",
                         error_msec, "ended_by", ended_by, "effect", slot->effect, "is_interfered"));
    slot->has_ended = true;
}

static int verify_reverted(const struct slot *slot, struct error *error)
{
    const struct fault_run run = {
        .fault = slot->fault, .order = slot->order, .deadline_boot_nsec = slot->deadline_boot_nsec};

    return has_look && slot->fault->verify_reverted ? slot->fault->verify_reverted(&run, error) : 0;
}

static const char *who_ended(const struct slot *slot, bool was_clean)
{
    if (slot->end == SUPERVISOR_HALT)
        return "halt";
    return slot->end == SUPERVISOR_EXECUTOR || !was_clean ? "executor" : "kernel";
}

/* Nothing survives a restart, but when the power went nobody knows: in time for sure only if the host was up
 * again (BOOTTIME 0) before the deadline. */
static void say_restarted(struct slot *slot)
{
    say_interrupted(slot, slot->death);
    say_reverted(slot, time_now_usec(), slot->deadline_boot_nsec >= 0 ? json_msec(0) : json_null(),
                 "restart");
}

/* Four ends that the holder did not tell itself. */
static void say_end(struct slot *slot, bool had_undos, bool was_clean)
{
    bool is_reversible = slot->fault->flags & FAULT_REVERSIBLE;
    bool is_early = slot->over_boot_nsec < slot->deadline_boot_nsec;
    int64_t due_nsec =
        slot->end == SUPERVISOR_NOT_ENDED && !is_early ? slot->deadline_boot_nsec : slot->over_boot_nsec;

    if (slot->has_ended)
        return;
    if (!is_reversible || (slot->state == SLOT_ARMING && !had_undos)) {
        if (!slot->has_failed)
            slot_event(slot, "fault.failed",
                       json_pack("{s:s s:o}", "reason", slot->death, "is_reverted",
                                 is_reversible ? json_true() : json_null()));
        return;
    }
    if (slot->is_of_earlier_boot) {
        say_restarted(slot);
        return;
    }
    /* A failure has been told; an end that somebody asked for is no interruption. */
    if (!slot->has_failed && slot->end == SUPERVISOR_NOT_ENDED && is_early)
        say_interrupted(slot, slot->death);
    say_reverted(slot, time_now_usec(), json_msec(time_boot_nsec() - due_nsec), who_ended(slot, was_clean));
}

/* ---- what the sweep did in our place: events are made here, because it has no key */

static struct slot *slot_find(struct supervisor *supervisor, const char *order)
{
    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++)
        if (supervisor->slots[i].state != SLOT_FREE && !strcmp(supervisor->slots[i].order, order))
            return &supervisor->slots[i];
    return NULL;
}

/* Both of us may have ended it at the same moment: only an order that is under way has an end to tell, and
 * only one. The holder's own words, if there are any, are better. What it ended before the deadline, and
 * unasked by us, was due when a clock was set or a file was made: nobody knows. A record that it couldn't
 * read had no deadline to count from. */
static void slot_take_result(struct slot *slot, const struct record *result)
{
    int64_t done_nsec = result->deadline_boot_nsec ? result->deadline_boot_nsec + result->revert_error_nsec
                                                   : time_boot_nsec();
    bool was_asked = slot->end != SUPERVISOR_NOT_ENDED && slot->over_boot_nsec <= done_nsec;
    int64_t due_nsec = was_asked ? slot->over_boot_nsec : slot->deadline_boot_nsec;

    if (slot->channel >= 0)
        slot_hear(slot, NULL);
    if (slot->has_ended || !(slot->fault->flags & FAULT_REVERSIBLE))
        return; /* what can't be reverted fails when its holder's death is seen */
    if (verify_reverted(slot, NULL) < 0)
        return; /* it goes by the record, which is the holder's word: we look again, and tell it then */
    if (done_nsec < due_nsec && slot->end == SUPERVISOR_NOT_ENDED)
        say_interrupted(slot, result->reason);
    say_reverted(slot, result->reverted_usec,
                 done_nsec < due_nsec ? json_null() : json_msec(done_nsec - due_nsec), "sweep");
}

static void take_result(void *context, const char *name)
{
    struct supervisor *supervisor = context;
    struct slot *slot = slot_find(supervisor, name);
    struct record result;
    struct error error = {0};

    if (!uuid_is_valid(name))
        return; /* it is being written */
    if (record_read(&result, supervisor->results_fd, name, &error) < 0)
        executor_say(LOG_LEVEL_WARNING, "%s", error.text);
    else if (slot)
        slot_take_result(slot, &result);
    unlinkat(supervisor->results_fd, name, 0);
}

void supervisor_take_results(struct supervisor *supervisor)
{
    io_list(supervisor->results_fd, ".", take_result, supervisor, NULL);
}

/* ---- the end of a slot */

/* Return: 1 nothing of it is left, 0 something is, -errno */
static int slot_undo(const struct slot *slot, const struct record *record, bool *ret_was_clean,
                     struct error *error)
{
    int r = has_executor_undo ? rollback_try(record, ret_was_clean, error)
                              : error_set(error, EPERM, "found, and left alone: this is a mutated build");

    return r <= 0 ? r : verify_reverted(slot, error) == 0;
}

void slot_finish(struct slot *slot)
{
    struct supervisor *supervisor = slot->supervisor;
    struct record record;
    struct error error = {0};
    bool was_clean = false;
    int r;

    supervisor_take_results(supervisor);
    /* A record that can't be read is not the same as none. */
    r = rollback_read(&record, supervisor->records_fd, slot->order, &error);
    if (r < 0 && r != -ENOENT)
        executor_say(LOG_LEVEL_WARNING, "%s", error.text);
    if (!record_is_hidden(r) && slot_undo(slot, &record, &was_clean, &error) == 1) {
        say_end(slot, r == 0 && record.n_undos > 0, was_clean && !slot->has_said_stuck);
        record_remove(slot->order, supervisor->records_fd, NULL);
        slot_clear(slot);
        executor_on_changed(supervisor->executor);
        return;
    }
    slot->state = SLOT_UNDOING;
    if (!slot->has_said_stuck)
        executor_say(LOG_LEVEL_WARNING, "%s", error.text);
    slot->has_said_stuck = true;
    slot_set_timer(slot, RETRY_NSEC);
}

/* ---- what an earlier life of the executor left */

/* Without a record somebody has undone it, or the machine was started anew: both have to be seen in the
 * kernel. @accepted: the order's event order.accepted, null when the journal does not know it any more. */
static void slot_adopt(struct supervisor *supervisor, const char *order, json_t *accepted)
{
    const char *fault, *run = "", *step = "", *deadline = NULL, *boot = NULL;
    char our_boot[BOOT_ID_MAX];
    struct error error = {0};
    struct record record;
    struct slot *slot;
    int r = rollback_read(&record, supervisor->records_fd, order, NULL);

    fault = record.fault;
    json_unpack(accepted, "{s?s s?s s?s s?{s?s s?s}}", "boot", &boot, "run", &run, "step", &step, "body",
                "fault", &fault, "deadline", &deadline);
    if (r < 0 && deadline && time_parse(deadline, &record.deadline_real_usec) == 0)
        record.deadline_boot_nsec =
            time_boot_nsec() + (record.deadline_real_usec - time_now_usec()) * NSEC_PER_USEC;
    slot = slot_open(supervisor, order, fault_find(fault), &error);
    if (!slot) {
        executor_say(LOG_LEVEL_WARNING, "%s; left to the sweep", error.text);
        return;
    }
    slot->state = SLOT_ARMED;
    slot->over_boot_nsec = time_boot_nsec();
    slot->deadline_boot_nsec = record.deadline_boot_nsec;
    slot->deadline_real_usec = record.deadline_real_usec;
    slot->is_of_earlier_boot = boot && strcmp(boot, time_boot_id(our_boot));
    snprintf(slot->death, sizeof(slot->death), "%s",
             slot->is_of_earlier_boot ? "the host was restarted during the fault"
                                      : "the executor was started again; its holder had to end");
    snprintf(slot->run, sizeof(slot->run), "%s", run);
    snprintf(slot->step, sizeof(slot->step), "%s", step);
    slot_finish(slot);
}

/* Its end was told just before its record went: there is nothing more to say. */
static void forget_ended(struct supervisor *supervisor, const char *order)
{
    struct record record;
    struct error error = {0};
    bool was_clean;
    int r = rollback_read(&record, supervisor->records_fd, order, &error);

    if (r == -ENOENT)
        return;
    if (!record_is_hidden(r) && rollback_try(&record, &was_clean, &error) == 1)
        record_remove(order, supervisor->records_fd, NULL);
    else
        executor_say(LOG_LEVEL_WARNING, "%s; left to the sweep", error.text);
}

static void add_order(void *context, const char *name)
{
    if (uuid_is_valid(name) && !json_object_get(context, name))
        json_object_set_new(context, name, json_null());
}

void supervisor_adopt(struct supervisor *supervisor, json_t *orders)
{
    struct error error = {0};
    const char *order;
    json_t *accepted;
    size_t strays;

    if (io_list(supervisor->records_fd, ".", add_order, orders, &error) < 0)
        executor_say(LOG_LEVEL_ERROR, "%s", error.text);
    json_object_foreach(orders, order, accepted)
    {
        if (json_is_false(accepted))
            forget_ended(supervisor, order);
        else
            slot_adopt(supervisor, order, accepted);
    }
    if (undo_find_strays(supervisor->records_fd, &strays, &error) < 0)
        executor_say(LOG_LEVEL_WARNING, "%s", error.text);
    supervisor_take_results(supervisor);
}
