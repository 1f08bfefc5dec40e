/* Tells systemd that this process still comes round, in the few lines of sd_notify(3) that a program needs
 * which links as little as can be. Without a watchdog in the unit all of this does nothing. */
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include "common/cleanup.h"
#include "common/error.h"

/** struct watchdog - @fd: -1 = nobody wants to know; @period_msec: how often to tell, -1 = never */
struct watchdog {
    int fd, period_msec;
    struct sockaddr_un address;
    socklen_t address_length;
};

/** watchdog_open() - from $WATCHDOG_USEC, $WATCHDOG_PID and $NOTIFY_SOCKET (sd_watchdog_enabled(3)) */
int watchdog_open(struct watchdog *ret, struct error *error);
/** watchdog_tell() - never waits: a service manager that does not read must not stop us */
void watchdog_tell(const struct watchdog *watchdog);
void watchdog_close(struct watchdog *watchdog);
