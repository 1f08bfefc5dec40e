/* Test builds only: several lab hosts on one kernel have clocks and boots of their own, from the environment.
 */
#include "clock-hook.h"

#include <stdlib.h>

int64_t clock_hook_offset_usec(void)
{
    const char *text = getenv("GRIVET_TEST_CLOCK_OFFSET_USEC");

    return text ? strtoll(text, NULL, 10) : 0;
}

const char *clock_hook_boot_id(void)
{
    return getenv("GRIVET_TEST_BOOT_ID");
}

bool clock_hook_is_test_build(void)
{
    return true;
}
