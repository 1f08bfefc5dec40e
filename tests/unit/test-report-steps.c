/* What a report makes of steps that follow one another. */
#include <string.h>

#include "run-fixture.h"
#include "unit.h"

static struct run *run;

static void drop(void)
{
    run = run_free(run);
    fixture_more_steps = "";
}

START_TEST(test_one_after_the_other)
{
    json_t *report, *steps;

    run = fixture_start_second("[{\"name\": \"users are served\", \"kind\": \"recover\", \"probe\": \"shop\","
                               " \"within_s\": 3}]");
    ck_assert(fixture_has_line(run, "run is starting kill"));
    ck_assert_int_eq(run_fault_of(run, "b1", "kill")->deadline_usec, ENDS_AT + SEC(1) + SEC(5));
    ck_assert_ptr_null(run_fault_of(run, "a2", "kill"));
    fixture_end_second(run, SEC(2));
    ck_assert_int_eq(run->t0_usec, T0);
    ck_assert_int_eq(run->steps[1].t0_usec, ENDS_AT + SEC(1) + MSEC(100));
    report = report_build(run);
    ck_assert_str_eq(json_text(report, "verdict"), "met"); /* 23 s after the first t0, 2.3 s after its own */
    steps = json_object_get(report, "steps");
    ck_assert_str_eq(json_text(json_array_get(steps, 0), "ended_at"), "2027-01-15T08:00:23.003000Z");
    ck_assert_str_eq(json_text(json_array_get(steps, 1), "t0"), "2027-01-15T08:00:24.100000Z");
    ck_assert_str_eq(json_text(json_array_get(steps, 1), "ended_at"), "2027-01-15T08:00:24.110000Z");
    ck_assert(json_is_array(json_object_get(json_array_get(steps, 1), "after")));
    ck_assert_ptr_nonnull(strstr(json_text(report, "sentence"), "Zone apse2-az1 was lost for 20.0 s"));
    json_decref(report);
    drop();
}
END_TEST

START_TEST(test_each_step_has_to_recover)
{
    json_t *report;

    run = fixture_start_second("[{\"name\": \"users are served\", \"kind\": \"recover\", \"probe\": \"shop\","
                               " \"within_s\": 3}]");
    fixture_end_second(run, SEC(4));
    report = report_build(run);
    ck_assert_str_eq(json_text(report, "verdict"), "missed");
    ck_assert_ptr_nonnull(strstr(json_text(report, "sentence"), "healthy again after 4.3 s"));
    json_decref(report);
    drop();
}
END_TEST

/* Nothing was asked since the second step began: that nobody missed anything means nothing. */
START_TEST(test_nobody_looked_at_the_second)
{
    json_t *report;

    run = fixture_start_second("[{\"name\": \"users are served\", \"kind\": \"recover\", \"probe\": \"shop\","
                               " \"within_s\": 3}]");
    fixture_end_second(run, 0);
    run->endpoints[0].n_samples -= 101;     /* 20 s and a little */
    run->finishing_usec = ENDS_AT + SEC(1); /* that the last samples may be on their way is no gap */
    report = report_build(run);
    ck_assert_str_eq(json_text(report, "verdict"), "unknown");
    ck_assert_msg(strstr(json_text(report, "sentence"), "obs has no samples of shop since the fault") != NULL,
                  "%s", json_text(report, "sentence"));
    json_decref(report);
    drop();
}
END_TEST

/* The hosts' own words are held against the order that was signed. */
START_TEST(test_started_too_early)
{
    json_t *report, *step;

    run = fixture_start_second("[]");
    fixture_end_second(run, 0);
    run_fault_of(run, "b1", "kill")->armed_usec = ENDS_AT - SEC(2);
    report = report_build(run);
    ck_assert_str_eq(json_text(report, "verdict"), "unknown");
    ck_assert_ptr_nonnull(strstr(json_text(report, "sentence"),
                                 "step kill: it started 2.0 s before lose-az1, which it follows, had ended"));
    step = json_array_get(json_object_get(report, "steps"), 1);
    ck_assert_str_eq(json_text(step, "verdict"), "unknown");
    json_decref(report);
    drop();
}
END_TEST

/* A coordinator that was content with fewer hosts than people wanted, or let in more that joined late. */
START_TEST(test_other_hosts_than_signed)
{
    json_t *report;

    run = fixture_start_second("[]");
    fixture_end_second(run, 0);
    run_fault_of(run, "b1", "kill")->armed_usec = 0;
    report = report_build(run);
    ck_assert_ptr_nonnull(
        strstr(json_text(report, "sentence"), "step kill: 1 of 2 hosts were armed, 2 are required"));
    json_decref(report);
    drop();
    run = fixture_start("[]");
    for (int i = 0; i < 3; i++) {
        const char *id = (const char *[]){"n1", "n2", "n3"}[i];

        fixture_join(run, id, "10.2.0.13", T0 + SEC(4));
        fixture_order(run, id, T0 + SEC(4));
        fixture_arm(run, id, T0 + SEC(4));
        fixture_exercise(run, id, T0 + SEC(4));
    }
    fixture_finish(run, 0, true);
    report = report_build(run);
    ck_assert_str_eq(json_text(report, "verdict"), "unknown");
    ck_assert_ptr_nonnull(strstr(json_text(report, "sentence"), "step lose-az1: 3 hosts joined late, 2 may"));
    json_decref(report);
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_one_after_the_other,     test_each_step_has_to_recover,
                                  test_started_too_early,       test_nobody_looked_at_the_second,
                                  test_other_hosts_than_signed, NULL};

    return unit_run("report-steps", tests);
}
