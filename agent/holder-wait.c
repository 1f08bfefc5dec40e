/* Waiting for whatever ends a fault: either clock, the executor's word, its end, a signal, or the halt file.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "holder.h"

static bool has_halt_file(void)
{
    struct stat status;

    return lstat(HALT_FILE, &status) == 0;
}

/* Root's way to halt that needs nobody else: not even an executor that gets to run. */
static int watch_halt_file(struct holder *holder, struct error *error)
{
    holder->halt_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (holder->halt_fd < 0 || inotify_add_watch(holder->halt_fd, RUN_FOLDER, IN_CREATE | IN_MOVED_TO) < 0)
        return error_errno(error, errno, "can't watch for the halt file");
    return has_halt_file() ? error_set(error, ECANCELED, "halted: the file " HALT_FILE " is there") : 0;
}

int holder_wait_open(struct holder *holder, struct error *error)
{
    sigset_t signals;
    int r = deadline_open(&holder->deadline, error);

    if (r == 0)
        r = watch_halt_file(holder, error);
    if (r < 0)
        return r;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    if (sigprocmask(SIG_SETMASK, &signals, NULL) < 0)
        return error_errno(error, errno, "can't block signals");
    holder->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (holder->signal_fd < 0)
        return error_errno(error, errno, "can't watch for signals");
    return deadline_set(&holder->deadline, holder->job->deadline_boot_nsec, holder->job->deadline_real_usec,
                        error);
}

/* The first that ends it counts. */
static void end(struct holder *holder, int64_t at_boot_nsec, bool is_halted)
{
    if (holder->is_over)
        return;
    holder->is_over = true;
    holder->is_halted = is_halted;
    holder->over_boot_nsec = at_boot_nsec;
}

void holder_end_harm(struct holder *holder, int64_t at_boot_nsec)
{
    holder->is_harming = !holder->is_over;
    end(holder, at_boot_nsec, false);
}

/* A deadline is over when it was due, which is before we woke up: that delay belongs to the error that we
 * report. Except for a clock that was set to later than that: until then, it was not due.
 */
static void check_deadline(struct holder *holder)
{
    int64_t late_nsec, boot_nsec = holder->job->deadline_boot_nsec;
    uint64_t count;
    bool was_set = read(holder->deadline.real_fd, &count, sizeof(count)) < 0 && errno == ECANCELED;

    if (!deadline_is_past(boot_nsec, holder->job->deadline_real_usec)) {
        deadline_set(&holder->deadline, boot_nsec, holder->job->deadline_real_usec, NULL);
        return;
    }
    if (time_boot_nsec() < boot_nsec) {
        late_nsec = was_set ? 0 : (time_now_usec() - holder->job->deadline_real_usec) * NSEC_PER_USEC;
        boot_nsec = time_boot_nsec() - late_nsec;
    }
    end(holder, boot_nsec, false);
}

static int on_end(void *context, struct message *message, struct error *error)
{
    end(context, time_boot_nsec(), false);
    return 0;
}

static int on_job(void *context, struct message *message, struct error *error)
{
    struct holder *holder = context;

    return holder->job ? error_set(error, EPROTO, "a second job")
                       : job_read(&holder->job, message->fd, error);
}

static int on_record(void *context, struct message *message, struct error *error)
{
    struct holder *holder = context;

    if (holder->run.record_fd >= 0)
        return error_set(error, EPROTO, "a second record");
    holder->run.record_fd = TAKE_FD(message->fd);
    return 0;
}

static const struct channel_row rows[] = {
    {CHANNEL_END, "end", CHANNEL_EXECUTOR, 0, 0, false, on_end},
    {CHANNEL_JOB, "job", CHANNEL_EXECUTOR, 0, 0, true, on_job},
    {CHANNEL_RECORD, "record", CHANNEL_EXECUTOR, 0, 0, true, on_record},
    {},
};

/* An executor that is gone, or talks nonsense, ends the fault like one that asks for it. */
static void receive(struct holder *holder)
{
    int64_t at = time_boot_nsec();

    if (channel_receive(CHANNEL_FD, CHANNEL_EXECUTOR, rows, holder, NULL) < 0)
        end(holder, at, false);
}

int holder_wait_message(struct holder *holder, struct error *error)
{
    struct pollfd channel = {.fd = CHANNEL_FD, .events = POLLIN};
    int r;

    if (poll(&channel, 1, -1) < 0)
        return error_errno(error, errno, "can't wait for the executor");
    r = channel_receive(CHANNEL_FD, CHANNEL_EXECUTOR, rows, holder, error);
    return r < 0 ? r : 0;
}

static void check_halt_file(struct holder *holder)
{
    _Alignas(struct inotify_event) char buffer[1024];
    int64_t at = time_boot_nsec();

    while (read(holder->halt_fd, buffer, sizeof(buffer)) > 0) {
        /* What happened is of no interest: we look. */
    }
    if (has_halt_file())
        end(holder, at, true);
}

int holder_wait(struct holder *holder, int64_t until_nsec, struct error *error)
{
    struct pollfd fds[] = {
        {.fd = holder->deadline.boot_fd, .events = POLLIN},
        {.fd = holder->deadline.real_fd, .events = POLLIN},
        {.fd = CHANNEL_FD, .events = POLLIN},
        {.fd = holder->signal_fd, .events = POLLIN},
        {.fd = holder->halt_fd, .events = POLLIN},
        {.fd = holder->is_watching ? holder->run.watch_fd : -1, .events = POLLIN},
    };

    while (!holder->is_over) {
        int64_t left = until_nsec - time_boot_nsec();
        struct timespec timeout = {.tv_sec = left / NSEC_PER_SEC, .tv_nsec = left % NSEC_PER_SEC};
        int ready;

        if (left <= 0)
            return 0;
        ready = ppoll(fds, ARRAY_SIZE(fds), &timeout, NULL);
        if (ready < 0 && errno != EINTR)
            return error_errno(error, errno, "can't wait for the deadline");
        if (ready <= 0)
            continue;
        if (fds[0].revents || fds[1].revents)
            check_deadline(holder);
        if (fds[2].revents)
            receive(holder);
        if (fds[3].revents)
            end(holder, time_boot_nsec(), true);
        if (fds[4].revents)
            check_halt_file(holder);
        if (fds[5].revents && !holder->is_over)
            return 0;
    }
    return 1;
}
