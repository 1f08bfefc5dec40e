/* Addresses, blocks, merging, endpoints: good forms and refused ones. */
#include "unit.h"

#include <errno.h>

#include "common/cidr.h"

START_TEST(parses_and_formats)
{
    const char *texts[] = {"10.1.0.0/24", "0.0.0.0/0", "10.0.0.1", "fd00:1::/64", "::/0", "fd00::1"};
    char text[CIDR_TEXT_MAX];
    struct cidr cidr;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        ck_assert_int_eq(cidr_parse(&cidr, texts[i], NULL), 0);
        ck_assert_str_eq(cidr_format(&cidr, text), texts[i]);
    }
}
END_TEST

START_TEST(refuses_bad_blocks)
{
    const char *texts[] = {
        "",           "10.1.0.0/33", "10.1.0.0/-1", "10.1.0.0/+8", "10.1.0.0/08", "10.1.0/24", "10.1.0.0/ 8",
        "fd00::/129", "10.1.0.0/",   "zone",        "fd00::/64/64"};
    struct error error;
    struct cidr cidr;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        ck_assert_int_eq(cidr_parse(&cidr, texts[i], &error), -EINVAL);
    ck_assert_int_eq(cidr_parse(&cidr, "10.1.0.7/24", &error), -EINVAL);
    assert_error(error, "host bits set; did you mean 10.1.0.0/24?");
    ck_assert_int_eq(cidr_parse(&cidr, "fd00::1/64", &error), -EINVAL);
    assert_error(error, "did you mean fd00::/64?");
}
END_TEST

START_TEST(knows_what_contains_what)
{
    struct cidr outer, inner;

    cidr_parse(&outer, "10.1.0.0/16", NULL);
    cidr_parse(&inner, "10.1.2.0/24", NULL);
    ck_assert(cidr_contains(&outer, &inner));
    ck_assert(cidr_contains(&outer, &outer));
    ck_assert(!cidr_contains(&inner, &outer));
    cidr_parse(&inner, "::a01:200/120", NULL);
    ck_assert(!cidr_contains(&outer, &inner));
}
END_TEST

START_TEST(merges_what_overlaps)
{
    const char *texts[] = {"10.1.1.0/24", "fd00::/64",   "10.1.0.0/24", "10.1.0.7",
                           "10.1.2.0/23", "10.9.0.0/16", "10.9.0.0/16", "fd00::1"};
    const char *merged[] = {"10.1.0.0/22", "10.9.0.0/16", "fd00::/64"};
    struct cidr cidrs[ARRAY_SIZE(texts)];
    char text[CIDR_TEXT_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        ck_assert_int_eq(cidr_parse(&cidrs[i], texts[i], NULL), 0);
    ck_assert_uint_eq(cidr_merge(cidrs, ARRAY_SIZE(texts)), ARRAY_SIZE(merged));
    for (size_t i = 0; i < ARRAY_SIZE(merged); i++)
        ck_assert_str_eq(cidr_format(&cidrs[i], text), merged[i]);
    ck_assert_uint_eq(cidr_merge(cidrs, 0), 0);
}
END_TEST

START_TEST(endpoints)
{
    const char *bad[] = {"10.0.0.2", "10.0.0.2:0", "10.0.0.2:65536", "fd00::2:8443", "[fd00::2:1",
                         ":80",      "a:80"};
    char text[ENDPOINT_TEXT_MAX];
    struct endpoint endpoint;

    ck_assert_int_eq(endpoint_parse(&endpoint, "10.0.0.2:8443", NULL), 0);
    ck_assert_str_eq(endpoint_format(&endpoint, text), "10.0.0.2:8443");
    ck_assert_int_eq(endpoint_parse(&endpoint, "[fd00::2]:80", NULL), 0);
    ck_assert_str_eq(endpoint_format(&endpoint, text), "[fd00::2]:80");
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        ck_assert_int_eq(endpoint_parse(&endpoint, bad[i], NULL), -EINVAL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {parses_and_formats,   refuses_bad_blocks, knows_what_contains_what,
                                  merges_what_overlaps, endpoints,          NULL};

    return unit_run("cidr", tests);
}
