/* After a holder: undo what it left, look at the kernel until nothing is left, and only then say so. The same
 * for what an earlier life of the executor left behind, and for what the sweep did in our place. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "faults/kernel/undo.h"
#include "rollback.h"
#include "supervised.h"

static void say_interrupted(const struct slot *slot, const char *reason)
{
    slot_event(slot, "fault.interrupted", json_pack("{s:s}", "reason", reason));
}

static void say_reverted(struct slot *slot, int64_t at_usec, int64_t error_nsec, const char *ended_by)
{
    char at[TIME_TEXT_MAX];

    slot_event(slot, "fault.reverted",
               json_pack("{s:s s:f s:s s:O? s:b}", "reverted_at", time_format(at_usec, at), "revert_error_ms",
                         (double)(error_nsec / NSEC_PER_USEC) / 1000.0, "ended_by", ended_by, "effect",
                         slot->effect, "is_interfered", false));
    slot->has_ended = true;
}

static const char *who_ended(const struct slot *slot, bool was_clean)
{
    if (slot->end == SUPERVISOR_HALT)
        return "halt";
    return slot->end == SUPERVISOR_EXECUTOR || !was_clean ? "executor" : "kernel";
}

/* Three ends that the holder did not tell itself. */
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
                       json_pack("{s:s s:b}", "reason", slot->death, "is_reverted", is_reversible));
        return;
    }
    /* A failure has been told; an end that somebody asked for is no interruption. */
    if (!slot->has_failed && slot->end == SUPERVISOR_NOT_ENDED && is_early)
        say_interrupted(slot, slot->death);
    say_reverted(slot, time_now_usec(), time_boot_nsec() - due_nsec, who_ended(slot, was_clean));
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
 * only one. The holder's own words, if there are any, are better. */
static void slot_take_result(struct slot *slot, const struct record *result)
{
    if (slot->channel >= 0)
        slot_hear(slot, NULL);
    if (slot->has_ended)
        return;
    if (result->revert_error_nsec < 0)
        say_interrupted(slot, "the executor was gone, and the sweep undid it");
    say_reverted(slot, result->reverted_usec, result->revert_error_nsec, "sweep");
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
        supervisor->events->say(supervisor->context, &error);
    else if (slot)
        slot_take_result(slot, &result);
    unlinkat(supervisor->results_fd, name, 0);
}

void supervisor_take_results(struct supervisor *supervisor)
{
    rollback_list(supervisor->results_fd, take_result, supervisor, NULL);
}

/* ---- the end of a slot */

/* Return: 1 nothing of it is left, 0 something is, -errno */
static int slot_undo(const struct slot *slot, const struct record *record, bool *ret_was_clean,
                     struct error *error)
{
    const struct fault_run run = {
        .fault = slot->fault, .order = slot->order, .deadline_boot_nsec = slot->deadline_boot_nsec};
    int r = rollback_try(record, ret_was_clean, error);

    if (r <= 0 || !slot->fault->verify_reverted)
        return r;
    return slot->fault->verify_reverted(&run, error) < 0 ? 0 : 1;
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
        supervisor->events->say(supervisor->context, &error);
    if (slot_undo(slot, &record, &was_clean, &error) == 1) {
        say_end(slot, r == 0 && record.n_undos > 0, was_clean && !slot->has_said_stuck);
        record_remove(slot->order, supervisor->records_fd, NULL);
        slot_clear(slot);
        supervisor->events->changed(supervisor->context);
        return;
    }
    slot->state = SLOT_UNDOING;
    if (!slot->has_said_stuck)
        supervisor->events->say(supervisor->context, &error);
    slot->has_said_stuck = true;
    slot_set_timer(slot, time_boot_nsec() + SLOT_RETRY_NSEC);
}

/* ---- what an earlier life of the executor left */

struct leftovers {
    struct supervisor *supervisor;
    const struct unfinished *orders;
    size_t count;
};

static void slot_adopt(struct supervisor *supervisor, const struct record *record,
                       const struct unfinished *unfinished)
{
    const char *name = unfinished ? unfinished->fault : record->fault;
    const struct fault *fault = fault_find(name);
    struct error error = {0};
    struct slot *slot = NULL;

    if (fault)
        slot = slot_open(supervisor, &error);
    else
        error_set(&error, EINVAL, "order %s: fault '%s' is unknown; left to the sweep", record->order, name);
    if (!slot) {
        supervisor->events->say(supervisor->context, &error);
        return;
    }
    slot->fault = fault;
    slot->state = SLOT_UNDOING;
    slot->over_boot_nsec = time_boot_nsec();
    slot->deadline_boot_nsec = record->deadline_boot_nsec;
    slot->deadline_real_usec = record->deadline_real_usec;
    snprintf(slot->death, sizeof(slot->death), "the executor was started again; its holder had to end");
    snprintf(slot->order, sizeof(slot->order), "%s", record->order);
    if (unfinished) {
        snprintf(slot->run, sizeof(slot->run), "%s", unfinished->run);
        snprintf(slot->step, sizeof(slot->step), "%s", unfinished->step);
    }
    slot_finish(slot);
}

static void adopt_record(void *context, const char *name)
{
    const struct leftovers *all = context;
    const struct unfinished *unfinished = NULL;
    struct record record;

    for (size_t i = 0; i < all->count; i++)
        if (!strcmp(all->orders[i].order, name))
            unfinished = &all->orders[i];
    if (!uuid_is_valid(name))
        return;
    rollback_read(&record, all->supervisor->records_fd, name, NULL);
    slot_adopt(all->supervisor, &record, unfinished);
}

/* Without a record somebody has undone it, or the machine was started anew: both have to be seen in the
 * kernel.
 */
static void adopt_order(struct supervisor *supervisor, const struct unfinished *unfinished)
{
    struct record record;

    if (rollback_read(&record, supervisor->records_fd, unfinished->order, NULL) != -ENOENT)
        return;
    record.deadline_real_usec = unfinished->deadline_real_usec;
    record.deadline_boot_nsec =
        time_boot_nsec() + (unfinished->deadline_real_usec - time_now_usec()) * NSEC_PER_USEC;
    slot_adopt(supervisor, &record, unfinished);
}

void supervisor_adopt(struct supervisor *supervisor, const struct unfinished *orders, size_t count)
{
    struct leftovers all = {supervisor, orders, count};
    struct error error = {0};
    size_t strays;

    /* First those without a record, while the records of the others are still there to tell them apart. */
    for (size_t i = 0; i < count; i++)
        adopt_order(supervisor, &orders[i]);
    if (rollback_list(supervisor->records_fd, adopt_record, &all, &error) < 0 ||
        undo_find_strays(supervisor->records_fd, &strays, &error) < 0)
        supervisor->events->say(supervisor->context, &error);
    supervisor_take_results(supervisor);
}
