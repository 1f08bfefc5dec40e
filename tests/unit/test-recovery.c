/* Recovery arithmetic, fed by scripts: each character is one request, `+` answered well, `-` not. */
#include "probes/recovery.h"
#include "unit.h"

#define MSEC     1000LL
#define T0       (1000000 * MSEC)
#define INTERVAL (100 * MSEC)
#define LATENCY  (10 * MSEC)
#define TIMEOUT  (50 * MSEC)

/* The first request of @script is sent at T0 + @from_msec; failures take TIMEOUT, successes LATENCY, ` `
 * sends nothing. */
static void feed(struct recovery *recovery, int64_t from_msec, const char *script)
{
    for (int64_t at = T0 + from_msec * MSEC; *script; script++, at += INTERVAL) {
        struct sample sample = {.at_usec = at, .is_ok = *script == '+'};

        sample.latency_usec = sample.is_ok ? LATENCY : TIMEOUT;
        sample.status = sample.is_ok ? 200 : 0;
        if (*script != ' ')
            recovery_add(recovery, &sample);
    }
}

static int64_t after_t0_msec(int64_t usec)
{
    return (usec - T0) / MSEC;
}

static void check_transition(const struct recovery *recovery, size_t i, int64_t at_msec,
                             enum recovery_state from, enum recovery_state to)
{
    ck_assert_uint_lt(i, recovery->n_transitions);
    ck_assert_int_eq(after_t0_msec(recovery->transitions[i].at_usec), at_msec);
    ck_assert_str_eq(recovery_state_name(recovery->transitions[i].from), recovery_state_name(from));
    ck_assert_str_eq(recovery_state_name(recovery->transitions[i].to), recovery_state_name(to));
}

START_TEST(test_fails_and_recovers)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 3, 300 * MSEC);
    feed(&r, -500, "+++++");
    feed(&r, 0, "+---++++++++");
    ck_assert(r.was_healthy_at_t0);
    ck_assert_int_eq(after_t0_msec(r.unhealthy_usec), 250);
    ck_assert_int_eq(after_t0_msec(r.healthy_usec), 610);
    ck_assert_int_eq(after_t0_msec(r.stable_at_usec), 910);
    ck_assert_int_eq(recovery_detect_msec(&r), 250);
    ck_assert_int_eq(recovery_recover_msec(&r), 610);
    ck_assert_uint_eq(r.requests, 12);
    ck_assert_uint_eq(r.lost, 3);
    ck_assert_uint_eq(r.n_transitions, 5);
    check_transition(&r, 0, -290, RECOVERY_UNKNOWN, RECOVERY_HEALTHY);
    check_transition(&r, 1, 150, RECOVERY_HEALTHY, RECOVERY_FAILING);
    check_transition(&r, 2, 250, RECOVERY_FAILING, RECOVERY_UNHEALTHY);
    check_transition(&r, 3, 410, RECOVERY_UNHEALTHY, RECOVERY_RECOVERING);
    check_transition(&r, 4, 610, RECOVERY_RECOVERING, RECOVERY_HEALTHY);
}
END_TEST

START_TEST(test_never_fails)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 2, 0);
    feed(&r, -300, "+++");
    feed(&r, 0, "+++++");
    ck_assert(r.was_healthy_at_t0);
    ck_assert_int_eq(recovery_detect_msec(&r), -1);
    ck_assert_int_eq(recovery_recover_msec(&r), 0);
    ck_assert_int_eq(r.stable_at_usec, 0);
    ck_assert_uint_eq(r.lost, 0);
}
END_TEST

START_TEST(test_below_threshold_is_no_failure)
{
    struct recovery r;

    recovery_init(&r, T0, 3, 2, 0);
    feed(&r, -300, "+++");
    feed(&r, 0, "--+--+--");
    ck_assert_int_eq(recovery_detect_msec(&r), -1);
    ck_assert_int_eq(recovery_recover_msec(&r), 0);
    ck_assert_int_eq(r.state, RECOVERY_FAILING);
    ck_assert_uint_eq(r.lost, 6);
}
END_TEST

START_TEST(test_never_recovers)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 2, 0);
    feed(&r, -300, "+++");
    feed(&r, 0, "+-----+-----");
    ck_assert_int_eq(recovery_detect_msec(&r), 250);
    ck_assert_int_eq(recovery_recover_msec(&r), -1);
    ck_assert_int_eq(r.healthy_usec, 0);
    ck_assert_int_eq(r.state, RECOVERY_UNHEALTHY);
}
END_TEST

START_TEST(test_flapping_counts_the_last_recovery)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 2, 200 * MSEC);
    feed(&r, -300, "+++");
    feed(&r, 0, "--++++--++");
    ck_assert_int_eq(recovery_detect_msec(&r), 150);
    ck_assert_int_eq(recovery_recover_msec(&r), 910);
    ck_assert_int_eq(r.stable_at_usec, 0);
    feed(&r, 1000, "+-+++");
    ck_assert_int_eq(recovery_recover_msec(&r), 910);
    ck_assert_int_eq(after_t0_msec(r.stable_at_usec), 1410);
}
END_TEST

START_TEST(test_unhealthy_before_t0)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 2, 0);
    feed(&r, -400, "+---");
    feed(&r, 0, "-+-");
    ck_assert(!r.was_healthy_at_t0);
    ck_assert_int_eq(recovery_detect_msec(&r), -1);
    ck_assert_int_eq(recovery_recover_msec(&r), -1);
    feed(&r, 300, "++");
    ck_assert_int_eq(recovery_recover_msec(&r), 410);
}
END_TEST

START_TEST(test_request_lost_across_t0_belongs_to_the_fault)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 2, 0);
    feed(&r, -330, "+++-");
    feed(&r, 70, "-++");
    ck_assert(r.was_healthy_at_t0);
    ck_assert_uint_eq(r.lost, 2);
    ck_assert_int_eq(recovery_detect_msec(&r), 120);
}
END_TEST

START_TEST(test_unknown_is_not_healthy)
{
    struct recovery r;

    recovery_init(&r, T0, 2, 2, 0);
    ck_assert_int_eq(recovery_recover_msec(&r), -1);
    feed(&r, -100, "+");
    ck_assert(!r.was_healthy_at_t0);
    feed(&r, 0, "+");
    ck_assert(!r.was_healthy_at_t0);
    ck_assert_int_eq(recovery_recover_msec(&r), 10);
}
END_TEST

START_TEST(test_slow_failure_speaks_before_the_quick_success_after_it)
{
    struct recovery r;
    struct sample slow = {.at_usec = T0, .latency_usec = 500 * MSEC},
                  quick = {T0 + 100 * MSEC, MSEC, 200, true};

    recovery_init(&r, T0, 1, 1, 0);
    feed(&r, -100, "+");
    recovery_add(&r, &slow);
    recovery_add(&r, &quick);
    ck_assert_int_eq(recovery_detect_msec(&r), 500);
    ck_assert_int_eq(recovery_recover_msec(&r), 500);
}
END_TEST

START_TEST(test_thresholds_below_one_are_one)
{
    struct recovery r;

    recovery_init(&r, T0, 0, -5, -1);
    feed(&r, -100, "+");
    feed(&r, 0, "-+");
    ck_assert_int_eq(recovery_detect_msec(&r), 50);
    ck_assert_int_eq(recovery_recover_msec(&r), 110);
    ck_assert_int_eq(after_t0_msec(r.stable_at_usec), 110);
}
END_TEST

START_TEST(test_transitions_have_a_limit)
{
    struct recovery r;

    recovery_init(&r, T0, 1, 1, 0);
    for (int i = 0; i < RECOVERY_TRANSITIONS_MAX; i++)
        feed(&r, i * 200, "+-");
    ck_assert_uint_eq(r.n_transitions, RECOVERY_TRANSITIONS_MAX);
    ck_assert_uint_eq(r.requests, 2 * RECOVERY_TRANSITIONS_MAX);
    ck_assert_int_eq(r.state, RECOVERY_UNHEALTHY);
}
END_TEST

START_TEST(test_latency_by_nearest_rank)
{
    int64_t latencies[] = {50, 15, 40, 20, 35};

    ck_assert_int_eq(recovery_latency(latencies, 5, 30), 20);
    ck_assert_int_eq(recovery_latency(latencies, 5, 40), 20);
    ck_assert_int_eq(recovery_latency(latencies, 5, 50), 35);
    ck_assert_int_eq(recovery_latency(latencies, 5, 100), 50);
    ck_assert_int_eq(recovery_latency(latencies, 5, 101), 50);
    ck_assert_int_eq(recovery_latency(latencies, 5, 0), 15);
    ck_assert_int_eq(recovery_latency(latencies, 0, 50), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_fails_and_recovers,
                                  test_never_fails,
                                  test_below_threshold_is_no_failure,
                                  test_never_recovers,
                                  test_flapping_counts_the_last_recovery,
                                  test_unhealthy_before_t0,
                                  test_request_lost_across_t0_belongs_to_the_fault,
                                  test_unknown_is_not_healthy,
                                  test_slow_failure_speaks_before_the_quick_success_after_it,
                                  test_thresholds_below_one_are_one,
                                  test_transitions_have_a_limit,
                                  test_latency_by_nearest_rank,
                                  NULL};

    return unit_run("recovery", tests);
}
