/* See clock.h. Source of the property: org.freedesktop.timedate1(5). */
#include "clock.h"

#include <systemd/sd-bus.h>

#include "common/cleanup.h"
#include "common/times.h"

#define TIMEDATED    "org.freedesktop.timedate1"
#define TIMEOUT_USEC (1 * USEC_PER_SEC)

static bool ask_timedated(void)
{
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    int is_synchronised = 0;

    if (sd_bus_open_system(&bus) < 0 || sd_bus_set_method_call_timeout(bus, TIMEOUT_USEC) < 0 ||
        sd_bus_get_property_trivial(bus, TIMEDATED, "/org/freedesktop/timedate1", TIMEDATED,
                                    "NTPSynchronized", NULL, 'b', &is_synchronised) < 0)
        return false;
    return is_synchronised;
}

bool clock_is_synchronised(void)
{
    int r = time_is_synchronised();

    return r < 0 ? ask_timedated() : r > 0;
}
