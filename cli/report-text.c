/* A report as text: the verdict in a sentence first, then what was seen, in the order in which one asks. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/times.h"
#include "run.h"

static void format_sec(FILE *out, const json_t *msec, const json_t *report)
{
    fprintf(out, "%.1f s", json_number_value(msec) / 1000);
}

static void format_recover(FILE *out, const json_t *msec, const json_t *report)
{
    if (json_number_value(msec) == 0)
        fprintf(out, "-");
    else
        format_sec(out, msec, report);
}

static void format_msec(FILE *out, const json_t *msec, const json_t *report)
{
    fprintf(out, "%+.1f ms", json_number_value(msec));
}

static void format_lost(FILE *out, const json_t *endpoint, const json_t *report)
{
    fprintf(out, "%lld of %lld", json_number(endpoint, "lost"), json_number(endpoint, "requests"));
}

static void format_latency(FILE *out, const json_t *latency, const json_t *report)
{
    fprintf(out, "%.1f/%.1f", json_number_value(json_object_get(latency, "p50")),
            json_number_value(json_object_get(latency, "p99")));
}

/* Return: whether @at is known, and how many seconds after t0 */
static bool take_since(const json_t *at, const json_t *report, double *ret)
{
    int64_t t0, usec;

    if (!json_is_string(at) || time_parse(json_text(report, "t0"), &t0) < 0 ||
        time_parse(json_string_value(at), &usec) < 0)
        return false;
    *ret = (double)(usec - t0) / USEC_PER_SEC;
    return true;
}

static void format_since(FILE *out, const json_t *at, const json_t *report)
{
    double since;

    if (take_since(at, report, &since))
        fprintf(out, "%+.1f s", since);
    else
        fprintf(out, "-");
}

/* When, after t0, an endpoint first left health. */
static void format_failed(FILE *out, const json_t *transitions, const json_t *report)
{
    const json_t *one;
    double since;
    size_t index;

    json_array_foreach((json_t *)transitions, index, one)
    {
        if (strcmp(json_text(one, "from"), "healthy") == 0 &&
            take_since(json_object_get(one, "at"), report, &since) && since >= 0) {
            fprintf(out, "%.1f s", since);
            return;
        }
    }
    fprintf(out, "never");
}

/* From least to most. */
static void format_range(FILE *out, const json_t *range, const json_t *report)
{
    fprintf(out, "%lld to %lld", json_number(range, "least"), json_number(range, "most"));
}

static void format_effect(FILE *out, const json_t *effect, const json_t *report)
{
    const json_t *processes = json_object_get(effect, "processes"), *process;
    size_t index, gone = 0;

    json_array_foreach((json_t *)processes, index, process) gone +=
        json_is_true(json_object_get(process, "is_gone"));
    if (json_is_array(processes))
        fprintf(out, "%zu of %zu processes gone", gone, json_array_size(processes));
    else if (json_object_get(effect, "achieved_percent"))
        fprintf(out, "%lld CPUs busy for %.1f %%", json_number(effect, "cpus"),
                json_number_value(json_object_get(effect, "achieved_percent")));
    else if (json_object_get(effect, "out_lost") || json_object_get(effect, "in_lost"))
        fprintf(out, "shaped %lld out, %lld in, of which %lld lost", json_number(effect, "out_packets"),
                json_number(effect, "in_packets"),
                json_number(effect, "out_lost") + json_number(effect, "in_lost"));
    else if (json_object_get(effect, "out_packets") || json_object_get(effect, "in_packets"))
        fprintf(out, "dropped %lld out, %lld in%s", json_number(effect, "out_packets"),
                json_number(effect, "in_packets"),
                json_object_get(effect, "forwarded") ? ", forwarded ones included" : "");
    else
        fprintf(out, "-");
}

/* `recover shop within_s=5`: what the table does not say elsewhere, in the words of the experiment. */
static void format_values(FILE *out, const json_t *values, const json_t *report)
{
    const char *key, *space = "";
    json_t *value;

    json_object_foreach((json_t *)values, key, value)
    {
        if (json_is_number(value))
            fprintf(out, "%s%s=%.6g", space, key, json_number_value(value));
        else if (json_is_string(value) && strcmp(key, "name") != 0)
            fprintf(out, "%s%s", space, json_string_value(value));
        else
            continue;
        space = " ";
    }
}

static const struct column endpoint_columns[] = {{"ENDPOINT", "name"},
                                                 {"FROM", "from"},
                                                 {"FAILED", "transitions", format_failed, "never"},
                                                 {"UNHEALTHY", "detect_ms", format_sec, "never"},
                                                 {"RECOVERED", "recover_ms", format_recover, "NEVER"},
                                                 {"STABLE", "stable_ms", format_sec},
                                                 {"LOST", NULL, format_lost},
                                                 {"MS BEFORE", "latency_ms.before", format_latency},
                                                 {"DURING", "latency_ms.during", format_latency},
                                                 {"AFTER", "latency_ms.after", format_latency},
                                                 {}};

static const struct column balancer_columns[] = {
    {"AT", "at", format_since}, {"SERVER", "server"}, {"STATE", "state"}, {"WHY", "text"}, {}};

const struct column budget_columns[] = {{"BALANCER", "balancer"},
                                        {"BACKEND", "backend"},
                                        {"MS TO TAKE OUT", "take_out_ms", format_range, "not known"},
                                        {"MS TO TAKE BACK", "return_ms", format_range, "not known"},
                                        {}};

static const struct column replacement_columns[] = {{"INSTANCE", "instance"},
                                                    {"STARTED", "started_at", format_since},
                                                    {"IN SERVICE", "in_service_at", format_since, "NEVER"},
                                                    {"WAITED FOR", "waiting_for"},
                                                    {}};

static const struct column fault_columns[] = {{"HOST", "host"},
                                              {"FAULT", "fault"},
                                              {"STATE", "state"},
                                              {"REVERTED", "reverted_at", format_time},
                                              {"ROLLBACK ERROR", "revert_error_ms", format_msec},
                                              {"ENDED BY", "ended_by"},
                                              {"INTERFERED", "is_interfered", format_unwanted, "not known"},
                                              {"EFFECT", "effect", format_effect},
                                              {"VERDICT", "verdict"},
                                              {"WHY", "why"},
                                              {}};

static const struct column step_columns[] = {{"STEP", "step"},
                                             {"FAULT", "fault"},
                                             {"AFTER", "after"},
                                             {"T0", "t0", format_since, "not started"},
                                             {"ENDED", "ended_at", format_since},
                                             {"VERDICT", "verdict"},
                                             {"WHY", "why"},
                                             {}};

static const struct column seen_columns[] = {{"STEP", "step"},
                                             {"ENDPOINT", "name"},
                                             {"FROM", "from"},
                                             {"UNHEALTHY", "detect_ms", format_sec, "never"},
                                             {"RECOVERED", "recover_ms", format_recover, "NEVER"},
                                             {"LOST", NULL, format_lost},
                                             {}};

static const struct column clock_columns[] = {{"HOST", "host"}, {"MS", NULL, format_clock}, {}};

static const struct column objective_columns[] = {{"VERDICT", "verdict"},
                                                  {"OBJECTIVE", "name"},
                                                  {"WANTED", "objective", format_values},
                                                  {"MEASURED", "measured", format_values},
                                                  {"WHY", "why"},
                                                  {}};

static const struct {
    const char *title, *key;
    const struct column *columns;
} sections[] = {
    {"\nEndpoints, counted from t0; latencies as p50/p99\n", "endpoints", endpoint_columns},
    {"\nWhat the balancer decided, counted from t0\n", "balancer", balancer_columns},
    {"\nWhat the balancer's settings allow\n", "budgets", budget_columns},
    {"\nReplacements, counted from t0\n", "replacements", replacement_columns},
    {"\nSteps, counted from t0\n", "steps", step_columns},
    {"\nEndpoints, counted from each step's own t0 to the next one's\n", "seen", seen_columns},
    {"\nFaults\n", "faults", fault_columns},
    {"\nClocks, as far from the coordinator's as\n", "clocks", clock_columns},
    {"\nObjectives\n", "objectives", objective_columns},
};

/* Endpoints that lost nothing are counted in one line on @out (NULL = not): the others are what one looks
 * for. */
static json_t *take_failed_endpoints(const json_t *endpoints, FILE *out)
{
    json_t *failed = json_array(), *one;
    long long quiet = 0, requests = 0;
    size_t index;

    json_array_foreach((json_t *)endpoints, index, one)
    {
        if (json_number(one, "lost") > 0 || json_number(one, "requests") == 0) {
            json_array_append(failed, one);
            continue;
        }
        quiet++;
        requests += json_number(one, "requests");
    }
    if (quiet && out)
        fprintf(out, "%lld endpoint%s lost none of %lld requests\n", quiet, quiet == 1 ? "" : "s", requests);
    return failed;
}

/* The balancer tells everything twice (log and statistics); a server is news when its state is another one.
 */
static json_t *take_news(const json_t *facts)
{
    json_auto_t *states = json_object();
    json_t *news = json_array(), *fact, *known;
    size_t index;

    json_array_foreach((json_t *)facts, index, fact)
    {
        known = json_object_get(states, json_text(fact, "server"));
        if (known && !json_equal(known, json_object_get(fact, "state")))
            json_array_append(news, fact);
        json_object_set(states, json_text(fact, "server"), json_object_get(fact, "state"));
    }
    return news;
}

/* Of steps that follow one another, what each of them did to the endpoints: {step, and an endpoint's}. */
static json_t *take_seen(const json_t *steps)
{
    json_t *rows = json_array(), *step, *endpoint;
    size_t i, k;

    json_array_foreach((json_t *)steps, i, step)
    {
        json_auto_t *failed = take_failed_endpoints(json_object_get(step, "endpoints"), NULL);

        json_array_foreach(failed, k, endpoint)
        {
            json_object_set(endpoint, "step", json_object_get(step, "step"));
            json_array_append(rows, endpoint);
        }
    }
    return rows;
}

static bool is_sequence(const json_t *steps)
{
    const json_t *step;
    size_t index;

    json_array_foreach((json_t *)steps, index, step) if (json_object_get(step, "after")) return true;
    return false;
}

static bool was_refused(const json_t *report)
{
    return strcmp(json_text(report, "state"), "failed") == 0 &&
           !json_is_string(json_object_get(report, "t0"));
}

/* Nothing was rehearsed, so there is nothing to show but why: in a sentence, and by host where hosts said it.
 */
static void print_refusal(const json_t *report)
{
    const json_t *one;
    size_t index;

    printf("%s\n", json_text(report, "sentence"));
    json_array_foreach(json_object_get(report, "refused"), index, one)
        printf("  %s refuses: %s\n", json_text(one, "host"), json_text(one, "reason"));
    json_array_foreach(json_object_get(report, "faults"), index, one) if (*json_text(one, "why"))
        printf("  %s: %s: %s\n", json_text(one, "host"), json_text(one, "state"), json_text(one, "why"));
}

/* Where a share of the hosts is enough: who was not asked to take part, because it would not have. */
static void print_left_out(const json_t *report)
{
    const json_t *one;
    size_t index;

    json_array_foreach(json_object_get(report, "refused"), index, one)
        printf("left out: %s: %s\n", json_text(one, "host"), json_text(one, "reason"));
}

void report_print(const json_t *report)
{
    bool is_bold = isatty(STDOUT_FILENO);
    const json_t *skew = json_object_get(report, "start_skew_ms");
    json_auto_t *shown = NULL;

    if (was_refused(report)) {
        print_refusal(report);
        return;
    }
    printf("%s%s: %s%s\n\n", is_bold ? "\033[1m" : "", json_text(report, "verdict"),
           json_text(report, "sentence"), is_bold ? "\033[0m" : "");
    printf("run %s of %s, t0 %s", json_text(report, "run"), json_text(report, "experiment"),
           json_text(report, "t0"));
    if (json_is_number(skew))
        printf(", hosts started within %.1f ms", json_number_value(skew));
    printf("\n");
    print_left_out(report);
    shown = json_copy((json_t *)report);
    json_object_set_new(shown, "endpoints",
                        take_failed_endpoints(json_object_get(report, "endpoints"), stdout));
    json_object_set_new(shown, "balancer", take_news(json_object_get(report, "balancer")));
    if (is_sequence(json_object_get(report, "steps")))
        json_object_set_new(shown, "seen", take_seen(json_object_get(report, "steps")));
    else
        json_object_del(shown, "steps");
    for (size_t i = 0; i < ARRAY_SIZE(sections); i++)
        output_table(sections[i].title, sections[i].columns, json_object_get(shown, sections[i].key), report);
}

int report_exit_code(const json_t *report)
{
    const char *verdict = json_text(report, "verdict"), *state = json_text(report, "state");

    if (strcmp(state, "halted") == 0)
        return EXIT_HALTED;
    if (was_refused(report))
        return EXIT_REFUSED;
    if (strcmp(verdict, "met") == 0)
        return EXIT_MET;
    return strcmp(verdict, "missed") == 0 ? EXIT_MISSED : EXIT_UNKNOWN;
}
