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

#include "common/io.h"
#include "faults/kernel/undo.h"

int rollback_read(struct record *ret, int folder_fd, const char *order, struct error *error)
{
    int r = record_read(ret, folder_fd, order, error);

    if (r == 0)
        return 0;
    ret->n_undos = 0;
    if (!*ret->order) {
        snprintf(ret->order, sizeof(ret->order), "%s", order);
        snprintf(ret->fault, sizeof(ret->fault), "unknown");
        time_boot_id(ret->boot);
    }
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

/* ---- holders without a record that says so */

struct search {
    int folder_fd;
    pid_t pid;
    bool is_recorded;
};

static void look_at_record(void *context, const char *name)
{
    struct search *search = context;
    struct record record;

    record_read(&record, search->folder_fd, name, NULL);
    search->is_recorded |= record.holder_pid == search->pid;
}

/* One that is dead and waits for its parent holds nothing. */
static bool is_alive(pid_t pid)
{
    _cleanup_close_ int pidfd = pidfd_open(pid, 0);
    struct pollfd death = {.fd = pidfd, .events = POLLIN};

    return pidfd >= 0 && poll(&death, 1, 0) == 0;
}

static void look_at_process(void *context, const char *name)
{
    struct search search = *(struct search *)context;
    int length = 0;

    if (sscanf(name, "%d%n", &search.pid, &length) != 1 || name[length] || !process_is_holder(search.pid) ||
        !is_alive(search.pid))
        return;
    rollback_list(search.folder_fd, look_at_record, &search, NULL);
    if (!search.is_recorded)
        ((struct search *)context)->pid = search.pid;
}

int rollback_find_stranger(int folder_fd, struct error *error)
{
    _cleanup_close_ int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct search search = {.folder_fd = folder_fd};
    int r = proc_fd < 0 ? error_errno(error, errno, "can't look through /proc")
                        : rollback_list(proc_fd, look_at_process, &search, error);

    if (r == 0 && search.pid)
        r = error_set(error, EBUSY, "its record does not read, and holder %d may be its own", search.pid);
    return r;
}

int rollback_list(int folder_fd, void (*each)(void *context, const char *name), void *context,
                  struct error *error)
{
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int r;

    if (!folder) {
        cleanup_close(&fd);
        return error_errno(error, errno, "can't list a folder of records");
    }
    while ((r = io_next_entry(folder, &entry)) > 0)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            each(context, entry->d_name);
    closedir(folder);
    return r < 0 ? error_errno(error, -r, "can't list all of a folder") : 0;
}
