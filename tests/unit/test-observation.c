/* Runs without steps: people act, so that t0 is what failed first, and nothing is proved where nothing
 * failed. */
#include <stdio.h>
#include <string.h>

#include "run-fixture.h"
#include "unit.h"

#define ACT_AT    STEPS_AT              /* when people are told to */
#define WATCH_END (ACT_AT + SEC(20))    /* they have so long */
#define RUN_END   (WATCH_END + SEC(15)) /* and the settle time follows */
#define RECOVER   "{\"name\": \"served\", \"kind\": \"recover\", \"probe\": \"shop\", \"within_s\": 10}"
#define LOST      "{\"name\": \"few\", \"kind\": \"lost\", \"probe\": \"shop\", \"at_most_percent\": 50}"

static struct run *run;
static json_t *report;

static void make(const char *observers, const char *objective)
{
    char text[2000];

    snprintf(text, sizeof(text),
             "{\"schema\": \"grivet.mandate/1\", \"id\": \"01900000-0000-7000-8000-000000000001\","
             " \"experiment\": \"failover\", \"environment\": \"lab\","
             " \"created_at\": \"2027-01-15T08:00:00Z\", \"not_before\": \"2027-01-15T08:00:00Z\","
             " \"not_after\": \"2027-01-15T09:00:00Z\", \"max_runs\": 1, \"require_percent\": 100,"
             " \"warmup_ms\": 3000, \"settle_ms\": 15000, \"duration_ms\": 20000, \"expect\": {\"hosts\": 2},"
             " \"zones\": {}, \"steps\": [], \"observers\": [%s],"
             " \"probes\": [{\"name\": \"shop\", \"kind\": \"http\", \"url\": \"http://10.0.0.5/\","
             "   \"interval_ms\": 200, \"timeout_ms\": 500, \"unhealthy_after\": 2, \"healthy_after\": 2}],"
             " \"objectives\": [%s]}",
             observers, objective);
    run = fixture_new(text);
}

static void begin(const char *observers, const char *objective)
{
    make(observers, objective);
    run_begin(run, T);
    run_advance(run, T);
}

static void check_state(const char *state)
{
    ck_assert_str_eq(run_state_names[run->state], state);
}

/* Up to the word to act. */
static void start(const char *objective)
{
    begin("\"obs\"", objective);
    fixture_samples(run, T, ACT_AT, T, T + MSEC(200)); /* what fails before nobody did */
    run_advance(run, ACT_AT);
    check_state("running");
}

/* From there to the report. */
static void finish(void)
{
    run_advance(run, WATCH_END - 1);
    check_state("running");
    run_advance(run, WATCH_END);
    check_state("settling");
    run_advance(run, RUN_END);
    EACH_HOST (run, host)
        host->is_head_fresh = true;
    run_advance(run, RUN_END + MSEC(200));
    check_state("done");
    report = report_build(run);
}

static void observe(const char *objective, int64_t bad_from_usec, int64_t bad_until_usec)
{
    start(objective);
    fixture_samples(run, ACT_AT, RUN_END, bad_from_usec, bad_until_usec);
    finish();
}

/* The report's verdict and what its sentence says; drops the run. */
static void check_report(const char *verdict, const char *words)
{
    const char *sentence = json_text(report, "sentence");

    ck_assert_str_eq(json_text(report, "verdict"), verdict);
    ck_assert_msg(strstr(sentence, words) != NULL, "no \"%s\": %s", words, sentence);
    json_decref(report);
    run = run_free(run);
}

START_TEST(test_watches_and_orders_nothing_else)
{
    start(RECOVER);
    ck_assert_int_eq(seen.asks, 0);
    ck_assert_int_eq(seen.orders, 1);
    ck_assert_int_ge(run_fault_of(run, "obs", MANDATE_OBSERVE)->deadline_usec, RUN_END + RUN_PROOF_USEC);
    ck_assert_int_eq(run->started_usec, ACT_AT);
    ck_assert_int_eq(run_expected_end_usec(run), WATCH_END);
    ck_assert(fixture_has_line(run, "+0.00 s act now: no fault is ordered, the next 20 s are watched"));
    run = run_free(run);
}
END_TEST

START_TEST(test_met)
{
    observe(RECOVER, ACT_AT + SEC(5), ACT_AT + SEC(7));
    ck_assert_int_eq(run->t0_usec, ACT_AT + SEC(5));
    ck_assert(json_is_null(json_object_get(report, "start_skew_ms")));
    check_report("met", "The first failure was seen 5.0 s after the word to act: users noticed 2.0 s of "
                        "failures, service recovered after 2.2 s.");
    observe(RECOVER, WATCH_END - MSEC(200), WATCH_END); /* one lost request, at the last moment */
    check_report("met", "The first failure was seen 19.8 s after the word to act: users noticed 0.2 s of "
                        "failures.");
}
END_TEST

START_TEST(test_missed)
{
    observe(RECOVER, ACT_AT + SEC(5), ACT_AT + SEC(17));
    check_report("missed", "The first failure was seen 5.0 s after the word to act: users noticed 12.0 s of "
                           "failures, service recovered after 12.2 s. Missed: served: healthy again after "
                           "12.2 s, seen from obs.");
    observe(RECOVER, ACT_AT + SEC(5), RUN_END);
    check_report("missed", "service did not recover. Missed: served: not healthy again, seen from obs.");
}
END_TEST

START_TEST(test_nothing_failed)
{
    observe(RECOVER, 0, 0);
    ck_assert(json_is_null(json_object_get(report, "t0")));
    check_report("unknown",
                 "No failure was seen in 35.0 s. Not sure: served: nothing shows that anything was "
                 "done.");
}
END_TEST

/* What came too late for its promise to be watched out is neither kept nor broken. */
START_TEST(test_too_late)
{
    observe(RECOVER, RUN_END - SEC(6), RUN_END);
    check_report("unknown", "The first failure was seen 29.0 s after the word to act: users noticed 6.0 s of "
                            "failures, service did not recover. Not sure: served: the first failure came 6.0 "
                            "s before the end, too late to tell.");
    observe(RECOVER, RUN_END - MSEC(200), RUN_END); /* not yet declared unhealthy */
    check_report("unknown", "too late to tell");
    observe(RECOVER, RUN_END - SEC(6), RUN_END - SEC(5));
    check_report("met", "service recovered after 1.2 s.");
    observe(LOST, WATCH_END - MSEC(200), WATCH_END);
    check_report("met", "users noticed 0.2 s of failures.");
    observe(LOST, WATCH_END + SEC(1), WATCH_END + SEC(2));
    check_report("unknown", "too late to tell");
}
END_TEST

/* Who was not watching may have missed the first failure. */
START_TEST(test_gap_before)
{
    start(RECOVER);
    fixture_samples(run, ACT_AT + SEC(4), RUN_END, ACT_AT + SEC(5), ACT_AT + SEC(6));
    finish();
    check_report("unknown",
                 "The first failure was seen 5.0 s after the word to act: users noticed 1.0 s of "
                 "failures, service recovered after 1.2 s. Not sure: served: obs has no samples of "
                 "shop for 4.2 s.");
}
END_TEST

/* t0 of one observer is held against what another saw: both have to know what time it is. */
START_TEST(test_two_observers)
{
    begin("\"obs\", \"far\"", RECOVER);
    fixture_clocks(run, MSEC(101));
    fixture_samples_of(run, "far", "shop", T, ACT_AT, 0, 0);
    fixture_samples(run, T, ACT_AT, 0, 0);
    run_advance(run, ACT_AT);
    fixture_samples_of(run, "far", "shop", ACT_AT, RUN_END, ACT_AT + SEC(4), ACT_AT + SEC(6));
    fixture_samples(run, ACT_AT, RUN_END, ACT_AT + SEC(5), ACT_AT + SEC(6));
    finish();
    ck_assert_int_eq(run->t0_usec, ACT_AT + SEC(4));
    check_report("unknown", "clocks are known to 202 ms only");
}
END_TEST

START_TEST(test_not_to_its_end)
{
    begin("\"obs\"", RECOVER);
    fixture_samples(run, T, ACT_AT, T + SEC(1), ACT_AT);
    run_advance(run, ACT_AT);
    check_state("failed");
    report = report_build(run);
    check_report("unknown", "Nothing was rehearsed: the run failed: shop is unhealthy, seen from obs, before "
                            "anything was started.");
    start(RECOVER);
    fixture_samples(run, ACT_AT, ACT_AT + SEC(3), ACT_AT + SEC(1), ACT_AT + SEC(2));
    run_halt(run, "alice", ACT_AT + SEC(3));
    run_advance(run, ACT_AT + SEC(3));
    ck_assert(run->is_over);
    report = report_build(run);
    check_report("unknown", "failover did not run to its end: the run was halted by alice.");
}
END_TEST

/* A coordinator that was away meanwhile knows when it said so. */
START_TEST(test_away)
{
    json_t *records, *record;
    size_t i;

    start(RECOVER);
    records = json_incref(seen.records);
    run = run_free(run);
    make("\"obs\"", RECOVER);
    json_array_foreach(records, i, record)
        run_take_record(run, json_integer_value(json_object_get(record, "at")), json_text(record, "kind"),
                        json_object_get(record, "body"));
    json_decref(records);
    check_state("running");
    ck_assert_int_eq(run->started_usec, ACT_AT);
    fixture_samples(run, T, RUN_END, ACT_AT + SEC(5), ACT_AT + SEC(7));
    finish();
    ck_assert_int_eq(run->t0_usec, ACT_AT + SEC(5));
    check_report("met", "5.0 s after the word to act");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_watches_and_orders_nothing_else,
                                  test_met,
                                  test_missed,
                                  test_nothing_failed,
                                  test_too_late,
                                  test_gap_before,
                                  test_two_observers,
                                  test_not_to_its_end,
                                  test_away,
                                  NULL};

    return unit_run("observation", tests);
}
