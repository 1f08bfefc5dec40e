/* After a holder: undo what it left, look at the kernel until nothing is left, and only then say so. The same
 * for what an earlier life of the executor left behind. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

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

/* The holder that the record names, unless its number belongs to somebody else by now. */
static int open_holder(const struct record *record)
{
    int fd = record->holder_pid > 1 ? pidfd_open(record->holder_pid, 0) : -1;

    if (fd >= 0 && process_start_ticks(record->holder_pid) != record->holder_start_ticks) {
        close(fd);
        return -1;
    }
    return fd;
}

static int adopt(struct supervisor *supervisor, const struct record *record, struct error *error)
{
    const struct fault *fault = fault_find(record->fault);
    struct slot *slot;

    if (!fault)
        return error_set(error, EINVAL, "record %s: fault '%s' is unknown; left to the sweep", record->order,
                         record->fault);
    slot = slot_open(supervisor, error);
    if (!slot)
        return -EBUSY;
    slot->fault = fault;
    slot->is_leftover = true;
    slot->over_boot_nsec = time_boot_nsec();
    snprintf(slot->order, sizeof(slot->order), "%s", record->order);
    slot->deadline_boot_nsec = record->deadline_boot_nsec;
    slot->deadline_real_usec = record->deadline_real_usec;
    slot->state = SLOT_ARMED;
    slot->pidfd = open_holder(record);
    if (slot->pidfd < 0) {
        snprintf(slot->death, sizeof(slot->death), "the executor was started again; its holder was gone");
        slot_finish(slot);
        return 0;
    }
    slot_kill(slot);
    return slot_watch(slot, error);
}

static void cleanup_closedir(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

size_t supervisor_adopt(struct supervisor *supervisor)
{
    int fd = openat(supervisor->records_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(cleanup_closedir) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct error error = {0};
    struct record record;
    size_t count = 0, strays;
    int r;

    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (!uuid_is_valid(entry->d_name))
            continue;
        r = record_read(&record, supervisor->records_fd, entry->d_name, &error);
        if (r == 0)
            r = adopt(supervisor, &record, &error);
        if (r < 0)
            supervisor->events->say(supervisor->context, &error);
        count++;
    }
    if (undo_find_strays(supervisor->records_fd, &strays, &error) < 0)
        supervisor->events->say(supervisor->context, &error);
    return count;
}
