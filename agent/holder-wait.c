/* Waiting for whatever ends a fault: either clock, the executor's word, its end, or a signal. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "holder-life.h"

int holder_wait_open(struct holder *holder, struct error *error)
{
    sigset_t signals;
    int r = deadline_open(&holder->deadline, error);

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

static void holder_is_over(struct holder *holder, int64_t at_boot_nsec)
{
    if (!holder->is_over)
        holder->over_boot_nsec = at_boot_nsec;
    holder->is_over = true;
}

/* A deadline is over when it was due, which is before we woke up: that delay belongs to the error that we
 * report.
 */
static void check_deadline(struct holder *holder)
{
    int64_t late_nsec, boot_nsec = holder->job->deadline_boot_nsec;

    if (!deadline_check(&holder->deadline))
        return;
    if (time_boot_nsec() < boot_nsec) {
        late_nsec = (time_now_usec() - holder->job->deadline_real_usec) * NSEC_PER_USEC;
        boot_nsec = time_boot_nsec() - late_nsec;
    }
    holder_is_over(holder, boot_nsec);
}

static int on_end(void *context, struct message *message, struct error *error)
{
    holder_is_over(context, time_boot_nsec());
    return 0;
}

static const struct channel_row rows[] = {
    {CHANNEL_END, "end", CHANNEL_EXECUTOR, 2, CHANNEL_BODY_MAX, false, on_end},
    {},
};

/* An executor that is gone, or talks nonsense, ends the fault like one that asks for it. */
static void receive(struct holder *holder)
{
    int64_t at = time_boot_nsec();

    if (channel_receive(CHANNEL_FD, CHANNEL_EXECUTOR, rows, holder, NULL) < 0)
        holder_is_over(holder, at);
}

int holder_wait(struct holder *holder, int64_t until_nsec, struct error *error)
{
    struct pollfd fds[] = {
        {.fd = holder->deadline.boot_fd, .events = POLLIN},
        {.fd = holder->deadline.real_fd, .events = POLLIN},
        {.fd = CHANNEL_FD, .events = POLLIN},
        {.fd = holder->signal_fd, .events = POLLIN},
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
            holder_is_over(holder, time_boot_nsec());
    }
    return 1;
}
