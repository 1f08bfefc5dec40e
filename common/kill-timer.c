#include "kill-timer.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

#include "hands.h"
#include "times.h"

int kill_timer_arm(int64_t at_boot_nsec)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    const struct itimerspec at = {
        .it_value = {.tv_sec = at_boot_nsec / NSEC_PER_SEC, .tv_nsec = at_boot_nsec % NSEC_PER_SEC}};
    timer_t timer;

    if (!has_kernel_timer)
        return 0;
    return timer_create(CLOCK_BOOTTIME, &event, &timer) < 0 ||
                   timer_settime(timer, TIMER_ABSTIME, &at, NULL) < 0
               ? -errno
               : 0;
}
