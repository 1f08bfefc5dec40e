/* No hooks: the clock and the boot id are the kernel's. */
#include "clock-hook.h"

#include <stddef.h>

int64_t clock_hook_offset_usec(void)
{
    return 0;
}

const char *clock_hook_boot_id(void)
{
    return NULL;
}

bool clock_hook_is_test_build(void)
{
    return false;
}
