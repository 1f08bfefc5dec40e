/*
 * See windows.h. The C library knows time zones, but only one at a time for the whole process: mktime(3) and
 * localtime_r(3) go by TZ, and nothing else in this house asks for local time. What a clock shows twice or
 * never (when summer time ends or begins) is what mktime(3) makes of it.
 */
#include "windows.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/times.h"

#define ZONES           "/usr/share/zoneinfo/"
#define DAY_MINUTES     (24 * 60)
#define DAYS_AHEAD      8
#define ZONE_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-/"

int windows_use_zone(const char *zone, struct error *error)
{
    char path[128], magic[4] = "";
    _cleanup_close_ int fd = -1;

    if (strspn(zone, ZONE_CHARACTERS) == strlen(zone) && *zone != '/' &&
        snprintf(path, sizeof(path), ZONES "%s", zone) < (int)sizeof(path))
        fd = open(path, O_RDONLY | O_CLOEXEC);
    if (strcmp(zone, "UTC") && (read(fd, magic, sizeof(magic)) != sizeof(magic) || memcmp(magic, "TZif", 4)))
        return error_set(error, EINVAL,
                         "'%.60s' is no time zone of " ZONES " (tzdata); expected UTC or Europe/Berlin",
                         zone);
    if (setenv("TZ", strcmp(zone, "UTC") ? path : "UTC0", 1) < 0)
        return error_oom(error);
    tzset();
    return 0;
}

/* ---- from text */

/* Mon, Tue..: 0 = Sunday, -1 = none. */
static int day_of(const char *text)
{
    static const char names[] = "SunMonTueWedThuFriSat";

    for (int day = 0; day < 7; day++)
        if (!strncmp(text, names + 3 * day, 3))
            return day;
    return -1;
}

/* A day, or a range of days that may go over the end of the week. Return: how long its text is, 0 = none */
static int parse_days(const char *text, unsigned int *days)
{
    int first = day_of(text), last = first, length = 3;

    if (first >= 0 && !strncmp(text + 3, "..", 2)) {
        last = day_of(text + 5);
        length = 8;
    }
    if (first < 0 || last < 0)
        return 0;
    for (int day = first;; day = (day + 1) % 7) {
        *days |= 1U << day;
        if (day == last)
            return length;
    }
}

/* HH:MM..HH:MM and nothing more. */
static int parse_hours(const char *text, struct window *window)
{
    static const char shape[] = "dd:dd..dd:dd";
    int hours[2], minutes[2];

    for (size_t i = 0; i < sizeof(shape); i++)
        if (shape[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != shape[i])
            return -EINVAL;
    sscanf(text, "%2d:%2d..%2d:%2d", &hours[0], &minutes[0], &hours[1], &minutes[1]);
    window->from_minute = hours[0] * 60 + minutes[0];
    window->until_minute = hours[1] * 60 + minutes[1];
    if (minutes[0] > 59 || minutes[1] > 59 || window->from_minute >= DAY_MINUTES ||
        window->until_minute > DAY_MINUTES || window->from_minute == window->until_minute)
        return -EINVAL;
    if (window->until_minute < window->from_minute)
        window->until_minute += DAY_MINUTES;
    return 0;
}

int windows_parse(struct windows *windows, const char *text, struct error *error)
{
    struct window window = {.text = text};
    const char *at = text;
    int length;

    do {
        at += at > text; /* the comma */
        length = parse_days(at, &window.days);
        at += length;
    } while (length && *at == ',');
    if (!length || *at != ' ' || parse_hours(at + 1, &window) < 0)
        return error_set(error, EINVAL, "'%.60s' is no window; expected \"Mon..Fri 09:00..15:00\"", text);
    if (windows->count == WINDOWS_MAX)
        return error_set(error, EINVAL, "more than %d windows", WINDOWS_MAX);
    windows->list[windows->count++] = window;
    return 0;
}

const char *windows_describe(const struct windows *windows, const char *zone, char *ret, size_t size)
{
    size_t length = 0;

    *ret = '\0';
    for (size_t i = 0; i < windows->count && length < size; i++)
        length += (size_t)snprintf(ret + length, size - length, "%s%s", i ? "; " : "", windows->list[i].text);
    if (length < size)
        snprintf(ret + length, size - length, " (%s)", zone);
    return ret;
}

/* ---- in time */

static int64_t moment(const struct tm *date, int days, int minute)
{
    struct tm tm = {.tm_year = date->tm_year,
                    .tm_mon = date->tm_mon,
                    .tm_mday = date->tm_mday + days,
                    .tm_hour = minute / 60,
                    .tm_min = minute % 60,
                    .tm_isdst = -1};

    return mktime(&tm) * USEC_PER_SEC;
}

/* @window as it lies @days after @date. Return: whether it is there on that day */
static bool find(const struct window *window, const struct tm *date, int days, int64_t *ret_from_usec,
                 int64_t *ret_until_usec)
{
    if (!(window->days & 1U << ((date->tm_wday + days + 7) % 7)))
        return false;
    *ret_from_usec = moment(date, days, window->from_minute);
    *ret_until_usec = moment(date, days, window->until_minute);
    return true;
}

static void date_of(int64_t usec, struct tm *ret)
{
    time_t seconds = usec / USEC_PER_SEC;

    localtime_r(&seconds, ret);
}

/* Until when it is open without a break if it is open at @usec; else @usec. */
static int64_t open_until(const struct windows *windows, int64_t usec, int64_t enough_usec)
{
    int64_t from_usec, until_usec, reached_usec = usec, before_usec;
    struct tm date;

    do {
        before_usec = reached_usec;
        date_of(reached_usec, &date);
        for (size_t i = 0; i < windows->count; i++)
            for (int days = -1; days <= 0; days++)
                if (find(&windows->list[i], &date, days, &from_usec, &until_usec) &&
                    from_usec <= before_usec && until_usec > reached_usec)
                    reached_usec = until_usec;
    } while (reached_usec > before_usec && reached_usec < enough_usec);
    return reached_usec;
}

int64_t windows_next(const struct windows *windows, int64_t from_usec, int64_t length_usec)
{
    int64_t start_usec, until_usec, next_usec = INT64_MAX;
    struct tm date;

    if (!windows->count || open_until(windows, from_usec, from_usec + length_usec) >= from_usec + length_usec)
        return from_usec;
    date_of(from_usec, &date);
    for (size_t i = 0; i < windows->count; i++)
        for (int days = 0; days <= DAYS_AHEAD; days++)
            if (find(&windows->list[i], &date, days, &start_usec, &until_usec) && start_usec > from_usec &&
                start_usec < next_usec &&
                open_until(windows, start_usec, start_usec + length_usec) >= start_usec + length_usec)
                next_usec = start_usec;
    return next_usec;
}
