/* Experiments against this build's faults: what is no fault, no zone, or out of range is refused at its
 * place. */
#include <stdio.h>

#include "coordinator/plan.h"
#include "unit.h"

static const char mandate_text[] =
    "{\"schema\": \"grivet.mandate/1\", \"id\": \"01900000-0000-7000-8000-000000000001\", \"experiment\": "
    "\"e\","
    " \"environment\": \"lab\", \"created_at\": \"2027-01-15T08:00:00Z\", \"not_before\": "
    "\"2027-01-15T08:00:00Z\","
    " \"not_after\": \"2027-01-15T09:00:00Z\", \"max_runs\": 1, \"require_percent\": 100, \"warmup_ms\": 0,"
    " \"settle_ms\": 0, \"expect\": {\"hosts\": 1}, \"zones\": {\"apse2-az1\": [\"10.1.0.0/24\"]},"
    " \"steps\": [{\"name\": \"s\", \"fault\": \"zone.block\", \"parameters\": {\"zone\": \"apse2-az1\"},"
    " \"duration_ms\": 1000, \"hosts\": [\"a\"], \"late_joiners\": false}]}";

/* Return: 0 or -EINVAL with the place */
static int check(const char *fault, const char *parameters, struct error *error)
{
    struct experiment *experiment;
    struct mandate *mandate;
    char text[600];
    int r,
        n = snprintf(text, sizeof(text),
                     "schema: grivet.experiment/1\nname: e\nenvironment: lab\nexpect: {hosts: 1}\nsteps:\n"
                     "  - name: s\n    fault: %s\n    parameters: {%s}\n    hosts: {labels: {group: web}}\n"
                     "    duration_s: 5\n",
                     fault, parameters);

    ck_assert_msg(mandate_parse(&mandate, mandate_text, strlen(mandate_text), error) == 0, "%s", error->text);
    ck_assert_msg(experiment_parse(&experiment, "e.yaml", text, (size_t)n, error) == 0, "%s", error->text);
    r = plan_check_faults(experiment, mandate, error);
    experiment_free(experiment);
    mandate_free(mandate);
    return r;
}

static void check_refused(const char *fault, const char *parameters, const char *place, const char *words)
{
    struct error error = {};

    ck_assert_int_lt(check(fault, parameters, &error), 0);
    ck_assert_msg(!strncmp(error.text, place, strlen(place)), "not at %s: %s", place, error.text);
    assert_error(error, words);
}

START_TEST(test_faults)
{
    struct error error = {};

    ck_assert_msg(check("zone.block", "zone: apse2-az1", &error) == 0, "%s", error.text);
    check_refused("zone.explode", "zone: apse2-az1", "e.yaml:7:", "there is no fault zone.explode");
    check_refused("zone.block", "zone: apse2-az9", "e.yaml:8:", "apse2-az9");
    check_refused("zone.block", "zone: apse2-az1, colour: red", "e.yaml:8:", "colour");
    check_refused("network.block", "cidrs: [10.0.0.1/24]", "e.yaml:8:", "10.0.0.0/24");
    check_refused("network.block", "cidrs: [10.0.0.0/24], ports: [70000]", "e.yaml:8:", "ports");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_faults, NULL};

    return unit_run("experiment-faults", tests);
}
