/* What bounds a holder from outside of its own good will, and all of it that can be had before it has a job.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "common/hands.h"
#include "common/kill-timer.h"
#include "common/own-process.h"
#include "holder.h"
#include "memory.h"
#include "scope.h"

#define RESERVE_NAME "grivet-reserve" /* until it has a job: nobody shall take it for a fault */

/* The executor made the channel, so its credentials name our parent; whoever else we have by now has adopted
 * us. Without the check a parent that died before the prctl() would go unnoticed. */
static int die_with_parent(struct error *error)
{
    struct ucred parent;
    socklen_t length = sizeof(parent);

    if (has_parent_death && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return error_errno(error, errno, "can't tie the holder to its executor");
    if (getsockopt(CHANNEL_FD, SOL_SOCKET, SO_PEERCRED, &parent, &length) < 0)
        return error_errno(error, errno, "the holder's channel is no socket");
    if (getppid() != parent.pid)
        return error_set(error, EPIPE, "the executor is gone");
    return 0;
}

/* The filters of all faults that there are, each of which takes longer than the rest that a job asks for. The
 * bounding set as small as it can be: there is nothing more to execute. */
static int narrow(struct holder *holder, struct error *error)
{
    uint64_t capabilities = 0;
    int r = 0;

    for (const struct fault *const *fault = fault_registry; r == 0 && *fault; fault++) {
        struct sandbox_filter *filter = &holder->filters[(*fault)->mechanisms];

        capabilities |= (*fault)->capabilities;
        if (!filter->code)
            r = sandbox_filter_make(filter, SANDBOX_HOLDER | (*fault)->mechanisms, error);
    }
    return r < 0 ? r : privileges_bound(capabilities, error);
}

/* All that needs no job, while there is time for it: words and buffers as well, so that later there is
 * nothing to fail. */
int holder_get_ready(struct holder *holder, struct error *error)
{
    int r = die_with_parent(error);

    if (r == 0)
        r = privileges_find(OWN_USER, &holder->account, error);
    if (r < 0)
        return r;
    fcntl(CHANNEL_FD, F_SETFD, FD_CLOEXEC);
    prctl(PR_SET_NAME, RESERVE_NAME);
    holder->effect = json_object();
    holder->plan.summary = json_array();
    holder->plan.limits = json_array();
    if (!holder->effect || !holder->plan.summary || !holder->plan.limits)
        return error_oom(error);
    tzset(); /* the first time that is written as text would look for the time zone, and seek in its file */
    r = narrow(holder, error);
    memory_lock();
    return r;
}

int holder_confine(struct holder *holder, struct error *error)
{
    int64_t end_boot_nsec = holder->job->deadline_boot_nsec + RECORD_GRACE_NSEC;
    int r;

    prctl(PR_SET_NAME, OWN_HOLDER_NAME);
    r = kill_timer_arm(end_boot_nsec);
    if (r < 0)
        return error_errno(error, -r, "can't arm the kernel timer that ends this holder");
    if (holder->fault->slice)
        r = scope_enter(holder->job->order, holder->fault->slice(holder->parameters), end_boot_nsec, error);
    if (r < 0)
        return r;
    /* The one file that it can write to is its record, in a folder whose room all share. */
    r = sandbox_limit_files(RECORD_BYTES_MAX, error);
    if (r == 0)
        r = privileges_drop(&holder->account, holder->fault->capabilities, error);
    if (r == 0)
        r = die_with_parent(error);
    return r < 0 ? r : sandbox_filter_enter(&holder->filters[holder->fault->mechanisms], error);
}
