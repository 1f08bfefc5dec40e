/* When faults may be under way: from text, over midnight, weekends and both ends of summer time. */
#include "unit.h"

#include "agent/windows.h"
#include "common/times.h"

static struct error error;

static struct windows make(const char *first, const char *second)
{
    struct windows windows = {};

    ck_assert_msg(windows_parse(&windows, first, &error) == 0, "%s", error.text);
    if (second)
        ck_assert_msg(windows_parse(&windows, second, &error) == 0, "%s", error.text);
    return windows;
}

static void use_zone(const char *zone)
{
    ck_assert_msg(windows_use_zone(zone, &error) == 0, "%s", error.text);
}

/* Something of @length_sec that could start at @from starts at @expected ("" = never). */
static void check_next(const struct windows *windows, const char *from, int64_t length_sec,
                       const char *expected)
{
    char text[TIME_TEXT_MAX] = "";
    int64_t from_usec, next_usec;

    ck_assert_int_eq(time_parse(from, &from_usec), 0);
    next_usec = windows_next(windows, from_usec, length_sec * USEC_PER_SEC);
    if (next_usec != INT64_MAX)
        time_format(next_usec, text);
    ck_assert_msg(*expected ? !strncmp(text, expected, strlen(expected) - 1) : !*text,
                  "%s + %lld s: %s, not %s", from, (long long)length_sec, text, expected);
}

/* 2026-11-20 is a Friday. */
START_TEST(working_hours)
{
    struct windows windows = make("Mon..Fri 09:00..15:00", NULL);

    use_zone("UTC");
    check_next(&windows, "2026-11-20T09:00:00Z", 6 * 3600, "2026-11-20T09:00:00Z");
    check_next(&windows, "2026-11-20T14:59:00Z", 60, "2026-11-20T14:59:00Z");
    check_next(&windows, "2026-11-20T14:59:00.000001Z", 60, "2026-11-23T09:00:00Z");
    check_next(&windows, "2026-11-20T08:59:59Z", 1, "2026-11-20T09:00:00Z");
    check_next(&windows, "2026-11-21T12:00:00Z", 60, "2026-11-23T09:00:00Z");
    check_next(&windows, "2026-11-23T10:00:00Z", 6 * 3600, "2026-11-24T09:00:00Z");
    check_next(&windows, "2026-11-23T10:00:00Z", 6 * 3600 + 1, "");
}
END_TEST

START_TEST(over_midnight_and_side_by_side)
{
    struct windows night = make("Fri 22:00..04:00", NULL),
                   two = make("Sat,Sun 10:00..12:00", "Sat 12:00..13:00");
    struct windows week = make("Fri..Mon 00:00..24:00", NULL), none = {};

    use_zone("UTC");
    check_next(&night, "2026-11-21T03:59:00Z", 60, "2026-11-21T03:59:00Z");
    check_next(&night, "2026-11-21T03:59:01Z", 60, "2026-11-27T22:00:00Z");
    check_next(&night, "2026-11-20T03:00:00Z", 60, "2026-11-20T22:00:00Z");
    check_next(&two, "2026-11-21T11:30:00Z", 3600, "2026-11-21T11:30:00Z");
    check_next(&two, "2026-11-21T12:30:00Z", 3600, "2026-11-22T10:00:00Z");
    check_next(&week, "2026-11-20T00:00:00Z", 4 * 86400, "2026-11-20T00:00:00Z");
    check_next(&week, "2026-11-24T00:00:00Z", 1, "2026-11-27T00:00:00Z");
    check_next(&none, "2026-11-24T00:00:00Z", 9 * 86400, "2026-11-24T00:00:00Z");
}
END_TEST

START_TEST(summer_time)
{
    struct windows windows = make("Mon..Fri 09:00..15:00", NULL), night = make("Sun 01:00..05:00", NULL);

    use_zone("Europe/Berlin");
    check_next(&windows, "2026-03-27T14:00:00Z", 60, "2026-03-30T07:00:00Z"); /* +1, then +2 hours */
    check_next(&windows, "2026-10-23T13:00:00Z", 60, "2026-10-26T08:00:00Z");
    check_next(&night, "2026-03-29T00:00:00Z", 3 * 3600, "2026-03-29T00:00:00Z"); /* 3 hours long */
    check_next(&night, "2026-03-29T00:00:00Z", 3 * 3600 + 1, "2026-04-04T23:00:00Z");
    check_next(&night, "2026-10-24T23:00:00Z", 5 * 3600, "2026-10-24T23:00:00Z"); /* 5 hours long */
    use_zone("Asia/Kolkata");
    check_next(&windows, "2026-11-23T03:29:00Z", 60, "2026-11-23T03:30:00Z");
    use_zone("UTC");
    check_next(&windows, "2026-11-23T08:59:00Z", 60, "2026-11-23T09:00:00Z");
}
END_TEST

START_TEST(refuses_other_words)
{
    static const char *const bad[] = {"",
                                      "09:00..15:00",
                                      "Mon",
                                      "Mon 9:00..15:00",
                                      "Mon 09:00-15:00",
                                      "mon 09:00..15:00",
                                      "Mon..Fry 09:00..15:00",
                                      "Mon, Tue 09:00..15:00",
                                      "Mon 09:00..24:01",
                                      "Mon 24:00..04:00",
                                      "Mon 09:00..09:00",
                                      "Mon 09:60..15:00",
                                      "Mon 09:00..15:00 ",
                                      "Mon  09:00..15:00",
                                      "Mon,09:00..15:00",
                                      "Mon..Tue..Wed 09:00..15:00"};
    static const char *const zones[] = {"Europe/Berlyn", "../etc/passwd", "/etc/localtime", "Europe", "",
                                        "CET-1CEST",     "zone.tab",      "Europe/Berlin\n"};
    struct windows windows = {};

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_msg(windows_parse(&windows, bad[i], &error) < 0, "taken: %s", bad[i]);
    assert_error(error, "'Mon..Tue..Wed 09:00..15:00' is no window; expected \"Mon..Fri 09:00..15:00\"");
    for (size_t i = 0; i < ARRAY_SIZE(zones); i++)
        ck_assert_msg(windows_use_zone(zones[i], &error) < 0, "taken: %s", zones[i]);
    ck_assert_uint_eq(windows.count, 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {working_hours, over_midnight_and_side_by_side, summer_time,
                                  refuses_other_words, NULL};

    return unit_run("windows", tests);
}
