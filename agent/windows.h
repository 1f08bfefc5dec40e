/* When faults of a class may be under way: hours of days of the week, in the host's own time zone. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/error.h"

#define WINDOWS_MAX 16

/** struct window - @days: bit 0 = Sunday; @until_minute: of the same day, or (over 24 * 60) of the next one
 */
struct window {
    const char *text;
    unsigned int days;
    int from_minute, until_minute;
};

/** struct windows - none (@count 0) = always; every @text is borrowed */
struct windows {
    size_t count;
    struct window list[WINDOWS_MAX];
};

/**
 * windows_use_zone() - from now on this process reckons local time in @zone, a name of the time zone database
 * (Europe/Berlin) or UTC. It is read here and once: the C library keeps what it has as long as TZ stays
 * Return: -EINVAL for a name that the database does not have, which the C library would take for UTC
 */
int windows_use_zone(const char *zone, struct error *error);
/** windows_parse() - one more window: "Mon..Fri 09:00..15:00", "Sat,Sun 22:00..04:00" (until the next day) */
int windows_parse(struct windows *windows, const char *text, struct error *error);
/**
 * windows_next() - the first moment from @from_usec on at which something of @length_usec begins and ends
 * inside, across windows that touch one another
 * Return: REALTIME in microseconds; INT64_MAX = in the next eight days there is none
 */
int64_t windows_next(const struct windows *windows, int64_t from_usec, int64_t length_usec);
/** windows_describe() - all of them with @zone, on one line */
const char *windows_describe(const struct windows *windows, const char *zone, char *ret, size_t size);
