/* A deadline on two clocks. BOOTTIME counts suspend and never jumps, but a snapshot of a virtual machine
 * freezes it; REALTIME goes on there, but may be set. Whichever passes first ends a fault. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define DEADLINE_NONE INT64_MAX

/** struct deadline - timerfds, -1 until deadline_open(); poll both for input, then look at the clocks and set
 * again: a clock that was set wakes as well */
struct deadline {
    int boot_fd, real_fd;
};

int deadline_open(struct deadline *deadline, struct error *error);
void deadline_close(struct deadline *deadline);
/** deadline_set() - arm both timers; DEADLINE_NONE never comes */
int deadline_set(const struct deadline *deadline, int64_t boot_nsec, int64_t real_usec, struct error *error);
bool deadline_is_past(int64_t boot_nsec, int64_t real_usec);
