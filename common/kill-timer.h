/* The kernel's own end of a process: it needs nobody, not even the process itself. */
#pragma once

#include <stdint.h>

/**
 * kill_timer_arm() - the kernel sends this process SIGKILL at BOOTTIME @at_boot_nsec, even if it is stopped
 * or stuck Children don't inherit it (timer_create(2)): each arms its own. Return: 0 or -errno
 */
int kill_timer_arm(int64_t at_boot_nsec);
