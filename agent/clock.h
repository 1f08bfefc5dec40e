/* Is this host's REALTIME kept right, as seen from within a sandbox that may not ask the kernel? */
#pragma once

#include <stdbool.h>

/**
 * clock_is_synchronised() - does something keep REALTIME right?
 * Asks the kernel; where systemd's ProtectClock= forbids it (EPERM for all of adjtimex(2), reading too),
 * systemd-timedated by the system bus, for a second at most. Who can't be asked counts as no.
 */
bool clock_is_synchronised(void);
