/* What a test build may replace per host: the clock's offset and the boot id. The other build has
 * clock-hook-none.c. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/** clock_hook_offset_usec() - added to CLOCK_REALTIME; 0 outside of test builds */
int64_t clock_hook_offset_usec(void);
/** clock_hook_boot_id() - replaces the kernel's boot id; NULL = the kernel's own */
const char *clock_hook_boot_id(void);
/** clock_hook_is_test_build() - then a file of the user who runs us counts as root's */
bool clock_hook_is_test_build(void);
