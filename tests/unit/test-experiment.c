/* Experiments: what is accepted, what is refused and at which place, and which hosts a plan chooses. */
#include <stdio.h>
#include <string.h>

#include "coordinator/plan.h"
#include "unit.h"

#define HEAD                                                                                                 \
    "schema: grivet.experiment/1\n"                                                                          \
    "name: zone-outage\n"                                                                                    \
    "environment: lab\n"
#define STEPS                                                                                                \
    "steps:\n"                                                                                               \
    "  - name: lose-az1\n"                                                                                   \
    "    fault: zone.block\n"                                                                                \
    "    parameters: {zone: apse2-az1}\n"                                                                    \
    "    hosts: {labels: {group: web}, percent: 50}\n"                                                       \
    "    duration_s: 20\n"
#define EXPECT "expect: {hosts: 2, max_share_of_group_percent: 34}\n"
#define PROBE                                                                                                \
    "observers: {labels: {role: observer}}\n"                                                                \
    "probes:\n"                                                                                              \
    "  - name: shop\n"                                                                                       \
    "    kind: http\n"                                                                                       \
    "    url: http://10.0.0.5/health\n"                                                                      \
    "    interval_ms: 200\n"                                                                                 \
    "    timeout_ms: 500\n"

static struct experiment *parse(const char *text)
{
    struct experiment *experiment;
    struct error error = {};

    ck_assert_msg(experiment_parse(&experiment, "e.yaml", text, strlen(text), &error) == 0, "%s", error.text);
    return experiment;
}

static void check_refused(const char *text, const char *where, const char *words)
{
    struct experiment *experiment;
    struct error error = {};

    ck_assert_msg(experiment_parse(&experiment, "e.yaml", text, strlen(text), &error) < 0, "accepted: %s",
                  text);
    ck_assert_msg(!strncmp(error.text, where, strlen(where)), "not at %s: %s", where, error.text);
    ck_assert_msg(strstr(error.text, words) != NULL, "no \"%s\": %s", words, error.text);
}

START_TEST(test_accepted)
{
    struct experiment *experiment = parse(HEAD EXPECT STEPS PROBE "    stable_s: 3\n");

    ck_assert_int_eq(experiment->expect_hosts, 2);
    ck_assert_int_eq(experiment->max_runs, 1);
    ck_assert_int_eq(experiment->require_percent, 100);
    ck_assert_int_eq(experiment->steps[0].percent, 50);
    ck_assert_int_eq(experiment->steps[0].duration_sec, 20);
    ck_assert_int_eq(node_get(experiment->probes->first, "stable_s")->integer, 3);
    experiment_free(experiment);
}
END_TEST

START_TEST(test_refused)
{
    check_refused(HEAD EXPECT STEPS "colour: red\n", "e.yaml:11:", "colour");
    check_refused(HEAD EXPECT "name: twice\n" STEPS, "e.yaml:5:", "name");
    check_refused(HEAD STEPS, "e.yaml:", "expect");
    check_refused("schema: grivet.experiment/2\nname: x\nenvironment: lab\n" EXPECT STEPS,
                  "e.yaml:1:1: schema", "grivet.experiment/1");
    check_refused(HEAD EXPECT "steps: []\n", "e.yaml:5:", "steps");
    check_refused(HEAD EXPECT STEPS "    late_joiners: true\n",
                  "e.yaml:11:", "the experiment has no late_joiners");
    check_refused(HEAD EXPECT STEPS "\tmax_runs: 1\n", "e.yaml:", "");
    check_refused(HEAD EXPECT STEPS "max_runs: 0\n", "e.yaml:11:1: max_runs", "");
    check_refused(HEAD EXPECT STEPS "observers: {labels: {role: 1}}\n", "e.yaml:11:", "expected a string");
    check_refused(HEAD EXPECT STEPS "objectives:\n  - {name: a, kind: recover, probe: till, within_s: 3}\n",
                  "e.yaml:12:", "no probe till");
}
END_TEST

static void check_duration(const char *value)
{
    char text[1000];

    snprintf(text, sizeof(text),
             HEAD EXPECT "steps:\n  - name: a\n    fault: zone.block\n    parameters: {}\n"
                         "    hosts: {labels: {group: web}}\n    duration_s: %s\n",
             value);
    check_refused(text, "e.yaml:10:5: steps[0].duration_s", "86400");
}

START_TEST(test_durations)
{
    check_duration("0");
    check_duration("-5");
    check_duration("86401");
    check_duration("9223372036854775807");
}
END_TEST

START_TEST(test_two_of_a_name)
{
    check_refused(HEAD EXPECT STEPS "  - {name: lose-az1, fault: zone.block, parameters: {}, hosts: {labels: "
                                    "{group: web}}, duration_s: 1}\n",
                  "e.yaml:11:", "two steps are called lose-az1");
    check_refused(
        HEAD EXPECT
        "steps:\n  - {name: observe, fault: f, parameters: {}, hosts: {labels: {a: b}}, duration_s: 1}\n",
        "e.yaml:6:", "reserved");
}
END_TEST

#define STEP_AFTER(name, after)                                                                              \
    "  - {name: " name                                                                                       \
    ", fault: zone.block, parameters: {}, hosts: {labels: {group: web}}, duration_s: 90, after: " after      \
    "}\n"

START_TEST(test_after)
{
    struct experiment *experiment =
        parse(HEAD EXPECT STEPS STEP_AFTER("b", "lose-az1") STEP_AFTER("c", "[lose-az1, b]"));

    ck_assert_str_eq(experiment->steps[1].after->string, "lose-az1");
    ck_assert_uint_eq(experiment->steps[2].after->count, 2);
    experiment_free(experiment);
    check_refused(HEAD EXPECT STEPS STEP_AFTER("b", "lost"),
                  "e.yaml:11:97: steps[1].after: ", "'lost' is no step that stands above this one");
    check_refused(HEAD EXPECT STEPS STEP_AFTER("b", "b"), "e.yaml:11:97: steps[1].after: ", "'b' is no step");
    check_refused(HEAD EXPECT STEPS STEP_AFTER("b", "[lose-az1, c]") STEP_AFTER("c", "b"),
                  "e.yaml:11:", "steps[1].after[1]: 'c' is no step");
    check_refused(HEAD EXPECT STEPS STEP_AFTER("b", "[]"), "e.yaml:11:", "steps[1].after: 0 entries");
    check_refused(HEAD EXPECT STEPS STEP_AFTER("b", "3"), "e.yaml:11:", "steps[1].after: expected a list");
    check_refused(HEAD EXPECT STEPS STEP_AFTER("b", "[lose-az1, lose-az1]"), "e.yaml:11:", "given twice");
}
END_TEST

#define WATCH(hosts) HEAD "expect: {hosts: " hosts "}\nduration_s: 30\n"
#define SERVED       "objectives:\n  - {name: served, kind: recover, probe: shop, within_s: 3}\n"

START_TEST(test_observation)
{
    experiment_free(parse(WATCH("1") PROBE SERVED));
    check_refused(WATCH("1") PROBE SERVED STEPS, "e.yaml:5:1: duration_s", "each step has its own");
    check_refused(HEAD EXPECT PROBE SERVED, "e.yaml:1:", "without 'steps'");
    check_refused(HEAD EXPECT PROBE SERVED, "e.yaml:1:", "'duration_s' is missing");
    check_refused(WATCH("1") SERVED, "e.yaml:1:", "'observers' is missing");
    check_refused(WATCH("1") "observers: {labels: {a: b}}\n" SERVED, "e.yaml:1:", "'probes' is missing");
    check_refused(WATCH("1") PROBE, "e.yaml:1:", "'objectives' is missing");
    check_refused(WATCH("1") PROBE SERVED "late_joiners: {labels: {a: b}, max: 1}\n",
                  "e.yaml:15:", "no steps to join");
    check_refused(WATCH("1") PROBE SERVED "  - {name: back, kind: rollback, within_ms: 3}\n",
                  "e.yaml:15:", "is about faults");
}
END_TEST

START_TEST(test_probes)
{
    check_refused(HEAD EXPECT STEPS "probes: [{name: shop}]\n", "e.yaml:11:", "observers are missing");
    check_refused(HEAD EXPECT STEPS PROBE "    stable_ms: 3\n", "e.yaml:18:", "stable_ms");
    check_refused(HEAD EXPECT STEPS PROBE "    stable_s: 0\n", "e.yaml:18:", "expected 1 to 3600");
    check_refused(HEAD EXPECT STEPS PROBE "    stable_s: 3\n    colour: red\n", "e.yaml:19:", "colour");
    check_refused(
        HEAD EXPECT STEPS PROBE
        "  - {name: shop, kind: http, url: http://10.0.0.5/test, interval_ms: 200, timeout_ms: 500}\n",
        "e.yaml:18:", "two probes are called shop");
    check_refused(HEAD EXPECT STEPS PROBE "    expect: {status: 99}\n",
                  "e.yaml:18:", "probes[0].expect.status");
}
END_TEST

struct hosts {
    struct candidate items[5];
    json_t *labels[5];
};

static void make_hosts(struct hosts *hosts)
{
    static const char *const ids[] = {"a1", "a2", "b1", "b2", "obs"};

    for (size_t i = 0; i < 5; i++) {
        hosts->labels[i] =
            json_pack("{s:s, s:s}", "group", i < 4 ? "web" : "other", "role", i < 4 ? "shop" : "observer");
        hosts->items[i] = (struct candidate){ids[i], hosts->labels[i], true};
    }
}

static int build(const char *text, struct hosts *hosts, json_t **ret, struct error *error)
{
    struct experiment *experiment = parse(text);
    _cleanup_(document_freep) struct document *zones = NULL;
    const char *map = "{\"apse2-az1\": [\"10.1.0.0/24\"]}";
    int r;

    ck_assert_int_eq(document_parse_json(&zones, "zones", map, strlen(map), NULL), 0);
    r = plan_build(experiment, hosts->items, 5, document_root(zones), 1800000000LL * USEC_PER_SEC, ret,
                   error);
    experiment_free(experiment);
    return r;
}

static void drop_hosts(struct hosts *hosts)
{
    for (size_t i = 0; i < 5; i++)
        json_decref(hosts->labels[i]);
}

START_TEST(test_plan)
{
    struct hosts hosts;
    json_t *first = NULL, *second = NULL, *steps;
    struct error error = {};
    struct mandate *mandate;
    char *text;

    make_hosts(&hosts);
    ck_assert_msg(build(HEAD EXPECT STEPS PROBE "    stable_s: 3\n", &hosts, &first, &error) == 0, "%s",
                  error.text);
    ck_assert_int_eq(build(HEAD EXPECT STEPS PROBE, &hosts, &second, &error), 0);
    steps = json_object_get(first, "steps");
    ck_assert_uint_eq(json_array_size(json_object_get(json_array_get(steps, 0), "hosts")), 2);
    ck_assert(json_equal(steps, json_object_get(second, "steps"))); /* the same hosts each time */
    text = json_dumps(first, 0);
    ck_assert_msg(mandate_parse(&mandate, text, strlen(text), &error) == 0, "%s", error.text);
    ck_assert_int_eq(mandate->steps[0].duration_msec, 20000);
    ck_assert(mandate_step_has_host(mandate, "observe", "obs"));
    ck_assert_ptr_nonnull(mandate_zone(mandate, "apse2-az1"));
    mandate_free(mandate);
    free(text);
    json_decref(first);
    json_decref(second);
    drop_hosts(&hosts);
}
END_TEST

START_TEST(test_plan_observation)
{
    struct hosts hosts;
    json_t *payload;
    struct error error = {};
    struct mandate *mandate;
    char *text;

    make_hosts(&hosts);
    ck_assert_msg(build(WATCH("1") PROBE SERVED, &hosts, &payload, &error) == 0, "%s", error.text);
    text = json_dumps(payload, 0);
    ck_assert_msg(mandate_parse(&mandate, text, strlen(text), &error) == 0, "%s", error.text);
    ck_assert_int_eq(mandate->duration_msec, 30000);
    ck_assert(mandate_step_has_host(mandate, "observe", "obs"));
    mandate_free(mandate);
    free(text);
    json_decref(payload);
    drop_hosts(&hosts);
}
END_TEST

/* A mandate has the steps that each step follows, as a list. */
START_TEST(test_plan_after)
{
    struct hosts hosts;
    json_t *payload, *steps;
    struct error error = {};

    make_hosts(&hosts);
    ck_assert_int_eq(build(HEAD "expect: {hosts: 4}\n" STEPS STEP_AFTER("b", "lose-az1")
                               STEP_AFTER("c", "[b]"),
                           &hosts, &payload, &error),
                     0);
    steps = json_object_get(payload, "steps");
    ck_assert_ptr_null(json_object_get(json_array_get(steps, 0), "after"));
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(json_array_get(steps, 1), "after"), 0)),
                     "lose-az1");
    ck_assert_uint_eq(json_array_size(json_object_get(json_array_get(steps, 2), "after")), 1);
    json_decref(payload);
    drop_hosts(&hosts);
}
END_TEST

static void check_plan_refused(struct hosts *hosts, const char *text, const char *whole)
{
    json_t *payload;
    struct error error = {};

    ck_assert_int_lt(build(text, hosts, &payload, &error), 0);
    ck_assert_str_eq(error.text, whole);
}

START_TEST(test_plan_refused)
{
    struct hosts hosts;

    make_hosts(&hosts);
    check_plan_refused(&hosts, HEAD "expect: {hosts: 1}\n" STEPS,
                       "e.yaml:4:10: expect.hosts: 2 hosts would get a fault, 1 are expected");
    hosts.items[1].is_in_contact = hosts.items[2].is_in_contact = false;
    check_plan_refused(
        &hosts, HEAD EXPECT STEPS,
        "e.yaml:4:10: expect.hosts: 1 hosts would get a fault, 2 are expected; not in contact: a2, b1");
    hosts.items[0].is_in_contact = hosts.items[3].is_in_contact = false;
    check_plan_refused(
        &hosts, HEAD EXPECT STEPS,
        "e.yaml:9:13: steps[0].hosts.labels: no host has these labels; not in contact: a1, a2, b1, b2");
    check_plan_refused(&hosts, WATCH("2") PROBE SERVED,
                       "e.yaml:4:10: expect.hosts: 1 hosts would watch, 2 are expected");
    drop_hosts(&hosts);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_accepted,      test_refused,          test_durations,
                                  test_two_of_a_name, test_probes,           test_after,
                                  test_plan,          test_plan_after,       test_plan_refused,
                                  test_observation,   test_plan_observation, NULL};

    return unit_run("experiment", tests);
}
