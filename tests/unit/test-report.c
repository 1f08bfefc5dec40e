/* The report: its fields, its verdict and its sentence, from made-up facts. */
#include <string.h>

#include "run-fixture.h"
#include "unit.h"

#define OBJECTIVES                                                                                           \
    "[{\"name\": \"users are served\", \"kind\": \"recover\", \"probe\": \"shop\", \"within_s\": 10},"       \
    " {\"name\": \"capacity\", \"kind\": \"replacements\"}]"

static struct run *run;
static json_t *report;

static const char *text(const char *key)
{
    return json_string_value(json_object_get(report, key));
}

static json_t *item(const char *list, size_t index, const char *key)
{
    return json_object_get(json_array_get(json_object_get(report, list), index), key);
}

static const char *item_text(const char *list, size_t index, const char *key)
{
    return json_string_value(item(list, index, key));
}

static void build(void)
{
    report = report_build(run);
    ck_assert_ptr_nonnull(report);
}

static void drop(void)
{
    json_decref(report);
    report = NULL;
    run = run_free(run);
}

static void replace(const char *id, const char *address, const char *state)
{
    fixture_join(run, id, address, T0 + SEC(4));
    fixture_order(run, id, T0 + SEC(4));
    fixture_arm(run, id, T0 + SEC(4));
    fixture_exercise(run, id, T0 + SEC(4));
    fixture_server(run, address, "DOWN", T0 + SEC(5));
    fixture_server(run, address, state, T0 + SEC(8));
}

START_TEST(test_met)
{
    run = fixture_start(OBJECTIVES);
    replace("n1", "10.2.0.13", "UP");
    replace("n2", "10.3.0.13", "UP");
    fixture_finish(run, 400, true);
    build();
    ck_assert_str_eq(text("schema"), "grivet.report/1");
    ck_assert_str_eq(text("verdict"), "met");
    ck_assert_str_eq(
        text("sentence"),
        "Zone apse2-az1 was lost for 20.0 s: users noticed 0.4 s of failures, service recovered after "
        "0.7 s, 2 of 2 replacements came into service.");
    ck_assert_str_eq(text("t0"), "2027-01-15T08:00:03.100000Z");
    ck_assert_str_eq(text("state"), "done");
    ck_assert_uint_eq(json_array_size(json_object_get(report, "faults")), 5);
    ck_assert_str_eq(item_text("faults", 0, "host"), "a1");
    ck_assert_str_eq(item_text("faults", 0, "state"), "reverted");
    ck_assert_str_eq(item_text("faults", 0, "verdict"), "met");
    ck_assert_str_eq(item_text("faults", 0, "deadline"), "2027-01-15T08:00:23.000000Z");
    ck_assert_str_eq(item_text("faults", 0, "reverted_at"), "2027-01-15T08:00:23.003000Z");
    ck_assert(json_real_value(item("faults", 0, "revert_error_ms")) == 3.0);
    ck_assert_str_eq(json_string_value(json_object_get(item("faults", 0, "effect"), "view")), "outside");
    ck_assert_int_eq(json_integer_value(json_object_get(item("faults", 0, "effect"), "out_packets")), 7);
    ck_assert_str_eq(item_text("endpoints", 0, "name"), "shop");
    ck_assert_int_eq(json_integer_value(item("endpoints", 0, "lost")), 2);
    ck_assert_int_gt(json_integer_value(item("endpoints", 0, "detect_ms")), 0);
    ck_assert_int_lt(json_integer_value(item("endpoints", 0, "recover_from_revert_ms")), 0);
    ck_assert(json_is_object(json_object_get(item("endpoints", 0, "latency_ms"), "during")));
    ck_assert_uint_ge(json_array_size(item("endpoints", 0, "transitions")), 2);
    ck_assert_str_eq(item_text("replacements", 0, "in_service_at"), "2027-01-15T08:00:11.100000Z");
    ck_assert_str_eq(item_text("balancer", 0, "state"), "DOWN");
    ck_assert_str_eq(item_text("objectives", 1, "verdict"), "met");
    ck_assert(json_is_true(item("clocks", 0, "has_fresh_head")));
    drop();
}
END_TEST

START_TEST(test_missed)
{
    run = fixture_start(OBJECTIVES);
    replace("n1", "10.2.0.13", "DOWN");
    replace("n2", "10.3.0.13", "DOWN");
    fixture_finish(run, 400, true);
    build();
    ck_assert_str_eq(text("verdict"), "missed");
    ck_assert_ptr_nonnull(
        strstr(text("sentence"), "2 replacements started, 0 in service, waiting for 10.1.0.9:80"));
    ck_assert(!strncmp(text("sentence"), "Zone apse2-az1 was lost for 20.0 s: users", 41));
    ck_assert(json_is_null(item("replacements", 1, "in_service_at")));
    ck_assert_uint_eq(json_array_size(item("replacements", 1, "waiting_for")), 1);
    drop();
}
END_TEST

START_TEST(test_missed_outweighs_unknown)
{
    run = fixture_start(OBJECTIVES);
    replace("n1", "10.2.0.13", "DOWN");
    fixture_finish(run, 400, false);
    build();
    ck_assert_str_eq(item_text("objectives", 0, "verdict"), "unknown");
    ck_assert_str_eq(text("verdict"), "missed");
    drop();
}
END_TEST

START_TEST(test_no_fresh_head)
{
    run = fixture_start("[]");
    fixture_finish(run, 0, true);
    run_host(run, "a2")->is_head_fresh = false;
    build();
    ck_assert_str_eq(text("verdict"), "unknown");
    ck_assert_ptr_nonnull(strstr(text("sentence"), "no fresh word from a2"));
    drop();
}
END_TEST

/* What a suspect says is neither good nor bad; what the others say still counts. */
START_TEST(test_suspect)
{
    run = fixture_start("[{\"name\": \"on time\", \"kind\": \"rollback\", \"within_ms\": 1000}]");
    fixture_finish(run, 0, true);
    run_fault_of(run, "a1", "lose-az1")->state = RUN_FAULT_FAILED;
    run_fault_of(run, "a1", "lose-az1")->is_left_behind = true;
    run_host(run, "a1")->is_suspect = true;
    build();
    ck_assert_str_eq(item_text("objectives", 0, "verdict"), "unknown");
    ck_assert_str_eq(text("verdict"), "unknown");
    ck_assert_ptr_nonnull(strstr(text("sentence"), "events contradict each other"));
    run_fault_of(run, "a2", "lose-az1")->state = RUN_FAULT_FAILED;
    json_decref(report);
    build();
    ck_assert_str_eq(text("verdict"), "missed");
    drop();
}
END_TEST

/* Whether it ended or failed, what can't be undone leaves nothing to wait for. */
START_TEST(test_nothing_to_roll_back)
{
    run = fixture_start("[]");
    fixture_says(run, "a1", "fault.ended", "lose-az1", "{}", ENDS_AT);
    fixture_says(run, "a2", "fault.failed", "lose-az1", "{\"reason\": \"killed\", \"is_reverted\": null}",
                 ENDS_AT);
    ck_assert(!run_fault_is_active(run_fault_of(run, "a2", "lose-az1")));
    fixture_finish(run, 0, true);
    build();
    ck_assert_str_eq(item_text("faults", 0, "rollback"), "not_applicable");
    ck_assert_str_eq(item_text("faults", 1, "rollback"), "not_applicable");
    ck_assert_str_eq(item_text("faults", 1, "state"), "failed");
    ck_assert_str_eq(item_text("faults", 2, "rollback"), "proved");
    drop();
}
END_TEST

START_TEST(test_no_objectives)
{
    run = fixture_start("[]");
    fixture_finish(run, 0, true);
    build();
    ck_assert_str_eq(text("verdict"), "met");
    ck_assert_str_eq(text("sentence"), "Zone apse2-az1 was lost for 20.0 s: users noticed nothing.");
    drop();
}
END_TEST

/* Whoever signs may sign what no experiment says. */
START_TEST(test_strange_objectives)
{
    run = fixture_start("[{}, 7, {\"kind\": \"recover\"}]");
    fixture_finish(run, 0, true);
    build();
    ck_assert_str_eq(text("verdict"), "unknown");
    ck_assert_str_eq(item_text("objectives", 2, "why"), "this version does not know the objective");
    drop();
}
END_TEST

static void check_judgement(const char *host, const char *verdict, const char *why)
{
    struct judgement said;

    fault_judge(run, run_fault_of(run, host, "lose-az1"), &said);
    ck_assert_str_eq(verdict_names[said.verdict], verdict);
    ck_assert_str_eq(said.why, why);
}

static void check_fault(const char *kind, const char *body, const char *verdict, const char *why)
{
    run = fixture_start("[]");
    fixture_says(run, "a1", kind, "lose-az1", body, STEPS_AT + DURATION);
    check_judgement("a1", verdict, why);
    run = run_free(run);
}

/* Nobody saw whether, or somebody did: neither is what was signed. */
START_TEST(test_interfered)
{
    check_fault("fault.reverted",
                "{\"revert_error_ms\": 2, \"ended_by\": \"deadline\", \"is_interfered\": null}", "unknown",
                "nobody saw whether somebody interfered");
    check_fault("fault.reverted", "{\"revert_error_ms\": 2, \"ended_by\": \"halt\", \"is_interfered\": true}",
                "unknown", "interfered: somebody changed it while it was in force");
    run = fixture_start("[]");
    fixture_says(run, "a1", "fault.interrupted", "lose-az1", "{\"reason\": \"interfered: x\"}",
                 STEPS_AT + SEC(9));
    fixture_says(run, "a1", "fault.reverted", "lose-az1",
                 "{\"revert_error_ms\": 2, \"ended_by\": \"interference\", \"is_interfered\": true,"
                 " \"interference\": \"the device x is gone\"}",
                 STEPS_AT + SEC(9));
    check_judgement("a1", "unknown", "interfered: the device x is gone");
    fixture_finish(run, 0, true);
    run_fault_of(run, "a2", "lose-az1")->is_undisturbed = false;
    build();
    ck_assert_str_eq(text("verdict"), "unknown");
    ck_assert_ptr_nonnull(strstr(text("sentence"), "zone.block on a1: interfered: the device x is gone"));
    ck_assert(json_is_true(item("faults", 0, "is_interfered")));
    ck_assert(json_is_null(item("faults", 1, "is_interfered")));
    ck_assert(json_is_false(item("faults", 2, "is_interfered")));
    drop();
}
END_TEST

START_TEST(test_fault_verdicts)
{
    check_fault("fault.reverted",
                "{\"revert_error_ms\": 2, \"ended_by\": \"deadline\", \"is_interfered\": false}", "met", "");
    check_fault("fault.ended", "{}", "met", "");
    check_fault("fault.reverted", "{\"revert_error_ms\": 2, \"ended_by\": \"halt\"}", "unknown",
                "it ended early");
    check_fault("fault.reverted", "{\"revert_error_ms\": -1500, \"ended_by\": \"sweep\"}", "unknown",
                "it ended early");
    check_fault("fault.reverted", "{\"revert_error_ms\": 2020.5, \"ended_by\": \"kernel\"}", "unknown",
                "its end was proved only 2.0 s late");
    run = fixture_start("[]");
    fixture_says(run, "a1", "fault.interrupted", "lose-az1",
                 "{\"reason\": \"the host was restarted during the fault\"}", STEPS_AT + DURATION);
    fixture_says(run, "a1", "fault.reverted", "lose-az1",
                 "{\"revert_error_ms\": null, \"ended_by\": \"restart\"}", STEPS_AT + 2 * DURATION);
    check_judgement("a1", "unknown", "it was interrupted: the host was restarted during the fault");
    run = run_free(run);
    check_fault("fault.failed", "{\"reason\": \"EPERM\", \"is_reverted\": true}", "missed", "EPERM");
    check_fault("contact.lost", "{}", "unknown", "there is no proof of its end");
    run = fixture_run("[]", 100);
    fixture_order(run, "a1", STEPS_AT);
    fixture_arm(run, "a1", STEPS_AT);
    fixture_revert(run, "a1", STEPS_AT + DURATION, 1);
    check_judgement("a1", "unknown", "its effect was not shown");
    run = run_free(run);
}
END_TEST

/* A host whose clock is ahead ends at its own deadline, which came too early by everybody else's. */
START_TEST(test_ended_early_by_our_clock)
{
    run = fixture_start("[]");
    fixture_revert(run, "a1", STEPS_AT + DURATION + MSEC(2), 2);
    run_host(run, "a1")->clock_offset_usec = MSEC(900);
    check_judgement("a1", "met", "");
    run_host(run, "a1")->clock_offset_usec = MSEC(1500);
    check_judgement("a1", "unknown", "it ended early");
    run = run_free(run);
}
END_TEST

START_TEST(test_halted)
{
    run = fixture_start(OBJECTIVES);
    run_halt(run, "alice", T0 + SEC(2));
    for (size_t i = 0; i < HOSTS; i++)
        fixture_revert(run, fixture_hosts[i], T0 + SEC(2), 1);
    build();
    ck_assert_str_eq(text("verdict"), "unknown");
    ck_assert_str_eq(text("state"), "halted");
    ck_assert_ptr_nonnull(strstr(text("sentence"), "the run was halted by alice."));
    drop();
}
END_TEST

START_TEST(test_failed)
{
    run = fixture_run(OBJECTIVES, 100);
    run_begin(run, T);
    fixture_answer(run, "a1", false, "cool-down");
    run_advance(run, T);
    build();
    ck_assert_str_eq(text("verdict"), "unknown");
    ck_assert_str_eq(text("sentence"), "Nothing was rehearsed: the run failed: a1 would refuse: cool-down.");
    ck_assert(json_is_null(json_object_get(report, "t0")));
    ck_assert_str_eq(item_text("refused", 0, "host"), "a1");
    ck_assert_str_eq(item_text("refused", 0, "reason"), "cool-down");
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_met,
                                  test_missed,
                                  test_missed_outweighs_unknown,
                                  test_no_fresh_head,
                                  test_nothing_to_roll_back,
                                  test_no_objectives,
                                  test_interfered,
                                  test_fault_verdicts,
                                  test_ended_early_by_our_clock,
                                  test_halted,
                                  test_failed,
                                  test_suspect,
                                  test_strange_objectives,
                                  NULL};

    return unit_run("report", tests);
}
