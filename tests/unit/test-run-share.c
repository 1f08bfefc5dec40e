/* Shares: of the hosts that have to take part, and of a group that may fail. */
#include "run-fixture.h"
#include "unit.h"

static struct run *run;

static void drop(void)
{
    run = run_free(run);
}

static void check_state(const char *name)
{
    ck_assert_str_eq(run_state_names[run->state], name);
}

static void start_steps(void)
{
    fixture_begin(run);
    check_state("starting");
}

START_TEST(test_share_is_enough)
{
    json_t *refused;

    run = fixture_run("[]", 60);
    run_begin(run, T);
    fixture_answer(run, "a1", true, "");
    fixture_answer(run, "a2", false, "cool-down");
    fixture_answer(run, "b1", true, "");
    run_advance(run, T);
    check_state("warming-up");
    fixture_samples(run, T, STEPS_AT, 0, 0);
    run_advance(run, STEPS_AT);
    check_state("starting");
    ck_assert_int_eq(seen.orders, 3); /* the observer's, and not a2's */
    ck_assert(fixture_has_line(run, "a2 would refuse: cool-down"));
    refused = report_refused(run);
    ck_assert_uint_eq(json_array_size(refused), 1);
    ck_assert_str_eq(json_text(json_array_get(refused, 0), "reason"), "cool-down");
    json_decref(refused);
    drop();
}
END_TEST

/* 60 % of three are two: they are waited for, and then one more or less does not matter. */
START_TEST(test_share_arms)
{
    for (size_t n_armed = 1; n_armed <= 2; n_armed++) {
        run = fixture_run("[]", 60);
        start_steps();
        for (size_t i = 0; i < n_armed; i++)
            fixture_arm(run, fixture_hosts[i], STEPS_AT + MSEC(40));
        run_advance(run, STEPS_AT + SEC(10) - 1);
        check_state("starting");
        run_advance(run, STEPS_AT + SEC(10));
        check_state(n_armed == 2 ? "running" : "failed");
        ck_assert_int_eq(seen.halts, n_armed == 2 ? 0 : 1);
        drop();
    }
}
END_TEST

START_TEST(test_share_of_group)
{
    struct error error;

    run = fixture_run("[]", 100);
    run_host(run, "a1")->is_victim = run_host(run, "a2")->is_victim = true;
    ck_assert_int_eq(run_check_share(run, NULL), 0); /* 66.7 of 67 % */
    run_host(run, "b1")->is_victim = true;
    ck_assert_int_lt(run_check_share(run, &error), 0);
    ck_assert_str_eq(error.text, "3 of 3 hosts of group web would fail themselves, "
                                 "expect.max_share_of_group_percent allows 67 %");
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_share_is_enough, test_share_arms, test_share_of_group, NULL};

    return unit_run("run-share", tests);
}
