/* After a holder: undo what it left, look at the kernel until nothing is left, and only then say so. The same
 * for what an earlier life of the executor left behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "faults/kernel/undo.h"
#include "supervised.h"

/* Return: 1 nothing of this fault is in the kernel, 0 something is, -errno */
static int look(const struct slot *slot, const struct record *record, struct error *error)
{
    const struct fault_run run = {
        .fault = slot->fault, .order = slot->order, .deadline_boot_nsec = slot->deadline_boot_nsec};
    int r = record ? undo_is_done(record, error) : 1;

    if (r <= 0 || !slot->fault->verify_reverted)
        return r;
    return slot->fault->verify_reverted(&run, error) < 0 ? 0 : 1;
}

static const char *who_ended(const struct slot *slot, bool was_clean)
{
    if (slot->end == SUPERVISOR_HALT)
        return "halt";
    if (slot->end == SUPERVISOR_EXECUTOR)
        return "executor";
    return was_clean ? "kernel" : "executor";
}

static void say_interrupted(const struct slot *slot)
{
    /* A failure has been told; an end that somebody asked for is no interruption. */
    if (slot->has_failed || slot->end != SUPERVISOR_NOT_ENDED ||
        slot->over_boot_nsec >= slot->deadline_boot_nsec)
        return;
    slot_event(slot, "fault.interrupted", json_pack("{s:s}", "reason", slot->death));
}

static void say_reverted(const struct slot *slot, bool was_clean)
{
    int64_t from = slot->end == SUPERVISOR_NOT_ENDED && slot->over_boot_nsec >= slot->deadline_boot_nsec
                       ? slot->deadline_boot_nsec
                       : slot->over_boot_nsec;
    double late_msec = (double)((time_boot_nsec() - from) / NSEC_PER_USEC) / 1000.0;
    char at[TIME_TEXT_MAX];

    slot_event(slot, "fault.reverted",
               json_pack("{s:s s:f s:s s:O? s:b}", "reverted_at", time_format(time_now_usec(), at),
                         "revert_error_ms", late_msec, "ended_by", who_ended(slot, was_clean), "effect",
                         slot->effect, "is_interfered", false));
}

/* Three ends that the holder did not tell itself. */
static void say_end(const struct slot *slot, bool had_record, bool was_clean)
{
    bool is_reversible = slot->fault->flags & FAULT_REVERSIBLE;

    if (slot->has_ended)
        return;
    if (!is_reversible || (slot->state == SLOT_ARMING && !had_record)) {
        if (!slot->has_failed)
            slot_event(slot, "fault.failed",
                       json_pack("{s:s s:b}", "reason", slot->death, "is_reverted", is_reversible));
        return;
    }
    say_interrupted(slot);
    say_reverted(slot, was_clean);
}

static void slot_try_again(struct slot *slot, const struct error *error)
{
    if (!slot->has_said_stuck)
        slot->supervisor->events->say(slot->supervisor->context, error);
    slot->has_said_stuck = true;
    slot_set_timer(slot, time_boot_nsec() + SLOT_RETRY_NSEC);
}

static void slot_end_here(struct slot *slot, const struct record *record, bool was_clean, enum slot_state was)
{
    struct supervisor *supervisor = slot->supervisor;

    slot->state = was;
    say_end(slot, record != NULL, was_clean);
    if (record)
        record_remove(record, supervisor->records_fd, NULL);
    slot_clear(slot);
    supervisor->events->changed(supervisor->context);
}

void slot_finish(struct slot *slot)
{
    enum slot_state was = slot->state;
    struct record record;
    struct error error = {0};
    bool has_record = record_read(&record, slot->supervisor->records_fd, slot->order, &error) == 0, was_clean;
    int r;

    supervisor_take_results(slot->supervisor);
    /* A record that can't be read is not the same as none. */
    if (!has_record && error.code != ENOENT)
        slot->supervisor->events->say(slot->supervisor->context, &error);
    r = look(slot, has_record ? &record : NULL, &error);
    was_clean = r == 1 && !slot->has_said_stuck;
    if (r != 1 && has_record) {
        undo_all(&record, &error);
        r = look(slot, &record, &error);
    }
    if (r == 1) {
        slot_end_here(slot, has_record ? &record : NULL, was_clean, was);
        return;
    }
    if (!error.code)
        error_set(&error, EBUSY, "order %s: something of it is still in the kernel; trying on", slot->order);
    slot->state = SLOT_UNDOING;
    slot_try_again(slot, &error);
}

static const struct unfinished *unfinished_find(const struct unfinished *orders, size_t count,
                                                const char *order)
{
    for (size_t i = 0; i < count; i++)
        if (!strcmp(orders[i].order, order))
            return &orders[i];
    return NULL;
}

static struct slot *slot_open_leftover(struct supervisor *supervisor, const char *order,
                                       const char *fault_name, const struct unfinished *unfinished,
                                       struct error *error)
{
    const struct fault *fault = fault_find(fault_name);
    struct slot *slot;

    if (!fault) {
        error_set(error, EINVAL, "order %s: fault '%s' is unknown; left to the sweep", order, fault_name);
        return NULL;
    }
    slot = slot_open(supervisor, error);
    if (!slot)
        return NULL;
    slot->fault = fault;
    slot->is_leftover = true;
    slot->state = SLOT_ARMED;
    slot->over_boot_nsec = time_boot_nsec();
    snprintf(slot->death, sizeof(slot->death), "the executor was started again; its holder was gone");
    snprintf(slot->order, sizeof(slot->order), "%s", order);
    if (unfinished) {
        snprintf(slot->run, sizeof(slot->run), "%s", unfinished->run);
        snprintf(slot->step, sizeof(slot->step), "%s", unfinished->step);
    }
    return slot;
}

static int adopt_record(struct supervisor *supervisor, const struct record *record,
                        const struct unfinished *unfinished, struct error *error)
{
    struct slot *slot = slot_open_leftover(supervisor, record->order, record->fault, unfinished, error);

    if (!slot)
        return -error->code;
    slot->deadline_boot_nsec = record->deadline_boot_nsec;
    slot->deadline_real_usec = record->deadline_real_usec;
    slot->pidfd = record_open_holder(record);
    if (slot->pidfd < 0) {
        slot_finish(slot);
        return 0;
    }
    slot_kill(slot);
    return slot_watch(slot, error);
}

/* Without a record its holder has undone it, or the machine was started anew: both have to be seen in the
 * kernel. */
static int adopt_order(struct supervisor *supervisor, const struct unfinished *unfinished,
                       struct error *error)
{
    struct slot *slot =
        slot_open_leftover(supervisor, unfinished->order, unfinished->fault, unfinished, error);

    if (!slot)
        return -error->code;
    slot->deadline_real_usec = unfinished->deadline_real_usec;
    slot->deadline_boot_nsec =
        time_boot_nsec() + (unfinished->deadline_real_usec - time_now_usec()) * NSEC_PER_USEC;
    slot_finish(slot);
    return 0;
}

static void cleanup_closedir(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

static void adopt_records(struct supervisor *supervisor, const struct unfinished *orders, size_t count)
{
    int fd = openat(supervisor->records_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(cleanup_closedir) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct error error = {0};
    struct record record;
    int r;

    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (!uuid_is_valid(entry->d_name))
            continue;
        r = record_read(&record, supervisor->records_fd, entry->d_name, &error);
        if (r == 0)
            r = adopt_record(supervisor, &record, unfinished_find(orders, count, record.order), &error);
        if (r < 0)
            supervisor->events->say(supervisor->context, &error);
    }
}

void supervisor_adopt(struct supervisor *supervisor, const struct unfinished *orders, size_t count)
{
    struct error error = {0};
    size_t strays;

    /* First those without a record, while the records of the others are still there to tell them apart. */
    for (size_t i = 0; i < count; i++)
        if (faccessat(supervisor->records_fd, orders[i].order, F_OK, 0) < 0 &&
            adopt_order(supervisor, &orders[i], &error) < 0)
            supervisor->events->say(supervisor->context, &error);
    adopt_records(supervisor, orders, count);
    if (undo_find_strays(supervisor->records_fd, &strays, &error) < 0)
        supervisor->events->say(supervisor->context, &error);
}
