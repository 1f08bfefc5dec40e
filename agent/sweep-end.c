/* Ending one fault from its record alone, without the process that made it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "common/hands.h"
#include "faults/kernel/undo.h"
#include "sweep-result.h"
#include "sweep.h"

#define DEATH_MSEC      2000
#define UNDO_NSEC       NSEC_PER_SEC
#define UNDO_RETRY_MSEC 10

static int kill_holder(const struct record *record, struct error *error)
{
    _cleanup_close_ int pidfd = record_open_holder(record);
    struct pollfd death = {.fd = pidfd, .events = POLLIN};

    if (pidfd < 0)
        return 0;
    if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        return error_errno(error, errno, "can't kill holder %d", record->holder_pid);
    if (poll(&death, 1, DEATH_MSEC) != 1)
        return error_set(error, ETIME, "holder %d was killed and does not go (see /proc/%d/stack)",
                         record->holder_pid, record->holder_pid);
    return 0;
}

/* The last file of a process that dies may close a moment after its end shows, and no event tells when. */
static int undo(const struct record *record, struct error *error)
{
    int64_t until = time_boot_nsec() + UNDO_NSEC;
    struct error words = {0};
    int r;

    for (;;) {
        undo_all(record, &words);
        r = undo_is_done(record, error);
        if (r != 0 || time_boot_nsec() >= until)
            break;
        poll(NULL, 0, UNDO_RETRY_MSEC);
    }
    if (r == 0)
        return error_set(error, EBUSY, "something of it is still in the kernel%s%s", words.code ? ": " : "",
                         words.text);
    return r < 0 ? r : 0;
}

static int write_result(const struct sweep *sweep, const struct record *record, const char *reason,
                        struct error *error)
{
    struct sweep_result result = {
        .is_reverted = true,
        .at_usec = time_now_usec(),
        .revert_error_nsec = record->deadline_boot_nsec ? time_boot_nsec() - record->deadline_boot_nsec : 0,
    };

    snprintf(result.order, sizeof(result.order), "%s", record->order);
    snprintf(result.fault, sizeof(result.fault), "%s", record->fault);
    snprintf(result.reason, sizeof(result.reason), "%s", reason);
    return sweep_result_write(&result, sweep->results_fd, error);
}

/* A result that can't be written must not keep a record alive that describes nothing any more. */
int sweep_end(const struct sweep *sweep, const struct record *record, const char *reason, struct error *error)
{
    char line[ERROR_TEXT_MAX];
    int r;

    if (!has_sweep)
        return error_set(error, EPERM, "found, and left alone: this is a mutated build");
    r = kill_holder(record, error);
    if (r == 0)
        r = undo(record, error);
    if (r < 0)
        return r;
    r = write_result(sweep, record, reason, error);
    if (r < 0)
        sweep->say(error->text);
    r = record_remove(record, sweep->records_fd, error);
    if (r < 0 && r != -ENOENT)
        return r;
    snprintf(line, sizeof(line), "%s: ended %s (%s)", record->order, record->fault, reason);
    sweep->say(line);
    return 0;
}
