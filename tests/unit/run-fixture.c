/* See run-fixture.h. */
#include "run-fixture.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct seen seen;
const char *fixture_more_steps = "";
const char *const fixture_hosts[HOSTS] = {"a1", "a2", "b1"};

void run_ask(struct run *run, struct run_host *host, const char *purpose, int64_t now_usec)
{
    seen.asks++;
}
int run_send_order(struct run *run, const struct run_fault *fault, struct error *error)
{
    seen.orders++;
    return seen.refuses_orders ? error_set(error, EIO, "the queue is full") : 0;
}
void run_send_halt(struct run *run, int64_t now_usec)
{
    seen.halts += run->n_faults > 0;
}
void run_nudge(struct run *run, const struct run_host *host)
{
    seen.nudges++;
}
size_t run_group_size(const struct run *run, const char *group)
{
    return HOSTS;
}
void run_store_record(const struct run *run, int64_t at_usec, const char *kind, const char *line)
{
    json_array_append_new(seen.records, json_pack("{s:I, s:s, s:o}", "at", (json_int_t)at_usec, "kind", kind,
                                                  "body", json_loads(line, 0, NULL)));
}
void run_store_end(struct run *run)
{
    seen.finishes++;
}

static const char mandate_format[] =
    "{\"schema\": \"grivet.mandate/1\", \"id\": \"01900000-0000-7000-8000-000000000001\","
    " \"experiment\": \"zone-outage\", \"environment\": \"lab\", \"created_at\": "
    "\"2027-01-15T08:00:00.000000Z\","
    " \"not_before\": \"2027-01-15T08:00:00.000000Z\", \"not_after\": \"2027-01-15T09:00:00.000000Z\","
    " \"max_runs\": 1, \"require_percent\": %d, \"warmup_ms\": 3000, \"settle_ms\": 15000,"
    " \"expect\": {\"hosts\": 3, \"max_share_of_group_percent\": 67},"
    " \"zones\": {\"apse2-az1\": [\"10.1.0.0/24\"]},"
    " \"steps\": [{\"name\": \"lose-az1\", \"fault\": \"zone.block\", \"parameters\": {\"zone\": "
    "\"apse2-az1\"},"
    "   \"duration_ms\": 20000, \"hosts\": [\"a1\", \"a2\", \"b1\"], \"late_joiners\": true}%s],"
    " \"late_joiners\": {\"labels\": {\"group\": \"web\"}, \"max\": 2}, \"observers\": [\"obs\"],"
    " \"probes\": [{\"name\": \"shop\", \"kind\": \"http\", \"url\": \"http://10.0.0.5/health\","
    "   \"interval_ms\": 200, \"timeout_ms\": 500, \"unhealthy_after\": 2, \"healthy_after\": 2,"
    "   \"stable_s\": 3}, {\"name\": \"a1-health\", \"kind\": \"http\", \"url\": \"http://10.1.0.11/\","
    "   \"interval_ms\": 200, \"timeout_ms\": 500}],"
    " \"objectives\": %s}";

struct run *fixture_new(const char *text)
{
    struct mandate *mandate;
    struct error error = {};
    struct run *run;

    json_decref(seen.records);
    seen = (struct seen){.records = json_array()};
    ck_assert_msg(mandate_parse(&mandate, text, strlen(text), &error) == 0, "%s", error.text);
    ck_assert_msg(run_new(&run, "01900000-0000-7000-8000-00000000000a", mandate, T, NULL, &error) == 0, "%s",
                  error.text);
    return run;
}

struct run *fixture_run(const char *objectives, int require_percent)
{
    char text[8192];
    struct run *run;

    snprintf(text, sizeof(text), mandate_format, require_percent, fixture_more_steps, objectives);
    run = fixture_new(text);
    for (size_t i = 0; i < HOSTS; i++)
        strcpy(run_host(run, fixture_hosts[i])->group, "web");
    return run;
}

void fixture_says(struct run *run, const char *host, const char *kind, const char *step, const char *body,
                  int64_t at_usec)
{
    const struct run_fault *fault = step ? run_fault_of(run, host, step) : NULL;
    json_t *json = json_loads(body, 0, NULL);
    struct host_event event = {
        .host = host, .kind = kind, .order = fault ? fault->order : NULL, .at_usec = at_usec, .body = json};

    ck_assert_ptr_nonnull(json);
    run_take_event(run, &event);
    json_decref(json);
}

void fixture_answer(struct run *run, const char *host, bool is_accepted, const char *reason)
{
    json_t *answer = json_pack("{s:s, s:b, s:[{s:b, s:s}]}", "ask", run_host(run, host)->ask, "is_accepted",
                               is_accepted, "steps", "is_accepted", is_accepted, "reason", reason);

    run_see_answer(run, host, answer);
    json_decref(answer);
}

void fixture_join(struct run *run, const char *id, const char *address, int64_t at_usec)
{
    json_t *labels = json_pack("{s:s}", "group", "web");

    run_see_newborn(run, id, labels, address, at_usec);
    json_decref(labels);
}

void fixture_order(struct run *run, const char *host, int64_t at_usec)
{
    run_record(run, at_usec, "run.ordered",
               json_pack("{s:s, s:s, s:s, s:I}", "order", host, "host", host, "step", "lose-az1",
                         "deadline_usec", (json_int_t)(STEPS_AT + DURATION)));
}

bool fixture_has_line(const struct run *run, const char *words)
{
    json_t *line;
    size_t i;

    json_array_foreach(run->lines, i,
                       line) if (strstr(json_string_value(json_object_get(line, "text")), words)) return true;
    return false;
}

void fixture_samples_of(struct run *run, const char *from, const char *probe, int64_t from_usec,
                        int64_t until_usec, int64_t bad_from_usec, int64_t bad_until_usec)
{
    char body[65536];
    size_t length = (size_t)snprintf(body, sizeof(body), "{\"probe\": \"%s\", \"samples\": [", probe);
    const char *comma = "";

    for (int64_t at = from_usec; at < until_usec; at += MSEC(200)) {
        bool is_bad = at >= bad_from_usec && at < bad_until_usec;

        length += (size_t)snprintf(body + length, sizeof(body) - length, "%s[%lld, 2000, %d, %d]", comma,
                                   (long long)at, is_bad ? 503 : 200, !is_bad);
        comma = ", ";
    }
    snprintf(body + length, sizeof(body) - length, "]}");
    fixture_says(run, from, "probe.samples", MANDATE_OBSERVE, body, until_usec);
}

void fixture_samples(struct run *run, int64_t from_usec, int64_t until_usec, int64_t bad_from_usec,
                     int64_t bad_until_usec)
{
    fixture_samples_of(run, "obs", "shop", from_usec, until_usec, bad_from_usec, bad_until_usec);
    fixture_samples_of(run, "obs", "a1-health", from_usec, until_usec, T0, STEPS_AT + DURATION);
}

static void says_fault(struct run *run, const char *host, const char *kind, const char *time_key,
                       int64_t at_usec, const char *more)
{
    char body[600], when[TIME_TEXT_MAX];

    snprintf(body, sizeof(body), "{\"fault\": \"zone.block\", \"%s\": \"%s\"%s}", time_key,
             time_format(at_usec, when), more);
    fixture_says(run, host, kind, "lose-az1", body, at_usec);
}

void fixture_arm(struct run *run, const char *host, int64_t at_usec)
{
    says_fault(run, host, "fault.armed", "armed_at", at_usec, "");
}

void fixture_exercise(struct run *run, const char *host, int64_t at_usec)
{
    says_fault(run, host, "fault.exercised", "exercised_at", at_usec,
               ", \"effect\": {\"view\": \"outside\"}");
}

void fixture_revert(struct run *run, const char *host, int64_t at_usec, double late_msec)
{
    char more[300];

    snprintf(more, sizeof(more),
             ", \"revert_error_ms\": %.1f, \"ended_by\": \"deadline\", \"is_interfered\": false,"
             " \"effect\": {\"out_packets\": 7, \"waiting\": [\"10.1.0.9:80\"]}",
             late_msec);
    says_fault(run, host, "fault.reverted", "reverted_at", at_usec, more);
}

void fixture_clocks(struct run *run, int64_t bound_usec)
{
    for (size_t i = 0; i < run->n_hosts; i++) {
        run->hosts[i].has_clock = true;
        run->hosts[i].clock_bound_usec = bound_usec;
    }
}

void fixture_begin(struct run *run)
{
    run_begin(run, T);
    for (size_t i = 0; i < HOSTS; i++)
        fixture_answer(run, fixture_hosts[i], true, "");
    run_advance(run, T);
    fixture_samples(run, T, STEPS_AT, 0, 0);
    run_advance(run, STEPS_AT);
}

struct run *fixture_start(const char *objectives)
{
    struct run *run = fixture_run(objectives, 100);

    run_begin(run, T);
    for (size_t i = 0; i < HOSTS; i++)
        fixture_answer(run, fixture_hosts[i], true, "");
    run_advance(run, T);
    fixture_clocks(run, MSEC(1));
    fixture_samples(run, T, STEPS_AT, 0, 0);
    run_advance(run, STEPS_AT);
    for (size_t i = 0; i < HOSTS; i++) {
        fixture_arm(run, fixture_hosts[i], STEPS_AT + MSEC(50) * ((int64_t)i > 1 ? 2 : (int64_t)i));
        fixture_exercise(run, fixture_hosts[i], T0 + MSEC(10));
    }
    run_advance(run, T0 + MSEC(20));
    ck_assert_str_eq(run_state_names[run->state], "running");
    return run;
}

void fixture_finish(struct run *run, int64_t bad_msec, bool has_heads)
{
    int64_t end_usec = STEPS_AT + DURATION, settled_usec;

    for (size_t i = 0; i < run->n_faults; i++)
        if (run->faults[i].step && run->faults[i].armed_usec && run->faults[i].state < RUN_FAULT_REVERTED)
            fixture_revert(run, run->faults[i].host, end_usec + MSEC(3), 3);
    settled_usec = run_reverted_usec(run) + SEC(15);
    fixture_samples(run, STEPS_AT, settled_usec, T0 + MSEC(100), T0 + MSEC(100 + bad_msec));
    run_advance(run, end_usec + SEC(6));
    run->balancer_seen_usec = settled_usec;
    run_advance(run, settled_usec);
    for (size_t i = 0; i < run->n_hosts; i++)
        run->hosts[i].is_head_fresh = has_heads;
    run_advance(run, settled_usec + (has_heads ? MSEC(200) : SEC(5)));
    ck_assert_str_eq(run_state_names[run->state], "done");
}

void fixture_server(struct run *run, const char *address, const char *state, int64_t at_usec)
{
    struct balancer_fact fact = {.at_usec = at_usec, .balancer = "shop", .backend = "web"};

    snprintf(fact.server, sizeof(fact.server), "s-%.40s", address);
    snprintf(fact.address, sizeof(fact.address), "%s", address);
    snprintf(fact.state, sizeof(fact.state), "%s", state);
    run_see_balancer(run, &fact);
}

const char fixture_kill_after[] =
    ", {\"name\": \"kill\", \"fault\": \"process.kill\", \"parameters\": {}, \"duration_ms\": 5000,"
    " \"hosts\": [\"a1\", \"b1\"], \"after\": [\"lose-az1\"], \"late_joiners\": true}";
void fixture_kill(struct run *run, const char *step, const char *host, const char *kind, int64_t at_usec)
{
    char body[200], when[TIME_TEXT_MAX];

    snprintf(body, sizeof(body), "{\"fault\": \"process.kill\", \"exercised_at\": \"%s\", \"reason\": \"x\"}",
             time_format(at_usec, when));
    fixture_says(run, host, kind, step, body, at_usec);
}

struct run *fixture_start_steps(const char *objectives, const char *more_steps)
{
    struct run *run;

    fixture_more_steps = more_steps;
    run = fixture_start(objectives);
    for (size_t i = 1; i < HOSTS; i++)
        fixture_revert(run, fixture_hosts[i], ENDS_AT + MSEC(2), 2);
    return run;
}

void fixture_agree(struct run *run, int64_t now_usec)
{
    run_advance(run, now_usec);
    ck_assert_str_eq(run_state_names[run->state], "checking");
    fixture_answer(run, "a1", true, "");
    fixture_answer(run, "b1", true, "");
    run_advance(run, now_usec);
    ck_assert_str_eq(run_state_names[run->state], "starting");
}

struct run *fixture_start_second(const char *objectives)
{
    struct run *run = fixture_start_steps(objectives, fixture_kill_after);

    fixture_samples(run, STEPS_AT, ENDS_AT + SEC(1), 0, 0);
    run_advance(run, ENDS_AT + SEC(1));
    ck_assert_str_eq(run_state_names[run->state], "running");
    ck_assert_int_eq(seen.orders, 1 + HOSTS);
    fixture_revert(run, "a1", ENDS_AT + MSEC(3), 3);
    fixture_agree(run, ENDS_AT + SEC(1));
    ck_assert_int_eq(seen.asks, HOSTS + 2);
    ck_assert_int_eq(seen.orders, 1 + HOSTS + 2);
    return run;
}

void fixture_end_second(struct run *run, int64_t bad_usec)
{
    int64_t at_usec = ENDS_AT + SEC(1) + MSEC(100);

    for (int i = 0; i < 2; i++) {
        const char *host = i ? "b1" : "a1";

        fixture_kill(run, "kill", host, "fault.exercised", at_usec);
        fixture_kill(run, "kill", host, "fault.ended", at_usec + MSEC(10));
    }
    run_advance(run, at_usec + MSEC(20));
    ck_assert_str_eq(run_state_names[run->state], "settling");
    fixture_samples(run, ENDS_AT + SEC(1), at_usec + SEC(20), at_usec + MSEC(100), at_usec + bad_usec);
    run_advance(run, ENDS_AT + SEC(6 + 15) - 1);
    ck_assert_int_eq(run->finishing_usec, 0); /* the settling counts from the second one's deadline */
    run_advance(run, at_usec + SEC(20));
    for (size_t i = 0; i < run->n_hosts; i++)
        run->hosts[i].is_head_fresh = true;
    run_advance(run, at_usec + SEC(21));
    ck_assert_str_eq(run_state_names[run->state], "done");
}
