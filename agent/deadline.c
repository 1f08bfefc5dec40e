/* Deadlines on two clocks: see deadline.h. */
#include "deadline.h"

#include <errno.h>
#include <sys/timerfd.h>

#include "common/clock-hook.h"
#include "common/times.h"

int deadline_open(struct deadline *deadline, struct error *error)
{
    deadline->boot_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    deadline->real_fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (deadline->boot_fd < 0 || deadline->real_fd < 0)
        return error_errno(error, errno, "can't make a timer for the deadline");
    return 0;
}

void deadline_close(struct deadline *deadline)
{
    cleanup_close(&deadline->boot_fd);
    cleanup_close(&deadline->real_fd);
    deadline->boot_fd = deadline->real_fd = -1;
}

/* A time before the epoch's first second is past too, and zero would disarm the timer. ECANCELED tells that
 * the clock was set meanwhile: the timer is armed all the same. */
static int deadline_arm(int fd, int flags, int64_t nsec)
{
    struct itimerspec at = {.it_value = {.tv_sec = nsec / NSEC_PER_SEC, .tv_nsec = nsec % NSEC_PER_SEC}};

    if (nsec <= 0)
        at.it_value = (struct timespec){.tv_nsec = 1};
    return timerfd_settime(fd, TFD_TIMER_ABSTIME | flags, &at, NULL) < 0 && errno != ECANCELED ? -errno : 0;
}

int deadline_set(const struct deadline *deadline, int64_t boot_nsec, int64_t real_usec, struct error *error)
{
    int64_t kernel_usec = real_usec == DEADLINE_NONE ? real_usec : real_usec - clock_hook_offset_usec();
    int r = deadline_arm(deadline->boot_fd, 0, boot_nsec);

    if (r == 0)
        r = deadline_arm(deadline->real_fd, TFD_TIMER_CANCEL_ON_SET,
                         kernel_usec > INT64_MAX / NSEC_PER_USEC ? INT64_MAX : kernel_usec * NSEC_PER_USEC);
    return r < 0 ? error_errno(error, -r, "can't arm the timer of the deadline") : 0;
}

bool deadline_is_past(int64_t boot_nsec, int64_t real_usec)
{
    return time_boot_nsec() >= boot_nsec || time_now_usec() >= real_usec;
}
