/* Steps that follow one another: who starts when, and what keeps the next one from starting. */
#include <stdio.h>
#include <string.h>

#include "run-fixture.h"
#include "unit.h"

static const char kill_beside[] =
    ", {\"name\": \"kill\", \"fault\": \"process.kill\", \"parameters\": {}, \"duration_ms\": 5000,"
    " \"hosts\": [\"a1\", \"b1\"], \"late_joiners\": true},"
    " {\"name\": \"last\", \"fault\": \"process.kill\", \"parameters\": {}, \"duration_ms\": 5000,"
    " \"hosts\": [\"a1\"], \"after\": [\"kill\", \"lose-az1\"], \"late_joiners\": false}";
static struct run *run;

static void drop(void)
{
    run = run_free(run);
    fixture_more_steps = "";
}

static void check_state(const char *name)
{
    ck_assert_msg(!strcmp(run_state_names[run->state], name), "not %s but %s: %s", name,
                  run_state_names[run->state], run->reason);
}

static void check_never(const char *words)
{
    check_state("failed");
    ck_assert_str_eq(run->reason, words);
    ck_assert_int_eq(seen.halts, 1);
    ck_assert_int_eq(seen.orders, 1 + HOSTS);
}

static void start(const char *steps)
{
    run = fixture_start_steps("[]", steps);
}

START_TEST(test_without_a_proof)
{
    start(fixture_kill_after);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(5), 0, 0);
    run_advance(run, ENDS_AT + SEC(5) - 1);
    check_state("running");
    run_advance(run, ENDS_AT + SEC(5));
    check_never("step kill is not started: there is no proof that lose-az1 ended on a1");
    drop();
}
END_TEST

START_TEST(test_the_first_fails)
{
    start(fixture_kill_after);
    fixture_says(run, "a1", "fault.failed", "lose-az1", "{\"reason\": \"netlink\", \"is_reverted\": true}",
                 ENDS_AT + MSEC(5));
    run_advance(run, ENDS_AT + MSEC(10));
    check_never("step kill is not started: lose-az1 failed on a1: netlink");
    drop();
}
END_TEST

/* What failed may go on until it is reverted: who said so later is waited for. */
START_TEST(test_the_first_is_left_behind)
{
    start(fixture_kill_after);
    fixture_says(run, "a1", "fault.failed", "lose-az1", "{\"reason\": \"netlink\", \"is_reverted\": false}",
                 ENDS_AT + MSEC(5));
    run_advance(run, ENDS_AT + MSEC(10));
    check_state("running");
    run_advance(run, ENDS_AT + SEC(5));
    check_never("step kill is not started: there is no proof that lose-az1 ended on a1");
    drop();
}
END_TEST

START_TEST(test_the_first_ends_early)
{
    start(fixture_kill_after);
    fixture_says(run, "a1", "fault.interrupted", "lose-az1", "{\"reason\": \"upgrade\"}", ENDS_AT - SEC(5));
    fixture_revert(run, "a1", ENDS_AT - SEC(5), 0);
    run_advance(run, ENDS_AT + MSEC(10));
    check_never("step kill is not started: lose-az1 was interrupted on a1: upgrade");
    drop();
}
END_TEST

/* A share may do without some hosts, but never without the proof of those that began. */
START_TEST(test_a_share)
{
    start(fixture_kill_after);
    run->mandate->require_percent = 60;
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(1), 0, 0);
    run_advance(run, ENDS_AT + SEC(1));
    check_state("running");
    fixture_says(run, "a1", "fault.failed", "lose-az1", "{\"reason\": \"netlink\", \"is_reverted\": true}",
                 ENDS_AT + MSEC(5));
    fixture_agree(run, ENDS_AT + SEC(1));
    drop();
}
END_TEST

START_TEST(test_somebody_halts_a_host)
{
    start(fixture_kill_after);
    run->mandate->require_percent = 60;
    fixture_says(run, "b1", "halt.received", NULL, "{\"by\": \"root on the host\"}", ENDS_AT);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    run_advance(run, ENDS_AT + SEC(1));
    check_never("step kill is not started: b1 received a halt");
    drop();
}
END_TEST

START_TEST(test_halted_between)
{
    start(fixture_kill_after);
    run_halt(run, "alice", ENDS_AT + MSEC(4));
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(2), 0, 0);
    run_advance(run, ENDS_AT + SEC(2));
    check_state("halted");
    ck_assert_int_eq(seen.orders, 1 + HOSTS);
    drop();
}
END_TEST

/* Users have to be served before the next fault, as before the first. */
START_TEST(test_still_sick)
{
    start(fixture_kill_after);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(19), T0, ENDS_AT + SEC(30));
    run_advance(run, ENDS_AT + SEC(19));
    check_state("running");
    fixture_samples(run, ENDS_AT + SEC(19), ENDS_AT + SEC(20), T0, ENDS_AT + SEC(30));
    run_advance(run, ENDS_AT + SEC(20) + MSEC(4));
    check_never("step kill is not started: shop is unhealthy, seen from obs, 20 s after the step before");
    drop();
}
END_TEST

START_TEST(test_well_again)
{
    start(fixture_kill_after);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(8), T0, ENDS_AT + SEC(7));
    fixture_agree(run, ENDS_AT + SEC(8));
    drop();
}
END_TEST

START_TEST(test_blind)
{
    start(fixture_kill_after);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    fixture_samples(run, STEPS_AT, ENDS_AT, 0, 0);
    run_advance(run, ENDS_AT + SEC(10));
    check_state("running");
    run_advance(run, ENDS_AT + SEC(21));
    check_never("step kill is not started: shop was not seen from obs, 21 s after the step before");
    drop();
}
END_TEST

START_TEST(test_nobody_watches_so_long)
{
    start(fixture_kill_after);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(1), 0, 0);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    run_fault_of(run, "obs", MANDATE_OBSERVE)->deadline_usec = ENDS_AT + SEC(6) - 1;
    run_advance(run, ENDS_AT + SEC(1));
    check_never("step kill is not started: obs does not watch shop for so long");
    drop();
}
END_TEST

START_TEST(test_window_is_closed)
{
    start(fixture_kill_after);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(1), 0, 0);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    run->mandate->not_after_usec = ENDS_AT + SEC(1) - 1;
    run_advance(run, ENDS_AT + SEC(1));
    check_never("step kill is not started: the mandate's window is not open");
    drop();
}
END_TEST

static void start_asking(void)
{
    start(fixture_kill_after);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(1), 0, 0);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    run_advance(run, ENDS_AT + SEC(1));
    check_state("checking");
    ck_assert_int_eq(seen.asks, HOSTS + 2);
}

/* All hosts of a step are asked once more before it starts, and the others are not. */
START_TEST(test_one_would_refuse_the_second)
{
    json_t *due;

    start_asking();
    due = run_due_steps(run, "a1", ENDS_AT + SEC(1));
    ck_assert_uint_eq(json_array_size(due), 1);
    ck_assert_str_eq(json_string_value(json_array_get(due, 0)), "kill");
    json_decref(due);
    fixture_answer(run, "a1", true, "");
    fixture_answer(run, "b1", false, "windows");
    run_advance(run, ENDS_AT + SEC(2));
    check_never("step kill is not started: b1 would refuse: windows");
    drop();
    start_asking();
    fixture_answer(run, "a1", true, "");
    run_advance(run, ENDS_AT + SEC(11) - 1);
    check_state("checking");
    run_advance(run, ENDS_AT + SEC(11));
    check_never("step kill is not started: b1 did not answer");
    drop();
}
END_TEST

/* Nor does it start when users are lost while its hosts answer: it waits again, and asks again. */
START_TEST(test_no_longer_due)
{
    start_asking();
    fixture_samples(run, ENDS_AT + SEC(1), ENDS_AT + SEC(2), T0, ENDS_AT + SEC(2));
    fixture_answer(run, "a1", true, "");
    fixture_answer(run, "b1", true, "");
    run_advance(run, ENDS_AT + SEC(2));
    check_state("running");
    ck_assert_int_eq(seen.orders, 1 + HOSTS);
    fixture_samples(run, ENDS_AT + SEC(2), ENDS_AT + SEC(3), 0, 0);
    fixture_agree(run, ENDS_AT + SEC(3));
    drop();
}
END_TEST

START_TEST(test_the_second_does_not_arm)
{
    run = fixture_start_second("[]");
    fixture_kill(run, "kill", "a1", "fault.exercised", ENDS_AT + SEC(2));
    run_advance(run, ENDS_AT + SEC(11));
    check_state("failed");
    ck_assert_str_eq(run->reason, "b1 did not arm process.kill in time");
    ck_assert_int_eq(run->t0_usec, T0);
    drop();
}
END_TEST

/* Two at once, and a third after both. */
START_TEST(test_after_both)
{
    fixture_more_steps = kill_beside;
    run = fixture_run("[]", 100);
    fixture_begin(run);
    ck_assert_int_eq(seen.orders, 1 + HOSTS + 2);
    for (size_t i = 0; i < HOSTS; i++)
        fixture_arm(run, fixture_hosts[i], T0);
    for (int i = 0; i < 2; i++) {
        fixture_kill(run, "kill", i ? "b1" : "a1", "fault.exercised", T0);
        fixture_kill(run, "kill", i ? "b1" : "a1", "fault.ended", T0 + SEC(1));
    }
    fixture_samples(run, STEPS_AT, T0 + SEC(3), 0, 0);
    run_advance(run, T0 + SEC(3));
    check_state("running");
    ck_assert_int_eq(seen.orders, 1 + HOSTS + 2);
    ck_assert_int_eq(run_expected_end_usec(run), ENDS_AT + SEC(5));
    for (size_t i = 0; i < HOSTS; i++)
        fixture_revert(run, fixture_hosts[i], ENDS_AT, 0);
    fixture_samples(run, T0 + SEC(3), ENDS_AT + SEC(1), 0, 0);
    fixture_agree(run, ENDS_AT + SEC(1));
    ck_assert_int_eq(seen.orders, 1 + HOSTS + 3);
    drop();
}
END_TEST

/* A replacement joins only the step that is running, and counts once. */
START_TEST(test_late_joiners)
{
    json_t *labels = json_pack("{s:s}", "group", "web");

    run = fixture_start_second("[]");
    fixture_join(run, "n1", "10.2.0.13", ENDS_AT + SEC(2));
    run_order_late(run, "n1", labels, ENDS_AT + SEC(2));
    ck_assert_ptr_nonnull(run_fault_of(run, "n1", "kill"));
    ck_assert_ptr_null(run_fault_of(run, "n1", "lose-az1"));
    ck_assert_int_eq(run_fault_of(run, "n1", "kill")->deadline_usec, ENDS_AT + SEC(6));
    drop();
    start(fixture_kill_after);
    fixture_join(run, "n1", "10.2.0.13", T0 + SEC(2));
    run_order_late(run, "n1", labels, T0 + SEC(2));
    ck_assert_ptr_nonnull(run_fault_of(run, "n1", "lose-az1"));
    ck_assert_ptr_null(run_fault_of(run, "n1", "kill"));
    json_decref(labels);
    drop();
}
END_TEST

static void read_again(void)
{
    json_t *records = json_incref(seen.records), *record;
    size_t i;

    drop();
    fixture_more_steps = fixture_kill_after;
    run = fixture_run("[]", 100);
    json_array_foreach(records, i, record)
        run_take_record(run, json_integer_value(json_object_get(record, "at")), json_text(record, "kind"),
                        json_object_get(record, "body"));
    json_decref(records);
}

/* A coordinator that was away between two steps goes on with the second one, once. */
START_TEST(test_away_between)
{
    start(fixture_kill_after);
    read_again();
    check_state("running");
    for (size_t i = 0; i < HOSTS; i++) {
        fixture_arm(run, fixture_hosts[i], T0);
        fixture_revert(run, fixture_hosts[i], ENDS_AT + MSEC(2), 2);
    }
    run->loaded_usec = ENDS_AT + SEC(15);
    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(14), 0, 0);
    fixture_agree(run, ENDS_AT + SEC(14));
    ck_assert_int_eq(seen.orders, 2);
    drop();
    run = fixture_start_second("[]");
    read_again();
    check_state("starting");
    run_advance(run, ENDS_AT + SEC(2));
    ck_assert_int_eq(seen.orders, 0);
    ck_assert_int_eq(run->steps[1].started_usec, ENDS_AT + SEC(1));
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_without_a_proof,
                                  test_the_first_fails,
                                  test_the_first_is_left_behind,
                                  test_the_first_ends_early,
                                  test_a_share,
                                  test_somebody_halts_a_host,
                                  test_halted_between,
                                  test_still_sick,
                                  test_well_again,
                                  test_blind,
                                  test_nobody_watches_so_long,
                                  test_window_is_closed,
                                  test_one_would_refuse_the_second,
                                  test_no_longer_due,
                                  test_the_second_does_not_arm,
                                  test_after_both,
                                  test_late_joiners,
                                  test_away_between,
                                  NULL};

    return unit_run("run-steps", tests);
}
