/* A deadline on two clocks. BOOTTIME counts suspend and never jumps, but a snapshot of a virtual machine
 * freezes it; REALTIME goes on there, but may be set. Whichever passes first ends a fault. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct deadline {
    int boot_fd, real_fd; /* timerfds: poll both for input */
    int64_t boot_nsec, real_usec;
};
#define DEADLINE_NONE INT64_MAX
#define DEADLINE_EMPTY                                                                                       \
    {                                                                                                        \
        .boot_fd = -1, .real_fd = -1, .boot_nsec = DEADLINE_NONE, .real_usec = DEADLINE_NONE                 \
    }

int deadline_open(struct deadline *deadline, struct error *error);
void deadline_close(struct deadline *deadline);
/** deadline_set() - arm both timers; DEADLINE_NONE never comes */
int deadline_set(struct deadline *deadline, int64_t boot_nsec, int64_t real_usec, struct error *error);
/** deadline_check() - after a timer fired: is it past? If not (the clock was set), arm again */
bool deadline_check(struct deadline *deadline);
bool deadline_is_past(int64_t boot_nsec, int64_t real_usec);
