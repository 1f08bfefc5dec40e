/* Samples on their way to the executor: order of sending, limits, what is lost first. */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "agent/prober-samples.h"
#include "common/channel.h"

static struct samples samples;
static char body[CHANNEL_BODY_MAX];

static void setup(void)
{
    memset(&samples, 0, sizeof(samples));
}

START_TEST(test_an_open_request_holds_back_later_ones)
{
    uint64_t first = samples_begin(&samples, 1000), second = samples_begin(&samples, 2000);

    samples_end(&samples, second, 5, 200, true);
    ck_assert_uint_eq(samples_format(&samples, "o", "p", body, sizeof(body)), 0);
    samples_end(&samples, first, 7, 0, false);
    ck_assert_uint_eq(samples_format(&samples, "o", "p", body, sizeof(body)), 2);
    ck_assert_str_eq(body, "{\"order\":\"o\",\"probe\":\"p\",\"samples\":[[1000,7,0,0],[2000,5,200,1]]}");
    samples_drop(&samples, 2);
    ck_assert_uint_eq(samples_format(&samples, "o", "p", body, sizeof(body)), 0);
}
END_TEST

START_TEST(test_the_oldest_give_way)
{
    uint64_t first = samples_begin(&samples, 1);

    for (int i = 1; i <= SAMPLES_KEPT_MAX; i++)
        samples_end(&samples, samples_begin(&samples, i + 1), 1, 200, true);
    ck_assert_uint_eq(samples.lost, 1);
    samples_end(&samples, first, 9, 503, false);
    ck_assert_uint_gt(samples_format(&samples, "o", "p", body, sizeof(body)), 0);
    ck_assert_ptr_nonnull(strstr(body, "\"samples\":[[2,1,200,1],"));
}
END_TEST

START_TEST(test_messages_keep_inside_the_limit)
{
    size_t sum = 0, count;

    for (int i = 0; i < SAMPLES_KEPT_MAX; i++)
        samples_end(&samples, samples_begin(&samples, INT64_MAX - i), INT64_MAX, 599, true);
    while ((count = samples_format(&samples, "0190abcd-0000-7000-8000-000000000000", "shop", body,
                                   sizeof(body)))) {
        json_t *json = json_loads(body, 0, NULL);

        ck_assert_uint_lt(strlen(body), sizeof(body));
        ck_assert_uint_eq(json_array_size(json_object_get(json, "samples")), count);
        json_decref(json);
        samples_drop(&samples, count);
        sum += count;
    }
    ck_assert_uint_eq(sum, SAMPLES_KEPT_MAX);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("samples");
    TCase *tests = tcase_create("samples");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_checked_fixture(tests, setup, NULL);
    tcase_add_test(tests, test_an_open_request_holds_back_later_ones);
    tcase_add_test(tests, test_the_oldest_give_way);
    tcase_add_test(tests, test_messages_keep_inside_the_limit);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
