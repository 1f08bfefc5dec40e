/* The sweep that stays: every record is looked at again when the folder changes or the earliest deadline,
 * with its grace, is past. Nothing is remembered between two looks, so that nothing can go out of step with
 * the folder. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>

#include "deadline.h"
#include "sweep.h"

struct watch {
    int folder_fd;
    struct deadline deadline;
};

static void watch_close(struct watch *watch)
{
    cleanup_close(&watch->folder_fd);
    deadline_close(&watch->deadline);
}

static int watch_open(struct watch *watch, struct error *error)
{
    watch->folder_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (watch->folder_fd < 0 || inotify_add_watch(watch->folder_fd, RECORD_FOLDER,
                                                  IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE | IN_DELETE_SELF |
                                                      IN_MOVE_SELF | IN_ONLYDIR) < 0)
        return error_errno(error, errno, "%s: can't watch", RECORD_FOLDER);
    return deadline_open(&watch->deadline, error);
}

/* Which names changed doesn't matter; that the folder itself is gone does: the next start makes a new one. */
static int watch_drain(struct watch *watch, struct error *error)
{
    char buffer[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t got;

    while ((got = read(watch->folder_fd, buffer, sizeof(buffer))) > 0) {
        const struct inotify_event *event;

        for (char *next = buffer; next < buffer + got; next += sizeof(*event) + event->len) {
            event = (const struct inotify_event *)next;
            if (event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED))
                return error_set(error, ENOENT, "%s: was taken away", RECORD_FOLDER);
        }
    }
    return 0;
}

static int watch_once(struct watch *watch, const struct sweep *sweep, struct error *error)
{
    struct sweep_next next;
    size_t left;
    int r = sweep_look(sweep, false, &left, &next, error);

    if (r == 0)
        r = deadline_set(&watch->deadline, next.boot_nsec, next.real_usec, error);
    if (r < 0)
        return r;
    struct pollfd fds[] = {
        {.fd = watch->folder_fd, .events = POLLIN},
        {.fd = watch->deadline.boot_fd, .events = POLLIN},
        {.fd = watch->deadline.real_fd, .events = POLLIN},
    };
    if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
        return error_errno(error, errno, "can't wait for deadlines");
    return watch_drain(watch, error);
}

int sweep_watch(const struct sweep *sweep, struct error *error)
{
    _cleanup_(watch_close) struct watch watch = {.folder_fd = -1, .deadline = DEADLINE_EMPTY};
    int r = watch_open(&watch, error);

    while (r == 0)
        r = watch_once(&watch, sweep, error);
    return r;
}
