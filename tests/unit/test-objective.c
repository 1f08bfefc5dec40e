/* Every kind of objective, met, missed and unknown; and the ways in which what was measured can be in doubt.
 */
#include <string.h>

#include "run-fixture.h"
#include "unit.h"

#define RECOVER                                                                                              \
    "[{\"name\": \"users are served\", \"kind\": \"recover\", \"probe\": \"shop\", \"within_s\": 10}]"
#define DETECT       "[{\"name\": \"we notice\", \"kind\": \"detect\", \"probe\": \"shop\", \"within_s\": 1}]"
#define LOST         "[{\"name\": \"few are lost\", \"kind\": \"lost\", \"probe\": \"shop\", \"at_most_percent\": 2}]"
#define REPLACEMENTS "[{\"name\": \"capacity\", \"kind\": \"replacements\"}]"
#define ROLLBACK     "[{\"name\": \"rollback\", \"kind\": \"rollback\", \"within_ms\": 1000}]"

static struct run *run;

/* Judges the only objective, and drops the run. */
static void check_verdict(const char *verdict, const char *why)
{
    struct judgement result;

    json_decref(objective_judge(run, run->mandate->objectives->first, &result));
    ck_assert_msg(!strcmp(verdict_names[result.verdict], verdict), "%s: %s", verdict_names[result.verdict],
                  result.why);
    ck_assert_msg(strstr(result.why, why) != NULL, "no \"%s\": %s", why, result.why);
    run = run_free(run);
}

static void rehearse(const char *objectives, int64_t bad_msec, bool has_heads)
{
    run = fixture_start(objectives);
    fixture_finish(run, bad_msec, has_heads);
}

START_TEST(test_recover)
{
    rehearse(RECOVER, 1500, true);
    check_verdict("met", "");
    rehearse(RECOVER, 0, true);
    check_verdict("met", "");
    rehearse(RECOVER, 12000, true);
    check_verdict("missed", "healthy again after 12.");
    rehearse(RECOVER, 100000, true);
    check_verdict("missed", "not healthy again");
    rehearse(RECOVER, 12000, false);
    check_verdict("unknown", "no fresh word from obs");
}
END_TEST

START_TEST(test_detect)
{
    rehearse(DETECT, 1500, true);
    check_verdict("met", "");
    rehearse(DETECT, 0, true);
    check_verdict("missed", "never declared unhealthy");
    run = fixture_start(DETECT);
    fixture_samples(run, STEPS_AT, T0 + SEC(3), T0 + SEC(2), T0 + SEC(3));
    fixture_finish(run, 0, true);
    check_verdict("missed", "declared unhealthy after 2.");
    rehearse(DETECT, 1500, false);
    check_verdict("unknown", "no fresh word");
}
END_TEST

START_TEST(test_lost)
{
    rehearse(LOST, 600, true);
    check_verdict("met", "");
    rehearse(LOST, 6000, true);
    check_verdict("missed", "% of the requests were lost");
    run = fixture_start(LOST);
    run->endpoints[0].n_samples = 0;
    fixture_finish(run, 0, true);
    run->endpoints[0].n_samples = 0;
    check_verdict("unknown", "no samples");
}
END_TEST

static void replace(const char *id, const char *address, const char *state)
{
    fixture_join(run, id, address, T0 + SEC(4));
    fixture_server(run, address, "DOWN", T0 + SEC(5));
    fixture_server(run, address, state, T0 + SEC(8));
}

START_TEST(test_replacements)
{
    run = fixture_start(REPLACEMENTS);
    replace("n1", "10.2.0.13", "UP");
    replace("n2", "10.3.0.13", "UP");
    fixture_finish(run, 0, true);
    check_verdict("met", "");

    run = fixture_start(REPLACEMENTS);
    replace("n1", "10.2.0.13", "UP");
    replace("n2", "10.3.0.13", "DOWN");
    fixture_finish(run, 0, true);
    check_verdict("missed", "1 of 2 replacements came into service");

    run = fixture_start(REPLACEMENTS);
    replace("n1", "10.2.0.13", "UP");
    fixture_server(run, "10.2.0.13", "DOWN", T0 + SEC(9)); /* judged at the end */
    fixture_finish(run, 0, true);
    check_verdict("missed", "0 of 1");

    run = fixture_start(REPLACEMENTS);
    fixture_join(run, "n1", "10.2.0.13", T0 + SEC(4));
    fixture_finish(run, 0, true);
    run_host(run, "n1")->in_service_usec =
        run_reverted_usec(run) + SEC(1); /* when the zone was back already */
    check_verdict("missed", "0 of 1");

    run = fixture_start(REPLACEMENTS);
    fixture_finish(run, 0, true);
    check_verdict("unknown", "no replacement started");

    run = fixture_start(REPLACEMENTS);
    replace("n1", "10.2.0.13", "UP");
    fixture_finish(run, 0, true);
    run->balancer_seen_usec = T0;
    check_verdict("unknown", "no balancer said");

    run = fixture_start(REPLACEMENTS);
    replace("n1", "10.2.0.13", "DOWN");
    fixture_says(run, "n1", "agent.ready", NULL, "{\"is_ready\": false, \"waited_ms\": 15000}", T0 + SEC(6));
    fixture_finish(run, 0, true);
    check_verdict("unknown", "booted without waiting");
}
END_TEST

START_TEST(test_rollback)
{
    rehearse(ROLLBACK, 0, true);
    check_verdict("met", "");
    run = fixture_start(ROLLBACK);
    fixture_revert(run, "a2", STEPS_AT + DURATION + MSEC(1400), 1400);
    fixture_finish(run, 0, true);
    check_verdict("missed", "1400 ms late on a2");
    run = fixture_start(ROLLBACK);
    fixture_says(run, "a2", "fault.failed", "lose-az1", "{\"reason\": \"EPERM\", \"is_reverted\": false}",
                 T0 + SEC(1));
    fixture_finish(run, 0, true);
    check_verdict("missed", "not reverted on a2: EPERM");
    run = fixture_start(ROLLBACK);
    fixture_says(run, "a2", "fault.failed", "lose-az1", "{\"reason\": \"killed\", \"is_reverted\": null}",
                 T0 + SEC(1));
    fixture_finish(run, 0, true);
    check_verdict("met", "");
    rehearse(ROLLBACK, 0, true);
    run_fault_of(run, "b1", "lose-az1")->has_revert_error = false;
    check_verdict("unknown", "no proof that zone.block was reverted on b1");
    run = fixture_start(ROLLBACK);
    fixture_says(run, "a2", "fault.interrupted", "lose-az1", "{\"reason\": \"restarted\"}",
                 STEPS_AT + 9 * DURATION);
    fixture_says(run, "a2", "fault.reverted", "lose-az1",
                 "{\"revert_error_ms\": null, \"ended_by\": \"restart\"}", STEPS_AT + 9 * DURATION);
    fixture_finish(run, 0, true);
    check_verdict("unknown", "no proof that zone.block was reverted on a2 in time: restarted");
}
END_TEST

START_TEST(test_doubts)
{
    rehearse(RECOVER, 1500, true);
    fixture_clocks(run, MSEC(101)); /* 2 x 101 > 200 ms */
    check_verdict("unknown", "clocks are known to 202 ms only");
    rehearse(RECOVER, 1500, true);
    run_host(run, "b1")->has_clock = false;
    check_verdict("unknown", "the clock of obs or of a host that t0 comes from is not known");
    rehearse(RECOVER, 1500, true);
    run->endpoints[0].n_samples -= 15; /* the last 3 s are missing */
    check_verdict("unknown", "no samples of shop for");
    run = fixture_start(RECOVER);
    fixture_samples(run, STEPS_AT, T0, STEPS_AT - SEC(1), T0); /* fails before t0 */
    for (size_t i = 0; i < run->endpoints[0].n_samples; i++)
        run->endpoints[0].samples[i].is_ok = false;
    fixture_finish(run, 0, true);
    check_verdict("unknown", "not healthy before the fault");
    run = fixture_start(RECOVER);
    run_halt(run, "alice", T0 + SEC(1));
    check_verdict("unknown", "the run is halted");
}
END_TEST

START_TEST(test_clock_offset)
{
    struct recovery recovery;

    run = fixture_start(RECOVER);
    run_host(run, "obs")->clock_offset_usec = SEC(5); /* obs is ahead: its t0 is later by that */
    ck_assert_int_eq(endpoint_t0(run, &run->endpoints[0]), T0 + SEC(5));
    ck_assert_int_eq(endpoint_recovery(run, &run->endpoints[0], NULL, &recovery), 0);
    ck_assert_int_eq(recovery.requests, 0);
    run = run_free(run);
}
END_TEST

static void check_refused(const char *json, const char *words)
{
    _cleanup_(document_freep) struct document *document = NULL, *probes = NULL;
    struct error error = {};

    ck_assert_int_eq(document_parse_json(&probes, "probes", "[{\"name\": \"shop\"}]", 18, NULL), 0);
    ck_assert_int_eq(document_parse_json(&document, "o", json, strlen(json), NULL), 0);
    ck_assert_int_lt(objective_check(document, document_root(document), document_root(probes), &error), 0);
    ck_assert_msg(!strncmp(error.text, "o:1:", 4), "no place: %s", error.text);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\": %s", words, error.text);
}

START_TEST(test_refused)
{
    check_refused("{\"name\": \"x\", \"kind\": \"rto\"}", "expected kind recover, detect");
    check_refused("{\"name\": \"x\"}", "expected kind");
    check_refused("{\"name\": \"x\", \"kind\": \"recover\", \"probe\": \"till\", \"within_s\": 1}",
                  "no probe till");
    check_refused("{\"name\": \"x\", \"kind\": \"recover\", \"probe\": \"shop\", \"within_s\": 0}",
                  "within_s");
    check_refused("{\"name\": \"x\", \"kind\": \"replacements\", \"probe\": \"shop\"}", "probe");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_recover,      test_detect,   test_lost,
                                  test_replacements, test_rollback, test_doubts,
                                  test_clock_offset, test_refused,  NULL};

    return unit_run("objective", tests);
}
