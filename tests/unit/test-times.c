/* Times as text, ids that sort. */
#include "unit.h"

#include "common/times.h"

START_TEST(formats_and_parses)
{
    char text[TIME_TEXT_MAX];
    int64_t usec;

    ck_assert_str_eq(time_format(0, text), "1970-01-01T00:00:00.000000Z");
    ck_assert_str_eq(time_format(1769860800123456, text), "2026-01-31T12:00:00.123456Z");
    ck_assert_int_eq(time_parse(text, &usec), 0);
    ck_assert_int_eq(usec, 1769860800123456);
    ck_assert_int_eq(time_parse("2024-02-29T00:00:00.5Z", &usec), 0);
    ck_assert_int_eq(usec % USEC_PER_SEC, 500000);
    ck_assert_int_eq(time_parse("2024-02-29T00:00:00Z", &usec), 0);
}
END_TEST

START_TEST(refuses_bad_times)
{
    const char *bad[] = {"",
                         "2026-01-31",
                         "2026-01-31T12:00:00",
                         "2026-01-31T12:00:00+00:00",
                         "2026-02-29T12:00:00Z",
                         "2026-01-31T24:00:00Z",
                         "2026-01-31T12:00:60Z",
                         "2026-01-31T12:00:00.Z",
                         "2026-01-31T12:00:00.1234567Z",
                         "2026-01-31T12:00:00Z ",
                         "2026-1-31T12:00:00Z",
                         "+026-01-31T12:00:00Z"};
    int64_t usec = 7;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_int_ne(time_parse(bad[i], &usec), 0);
    ck_assert_int_eq(usec, 7);
}
END_TEST

START_TEST(ids_sort_by_time)
{
    char last[UUID_TEXT_MAX], next[UUID_TEXT_MAX];
    int64_t until;

    uuid_new(last);
    ck_assert(uuid_is_valid(last));
    ck_assert_int_eq(last[14], '7');
    until = time_boot_nsec() + 2 * NSEC_PER_MSEC;
    while (time_boot_nsec() < until)
        ;
    ck_assert_int_lt(strcmp(last, uuid_new(next)), 0);
    ck_assert(!uuid_is_valid(""));
    ck_assert(!uuid_is_valid("0190ABCD-0000-7000-8000-000000000000"));
    ck_assert(!uuid_is_valid("0190abcd-0000-7000-8000-0000000000000"));
}
END_TEST

START_TEST(boot_id_is_an_id)
{
    char boot[BOOT_ID_MAX];

    ck_assert(uuid_is_valid(time_boot_id(boot)));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {formats_and_parses, refuses_bad_times, ids_sort_by_time, boot_id_is_an_id,
                                  NULL};

    return unit_run("times", tests);
}
