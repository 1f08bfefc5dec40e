/* Clocks and their text. REALTIME is for talking to people, BOOTTIME for running: it counts suspend and never
 * jumps. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define USEC_PER_SEC  1000000LL
#define USEC_PER_MSEC 1000LL
#define NSEC_PER_SEC  1000000000LL
#define NSEC_PER_MSEC 1000000LL
#define NSEC_PER_USEC 1000LL

/** time_now_usec() - CLOCK_REALTIME in microseconds (a test build may shift it per host, see clock-hook.c) */
int64_t time_now_usec(void);
/** time_boot_nsec() - CLOCK_BOOTTIME in nanoseconds */
int64_t time_boot_nsec(void);

#define BOOT_ID_MAX 37
/** time_boot_id() - the kernel's boot id, 36 characters and a NUL (shared by all namespaces; test builds may
 * replace it). It is empty when the kernel could not be asked: then it says nothing about any other id */
const char *time_boot_id(char ret[BOOT_ID_MAX]);

/** time_is_synchronised() - does adjtimex(2) say that something keeps REALTIME right? Return: 1, 0 or -errno
 */
int time_is_synchronised(void);

#define TIME_TEXT_MAX 28
/** time_format() - RFC 3339 in UTC with microseconds: 2026-01-31T12:00:00.000000Z */
const char *time_format(int64_t usec, char ret[TIME_TEXT_MAX]);
/** time_parse() - RFC 3339 in UTC (ends in Z, up to 6 digits of a second). Return: 0 or -EINVAL */
int time_parse(const char *text, int64_t *ret_usec);

#define UUID_TEXT_MAX 37
/** uuid_new() - a UUIDv7 (RFC 9562): sorts by its time */
const char *uuid_new(char ret[UUID_TEXT_MAX]);
bool uuid_is_valid(const char *text);
