/* What this host passes on for others. */
#pragma once

#include <stdbool.h>
#include <sys/socket.h>

/** forwarding_is_on() - does this host forward packets of @family, between some of its devices at least? Asks
 * by netlink, since /proc/sys may be hidden from us; false also when it can't be asked. Needs no capability
 */
bool forwarding_is_on(sa_family_t family);
