/* A deadline ends on whichever clock comes first, and only then. */
#include "unit.h"

#include <poll.h>

#include "agent/deadline.h"
#include "common/times.h"

#define MSEC_NSEC NSEC_PER_MSEC
#define FAR_NSEC  (time_boot_nsec() + 60 * NSEC_PER_SEC)
#define FAR_USEC  (time_now_usec() + 60 * USEC_PER_SEC)

static int wait_fired(struct deadline *deadline, int timeout_msec)
{
    struct pollfd fds[] = {{.fd = deadline->boot_fd, .events = POLLIN},
                           {.fd = deadline->real_fd, .events = POLLIN}};

    return poll(fds, 2, timeout_msec);
}

START_TEST(either_clock_ends)
{
    struct deadline deadline = {-1, -1};

    ck_assert_int_eq(deadline_open(&deadline, NULL), 0);
    ck_assert_int_eq(deadline_set(&deadline, time_boot_nsec() + 5 * MSEC_NSEC, FAR_USEC, NULL), 0);
    ck_assert_int_eq(wait_fired(&deadline, 5000), 1);
    ck_assert_int_eq(deadline_set(&deadline, FAR_NSEC, time_now_usec() + 5 * USEC_PER_MSEC, NULL), 0);
    ck_assert_int_eq(wait_fired(&deadline, 5000), 1);
    ck_assert_int_eq(deadline_set(&deadline, FAR_NSEC, FAR_USEC, NULL), 0);
    ck_assert_int_eq(wait_fired(&deadline, 0), 0); /* what had fired is forgotten */
    ck_assert_int_eq(deadline_set(&deadline, 0, FAR_USEC, NULL), 0);
    ck_assert_int_eq(wait_fired(&deadline, 5000), 1);
    deadline_close(&deadline);
}
END_TEST

START_TEST(none_never_comes)
{
    struct deadline deadline = {-1, -1};

    ck_assert_int_eq(deadline_open(&deadline, NULL), 0);
    ck_assert_int_eq(deadline_set(&deadline, DEADLINE_NONE, DEADLINE_NONE, NULL), 0);
    ck_assert_int_eq(wait_fired(&deadline, 20), 0);
    ck_assert(!deadline_is_past(FAR_NSEC, FAR_USEC));
    ck_assert(deadline_is_past(time_boot_nsec(), FAR_USEC));
    ck_assert(deadline_is_past(FAR_NSEC, time_now_usec()));
    deadline_close(&deadline);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {either_clock_ends, none_never_comes, NULL};

    return unit_run("deadline", tests);
}
