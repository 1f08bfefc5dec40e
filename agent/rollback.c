/* Undoing what a record says: see rollback.h. */
#include "rollback.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "faults/kernel/undo.h"

int rollback_read(struct record *ret, int folder_fd, const char *order, struct error *error)
{
    int r = record_read(ret, folder_fd, order, error);

    if (r == 0)
        return 0;
    *ret = (struct record){.fault = "unknown"};
    snprintf(ret->order, sizeof(ret->order), "%s", order);
    time_boot_id(ret->boot);
    undo_guess(ret);
    return r;
}

/* Return: 1 it is dead, 0 it is still dying, -errno */
static int kill_holder(const struct record *record, struct error *error)
{
    _cleanup_close_ int pidfd = record_open_holder(record);
    struct pollfd death = {.fd = pidfd, .events = POLLIN};

    if (pidfd == -ESRCH)
        return 1;
    if (pidfd < 0)
        return error_errno(error, -pidfd, "can't tell whether holder %d lives", record->holder_pid);
    if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        return error_errno(error, errno, "can't kill holder %d", record->holder_pid);
    if (poll(&death, 1, 0) == 1)
        return 1;
    error_set(error, ETIME, "holder %d was killed and does not go (see /proc/%d/stack)", record->holder_pid,
              record->holder_pid);
    return 0;
}

int rollback_try(const struct record *record, bool *ret_was_clean, struct error *error)
{
    struct error words = {0};
    int r = kill_holder(record, error);

    if (r <= 0)
        return r;
    r = undo_is_done(record, error);
    *ret_was_clean = r == 1;
    if (r == 1)
        return 1;
    undo_all(record, &words);
    r = undo_is_done(record, error);
    if (r == 0)
        error_set(error, EBUSY, "something of it is still in the kernel%s%s", words.code ? ": " : "",
                  words.text);
    return r;
}

int rollback_list(int folder_fd, void (*each)(void *context, const char *name), void *context,
                  struct error *error)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (!folder) {
        cleanup_close(&fd);
        return error_errno(error, errno, "can't list a folder of records");
    }
    for (struct dirent *entry; (entry = readdir(folder));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            each(context, entry->d_name);
    closedir(folder);
    return 0;
}
