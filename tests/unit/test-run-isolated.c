/* A run whose hosts are cut off from their coordinator as well, so that they are silent until the fault ends.
 */
#include "run-fixture.h"
#include "unit.h"

#define BACK_AT (STEPS_AT + DURATION)

static const char isolating[] = "{\"zone\": \"az1\", \"isolate\": \"full\"}";
static struct document *document;
static struct run *run;

static void start_isolating(void)
{
    ck_assert_int_eq(document_parse_json(&document, "step", isolating, strlen(isolating), NULL), 0);
    run = fixture_run("[]", 100);
    run->mandate->steps[0].parameters = document_root(document);
    fixture_begin(run);
    run_advance(run, BACK_AT + SEC(10) - 1);
    ck_assert_str_eq(run_state_names[run->state], "starting");
    ck_assert_int_eq(seen.halts, 0);
}

static void drop(void)
{
    run = run_free(run);
    document = document_free(document);
}

/* What they say then counts from when it was. */
START_TEST(test_they_come_back)
{
    start_isolating();
    for (size_t i = 0; i < HOSTS; i++) {
        fixture_arm(run, fixture_hosts[i], T0);
        fixture_exercise(run, fixture_hosts[i], T0);
        fixture_revert(run, fixture_hosts[i], BACK_AT, 1);
    }
    run_advance(run, BACK_AT + SEC(10));
    ck_assert_str_eq(run_state_names[run->state], "settling");
    ck_assert_int_eq(run->t0_usec, T0);
    drop();
}
END_TEST

/* A host that comes back takes longer to say its last word than one that was there all the time. */
START_TEST(test_a_last_word_may_take_longer)
{
    start_isolating();
    for (size_t i = 0; i < HOSTS; i++) {
        fixture_arm(run, fixture_hosts[i], T0);
        fixture_exercise(run, fixture_hosts[i], T0);
        fixture_revert(run, fixture_hosts[i], BACK_AT, 1);
    }
    run_advance(run, BACK_AT + SEC(10));
    run_advance(run, BACK_AT + SEC(10) + run->mandate->settle_msec * USEC_PER_MSEC);
    run_advance(run, run->finishing_usec + RUN_PROOF_USEC + RUN_REJOIN_USEC - 1);
    ck_assert_str_eq(run_state_names[run->state], "settling");
    run_advance(run, run->finishing_usec + RUN_PROOF_USEC + RUN_REJOIN_USEC);
    ck_assert_str_eq(run_state_names[run->state], "done");
    drop();
}
END_TEST

START_TEST(test_they_do_not)
{
    start_isolating();
    run_advance(run, BACK_AT + SEC(10));
    ck_assert_str_eq(run_state_names[run->state], "failed");
    ck_assert_msg(strstr(run->reason, "did not arm zone.block in time") != NULL, "%s", run->reason);
    ck_assert_int_eq(seen.halts, 1);
    drop();
}
END_TEST

START_TEST(test_one_refuses)
{
    const char *refusal =
        "{\"reason\": \"policy: classes.network.allows_isolation\", \"document\": \"order\"}";

    start_isolating();
    fixture_says(run, "a2", "order.refused", "lose-az1", refusal, STEPS_AT + MSEC(20));
    run_advance(run, BACK_AT + SEC(10) - 1);
    ck_assert_str_eq(run_state_names[run->state], "failed");
    ck_assert_msg(strstr(run->reason, "allows_isolation") != NULL, "%s", run->reason);
    drop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_they_come_back, test_a_last_word_may_take_longer, test_they_do_not,
                                  test_one_refuses, NULL};

    return unit_run("run-isolated", tests);
}
