/* The states of a run, with made-up time and hosts: what starts it, what stops it, what it waits for. */
#include <string.h>

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

static void check_failed(const char *words)
{
    check_state("failed");
    ck_assert_msg(strstr(run->reason, words) != NULL, "no \"%s\": %s", words, run->reason);
    ck_assert(fixture_has_line(run, "the run failed: "));
}

static void accept_all(void)
{
    run_begin(run, T);
    for (size_t i = 0; i < HOSTS; i++)
        fixture_answer(run, fixture_hosts[i], true, "");
}

static void start_steps(void)
{
    accept_all();
    run_advance(run, T);
    fixture_samples(run, T, STEPS_AT, 0, 0);
    run_advance(run, STEPS_AT);
    check_state("starting");
}

START_TEST(test_whole)
{
    run = fixture_run("[]", 100);
    run_begin(run, T);
    ck_assert_int_eq(seen.asks, HOSTS);
    run_advance(run, T + SEC(1));
    check_state("checking");
    ck_assert_int_eq(seen.orders, 0);
    start_steps();
    ck_assert_int_eq(seen.orders, 1 + HOSTS);
    ck_assert_int_eq(run->started_usec, STEPS_AT);
    fixture_arm(run, "a1", STEPS_AT + MSEC(40));
    fixture_arm(run, "a2", STEPS_AT + MSEC(90));
    run_advance(run, STEPS_AT + MSEC(100));
    check_state("starting");
    fixture_arm(run, "b1", STEPS_AT + MSEC(60));
    run_advance(run, STEPS_AT + MSEC(120));
    check_state("running");
    ck_assert_int_eq(run->t0_usec, STEPS_AT + MSEC(90));
    ck_assert_int_eq(run->start_skew_usec, MSEC(50));
    for (size_t i = 0; i < HOSTS; i++) {
        run_advance(run, STEPS_AT + DURATION + MSEC(5));
        check_state("running");
        fixture_revert(run, fixture_hosts[i], STEPS_AT + DURATION + MSEC(2 * (int64_t)i), 2);
    }
    run_advance(run, STEPS_AT + DURATION + MSEC(10));
    check_state("settling");
    run_advance(run, STEPS_AT + DURATION + SEC(15));
    ck_assert_int_eq(seen.nudges, 0);
    run_advance(run, STEPS_AT + DURATION + SEC(15) + MSEC(4));
    ck_assert_int_eq(seen.nudges, HOSTS + 1);
    check_state("settling");
    for (size_t i = 0; i < run->n_hosts; i++)
        run->hosts[i].is_head_fresh = true;
    run_advance(run, STEPS_AT + DURATION + SEC(16));
    check_state("done");
    ck_assert_int_eq(seen.finishes, 1);
    run_advance(run, STEPS_AT + DURATION + SEC(17));
    ck_assert_int_eq(seen.finishes, 1);
    ck_assert_int_eq(seen.halts, 0);
    ck_assert(fixture_has_line(run, "+0.04 s a1 zone.block armed"));
    drop();
}
END_TEST

START_TEST(test_one_would_refuse)
{
    run = fixture_run("[]", 100);
    run_begin(run, T);
    fixture_answer(run, "a2", false, "cool-down");
    run_advance(run, T + MSEC(1));
    check_failed("a2 would refuse: cool-down");
    ck_assert_int_eq(seen.orders, 0);
    ck_assert_int_eq(seen.halts, 0);
    ck_assert_int_eq(seen.finishes, 1);
    drop();
}
END_TEST

START_TEST(test_one_is_silent)
{
    run = fixture_run("[]", 100);
    run_begin(run, T);
    fixture_answer(run, "a1", true, "");
    fixture_answer(run, "b1", true, "");
    run_advance(run, T + SEC(10) - 1);
    check_state("checking");
    run_advance(run, T + SEC(10));
    check_failed("a2 did not answer");
    ck_assert_int_eq(seen.orders, 0);
    drop();
}
END_TEST

START_TEST(test_one_does_not_arm)
{
    run = fixture_run("[]", 100);
    start_steps();
    fixture_arm(run, "a1", STEPS_AT + MSEC(40));
    fixture_arm(run, "b1", STEPS_AT + MSEC(40));
    run_advance(run, STEPS_AT + SEC(10) - 1);
    check_state("starting");
    run_advance(run, STEPS_AT + SEC(10));
    check_failed("a2 did not arm zone.block in time");
    ck_assert_int_eq(seen.halts, 1);
    ck_assert_int_eq(seen.finishes, 0);
    fixture_revert(run, "a1", STEPS_AT + SEC(11), 1);
    fixture_revert(run, "b1", STEPS_AT + SEC(11), 1);
    run_advance(run, STEPS_AT + SEC(11));
    ck_assert_int_eq(seen.finishes, 0); /* nobody knows of a2 */
    run_advance(run, STEPS_AT + SEC(15));
    ck_assert_int_eq(seen.finishes, 1);
    ck_assert_int_eq(run->t0_usec, 0);
    drop();
}
END_TEST

START_TEST(test_one_refuses_its_order)
{
    run = fixture_run("[]", 100);
    start_steps();
    fixture_arm(run, "a1", STEPS_AT + MSEC(40));
    fixture_says(run, "a2", "order.refused", "lose-az1", "{\"reason\": \"not pinned\"}", STEPS_AT + MSEC(50));
    run_advance(run, STEPS_AT + MSEC(60));
    check_failed("a2 refused: not pinned");
    ck_assert_int_eq(seen.halts, 1);
    drop();
}
END_TEST

/* A courier that starts anew may bring an order again: that it is refused then changes nothing. */
START_TEST(test_repeated_order)
{
    run = fixture_run("[]", 100);
    start_steps();
    fixture_says(run, "obs", "order.accepted", MANDATE_OBSERVE, "{\"fault\": \"observe\"}", STEPS_AT);
    fixture_says(run, "obs", "order.refused", MANDATE_OBSERVE, "{\"reason\": \"replayed\"}",
                 STEPS_AT + MSEC(10));
    ck_assert_int_eq(run_fault_of(run, "obs", MANDATE_OBSERVE)->state, RUN_FAULT_ACCEPTED);
    drop();
}
END_TEST

START_TEST(test_blind)
{
    run = fixture_run("[]", 100);
    accept_all();
    run_advance(run, T);
    run_advance(run, T + SEC(7));
    check_state("warming-up");
    run_advance(run, T + SEC(8));
    check_failed("obs does not watch shop");
    ck_assert_int_eq(run->started_usec, 0);
    drop();
}
END_TEST

START_TEST(test_sick_before)
{
    run = fixture_run("[]", 100);
    accept_all();
    run_advance(run, T);
    fixture_samples(run, T, STEPS_AT, T, STEPS_AT);
    run_advance(run, STEPS_AT);
    check_failed("shop is unhealthy, seen from obs, before anything was started");
    ck_assert_int_eq(seen.orders, 1);
    drop();
}
END_TEST

START_TEST(test_window_is_closed)
{
    run = fixture_run("[]", 100);
    run_begin(run, T + SEC(3598));
    for (size_t i = 0; i < HOSTS; i++)
        fixture_answer(run, fixture_hosts[i], true, "");
    run_advance(run, T + SEC(3598));
    fixture_samples(run, T + SEC(3598), T + SEC(3601), 0, 0);
    run_advance(run, T + SEC(3601));
    check_failed("window");
    ck_assert_int_eq(seen.orders, 1);
    drop();
}
END_TEST

START_TEST(test_order_can_not_be_queued)
{
    run = fixture_run("[]", 100);
    accept_all();
    seen.refuses_orders = true;
    run_advance(run, T);
    check_failed("the queue is full");
    ck_assert_int_eq(seen.halts, 1);
    drop();
}
END_TEST

START_TEST(test_no_heads)
{
    run = fixture_start("[]");
    fixture_finish(run, 400, false);
    ck_assert_int_eq(seen.finishes, 1);
    drop();
}
END_TEST

START_TEST(test_halted)
{
    run = fixture_start("[]");
    run_halt(run, "alice", T0 + SEC(2));
    run_advance(run, T0 + SEC(2));
    check_state("halted");
    ck_assert_int_eq(seen.finishes, 0);
    for (size_t i = 0; i < HOSTS; i++)
        fixture_revert(run, fixture_hosts[i], T0 + SEC(2) + MSEC(5), 5);
    run_advance(run, T0 + SEC(2) + MSEC(9));
    ck_assert_int_eq(seen.finishes, 1);
    ck_assert_str_eq(run->reason, "halted by alice");
    run_halt(run, "bob", T0 + SEC(3));
    ck_assert_str_eq(run->reason, "halted by alice");
    drop();
}
END_TEST

START_TEST(test_no_proof_of_the_end)
{
    run = fixture_start("[]");
    fixture_revert(run, "a1", STEPS_AT + DURATION, 0);
    fixture_revert(run, "a2", STEPS_AT + DURATION, 0);
    run_advance(run, STEPS_AT + DURATION + SEC(5) - 1);
    check_state("running");
    run_advance(run, STEPS_AT + DURATION + SEC(5));
    check_state("settling");
    drop();
}
END_TEST

static void join(const char *id, const char *labels, int64_t at_usec)
{
    json_t *json = json_loads(labels, 0, NULL);

    run_see_newborn(run, id, json, "10.2.0.13", at_usec);
    run_order_late(run, id, json, at_usec + MSEC(10));
    json_decref(json);
}

START_TEST(test_late_joiners)
{
    run = fixture_start("[]");
    ck_assert_int_eq(seen.orders, 4);
    join("n1", "{\"group\": \"web\", \"zone\": \"apse2-az2\"}", T0 + SEC(5));
    ck_assert_int_eq(seen.orders, 5);
    ck_assert_int_eq(run_fault_of(run, "n1", "lose-az1")->deadline_usec, STEPS_AT + DURATION);
    join("n1", "{\"group\": \"web\"}", T0 + SEC(5));
    join("db", "{\"group\": \"data\"}", T0 + SEC(6));
    ck_assert_int_eq(seen.orders, 5);
    ck_assert_ptr_null(run_host(run, "db"));
    join("n2", "{\"group\": \"web\"}", T0 + SEC(6));
    ck_assert_int_eq(seen.orders, 6);
    join("n3", "{\"group\": \"web\"}", T0 + SEC(7));
    ck_assert_int_eq(seen.orders, 6); /* two are all that the mandate allows */
    ck_assert(run_host(run, "n3")->is_replacement);
    join("n4", "{\"group\": \"web\"}", STEPS_AT + DURATION);
    ck_assert_int_eq(seen.orders, 6);
    ck_assert_int_eq(run->t0_usec, T0);
    drop();
}
END_TEST

START_TEST(test_clock_is_corrected)
{
    run = fixture_run("[]", 100);
    start_steps();
    for (size_t i = 0; i < HOSTS; i++)
        fixture_arm(run, fixture_hosts[i], STEPS_AT + MSEC(10) + (i == 1 ? SEC(7) : 0));
    run_host(run, "a2")->has_clock = true;
    run_host(run, "a2")->clock_offset_usec = SEC(7);
    run_advance(run, STEPS_AT + MSEC(50));
    ck_assert_int_eq(run->t0_usec, STEPS_AT + MSEC(10));
    ck_assert_int_eq(run->start_skew_usec, 0);
    drop();
}
END_TEST

/* What is known before the faults is recorded too: a coordinator that was away meanwhile goes on. */
START_TEST(test_away_in_the_warm_up)
{
    json_t *records, *record;
    size_t i;

    run = fixture_run("[]", 100);
    accept_all();
    run_advance(run, T);
    check_state("warming-up");
    records = json_incref(seen.records);
    drop();
    run = fixture_run("[]", 100);
    json_array_foreach(records, i, record)
        run_take_record(run, json_integer_value(json_object_get(record, "at")), json_text(record, "kind"),
                        json_object_get(record, "body"));
    json_decref(records);
    check_state("warming-up");
    ck_assert_uint_eq(run->n_faults, 1);
    fixture_samples(run, T, STEPS_AT, 0, 0);
    run_advance(run, STEPS_AT);
    check_state("starting");
    ck_assert_int_eq(seen.orders, HOSTS);
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_whole,
                                  test_one_would_refuse,
                                  test_one_is_silent,
                                  test_one_does_not_arm,
                                  test_one_refuses_its_order,
                                  test_repeated_order,
                                  test_blind,
                                  test_sick_before,
                                  test_window_is_closed,
                                  test_order_can_not_be_queued,
                                  test_no_heads,
                                  test_halted,
                                  test_no_proof_of_the_end,
                                  test_late_joiners,
                                  test_clock_is_corrected,
                                  test_away_in_the_warm_up,
                                  NULL};

    return unit_run("run", tests);
}
