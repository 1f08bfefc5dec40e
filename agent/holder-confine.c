/* What bounds a holder from outside of its own good will: its parent, the kernel's timer, its capabilities.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "common/hands.h"
#include "common/io.h"
#include "holder-life.h"
#include "privileges.h"

#define HOLDER_USER "grivet-holder"

/* The kernel kills us then even if we are stopped or stuck; the timer goes with us, not with our children
 * (timer_create(2)). Without it there is no fault. */
static int arm_kernel_timer(int64_t at_boot_nsec, struct error *error)
{
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGKILL};
    struct itimerspec at = {
        .it_value = {.tv_sec = at_boot_nsec / NSEC_PER_SEC, .tv_nsec = at_boot_nsec % NSEC_PER_SEC}};
    timer_t timer;

    if (!has_kernel_timer)
        return 0;
    if (timer_create(CLOCK_BOOTTIME, &event, &timer) < 0 ||
        timer_settime(timer, TIMER_ABSTIME, &at, NULL) < 0)
        return error_errno(error, errno, "can't arm the kernel timer that ends this holder");
    return 0;
}

/* Best effort: after the executor, which has -1000, we are the last that a host short of memory should kill.
 * And no page of ours may have to come back from a disk that hangs. MCL_FUTURE would make allocations fail
 * where the limit stays. */
static void resist_pressure(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    bool is_unlimited = setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0;

    if (fd >= 0)
        io_write_all(fd, "-900", 4);
    mlockall(is_unlimited ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT);
}

/* The executor made the channel, so its credentials name our parent; whoever else we have by now has adopted
 * us. Without the check a parent that died before the prctl() would go unnoticed. */
static int die_with_parent(struct error *error)
{
    struct ucred parent;
    socklen_t length = sizeof(parent);

    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return error_errno(error, errno, "can't tie the holder to its executor");
    if (getsockopt(CHANNEL_FD, SOL_SOCKET, SO_PEERCRED, &parent, &length) < 0)
        return error_errno(error, errno, "the holder's channel is no socket");
    if (getppid() != parent.pid)
        return error_set(error, EPIPE, "the executor is gone");
    return 0;
}

static void close_on_exec(void)
{
    for (int fd = JOB_FD; fd <= RECORDS_FD; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Records must be readable by a sweep that has no capability to read past file modes. */
int holder_confine(struct holder *holder, struct error *error)
{
    int r;

    close_on_exec();
    umask(022);
    prctl(PR_SET_NAME, RECORD_HOLDER_NAME);
    resist_pressure();
    r = arm_kernel_timer(holder->job->deadline_boot_nsec + RECORD_GRACE_NSEC, error);
    if (r == 0)
        r = privileges_drop(HOLDER_USER, RECORDS_FD, holder->fault->capabilities, error);
    if (r == 0)
        r = die_with_parent(error);
    return r;
}
