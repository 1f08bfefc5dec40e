/* A report as text: the verdict in a sentence first, then what was seen, in the order in which one asks. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "common/times.h"
#include "report.h"

/* Milliseconds as seconds, or what their absence means. */
static json_t *format_msec(const json_t *value, const char *absent)
{
    char text[32];

    if (!json_is_number(value))
        return json_string(absent);
    snprintf(text, sizeof(text), "%.1f s", json_number_value(value) / 1000);
    return json_string(text);
}

static json_t *format_latency(const json_t *endpoint, const char *when)
{
    const json_t *latency = json_object_get(json_object_get(endpoint, "latency_ms"), when);
    char text[48];

    if (!json_is_object(latency))
        return json_string("-");
    snprintf(text, sizeof(text), "%.1f/%.1f", json_number_value(json_object_get(latency, "p50")),
             json_number_value(json_object_get(latency, "p99")));
    return json_string(text);
}

static json_t *format_lost(const json_t *endpoint)
{
    char text[48];

    snprintf(text, sizeof(text), "%lld of %lld", json_integer_value(json_object_get(endpoint, "lost")),
             json_integer_value(json_object_get(endpoint, "requests")));
    return json_string(text);
}

/* Seconds after t0 at which @endpoint first left health. */
static json_t *format_first_failure(const json_t *endpoint, const json_t *report)
{
    const json_t *transition;
    int64_t t0, at;
    char text[32];
    size_t index;

    if (time_parse(json_text(report, "t0"), &t0) == 0)
        json_array_foreach(json_object_get(endpoint, "transitions"), index, transition)
        {
            if (strcmp(json_text(transition, "from"), "healthy") != 0 ||
                time_parse(json_text(transition, "at"), &at) < 0 || at < t0)
                continue;
            snprintf(text, sizeof(text), "%.1f s", (double)(at - t0) / USEC_PER_SEC);
            return json_string(text);
        }
    return json_string("never");
}

static json_t *make_endpoint_row(const json_t *endpoint, const json_t *report)
{
    const json_t *recover = json_object_get(endpoint, "recover_ms");
    bool has_recovered = json_is_number(recover) && json_integer_value(recover) == 0;

    return json_pack("[s, s, o, o, o, o, o, o, o, o]", json_text(endpoint, "name"),
                     json_text(endpoint, "from"), format_first_failure(endpoint, report),
                     format_msec(json_object_get(endpoint, "detect_ms"), "never"),
                     has_recovered ? json_string("-") : format_msec(recover, "NEVER"),
                     format_msec(json_object_get(endpoint, "stable_ms"), "-"), format_lost(endpoint),
                     format_latency(endpoint, "before"), format_latency(endpoint, "during"),
                     format_latency(endpoint, "after"));
}

/* Endpoints that lost nothing are counted in one line: the others are what one looks for. */
static void print_endpoints(const json_t *report)
{
    static const char *const heads[] = {"ENDPOINT", "FROM",      "FAILED", "UNHEALTHY", "RECOVERED", "STABLE",
                                        "LOST",     "MS BEFORE", "DURING", "AFTER",     NULL};
    json_t *rows = json_array(), *one;
    long long quiet = 0, requests = 0;
    size_t index;

    json_array_foreach(json_object_get(report, "endpoints"), index, one)
    {
        if (json_integer_value(json_object_get(one, "lost")) > 0 ||
            json_integer_value(json_object_get(one, "requests")) == 0) {
            json_array_append_new(rows, make_endpoint_row(one, report));
            continue;
        }
        quiet++;
        requests += json_integer_value(json_object_get(one, "requests"));
    }
    if (json_array_size(rows)) {
        printf("\nEndpoints, counted from t0; latencies as p50/p99\n");
        output_table(heads, rows);
    }
    if (quiet)
        printf("%s%lld endpoint%s lost none of %lld requests\n", json_array_size(rows) ? "" : "\n", quiet,
               quiet == 1 ? "" : "s", requests);
    json_decref(rows);
}

/* The balancer tells everything twice (log and statistics); a server is news when its state is another one.
 */
static bool is_news(json_t *states, const json_t *fact)
{
    const char *server = json_text(fact, "server"), *state = json_text(fact, "state");
    const json_t *known = json_object_get(states, server);
    bool is_other = known && strcmp(json_string_value(known), state) != 0;

    json_object_set_new(states, server, json_string(state));
    return is_other;
}

/* `+1.5 s`, counted from t0; "-" without either. */
static const char *format_since(const json_t *report, const char *at, char ret[24])
{
    int64_t t0, usec;

    if (time_parse(json_text(report, "t0"), &t0) < 0 || time_parse(at, &usec) < 0)
        return "-";
    snprintf(ret, 24, "%+.1f s", (double)(usec - t0) / USEC_PER_SEC);
    return ret;
}

static void print_balancer_facts(const json_t *report)
{
    json_t *states = json_object();
    const json_t *fact;
    bool has_head = false;
    char since[24];
    size_t index;

    json_array_foreach(json_object_get(report, "balancer"), index, fact)
    {
        if (!is_news(states, fact))
            continue;
        printf("%s  %8s  %s %s: %s\n", has_head ? "" : "\nWhat the balancer decided, counted from t0\n",
               format_since(report, json_text(fact, "at"), since), json_text(fact, "server"),
               json_text(fact, "state"), json_text(fact, "text"));
        has_head = true;
    }
    json_decref(states);
}

static void print_balancer(const json_t *report)
{
    const json_t *budget;
    size_t index;

    print_balancer_facts(report);
    json_array_foreach(json_object_get(report, "budgets"), index, budget)
    {
        const json_t *out = json_object_get(budget, "take_out_ms"),
                     *in = json_object_get(budget, "return_ms");

        if (json_is_object(out))
            printf("  its settings allow %s/%s %lld to %lld ms to take out, %lld to %lld ms to take back\n",
                   json_text(budget, "balancer"), json_text(budget, "backend"),
                   json_integer_value(json_object_get(out, "least")),
                   json_integer_value(json_object_get(out, "most")),
                   json_integer_value(json_object_get(in, "least")),
                   json_integer_value(json_object_get(in, "most")));
    }
}

static void print_list(const char *head, const json_t *list)
{
    const json_t *item;
    size_t index;

    json_array_foreach((json_t *)list, index, item)
        printf("%s%s", index ? ", " : head, json_string_value(item));
}

static void print_replacements(const json_t *report)
{
    const json_t *one;
    char started[24], served[24];
    size_t index;

    if (json_array_size(json_object_get(report, "replacements")))
        printf("\nReplacements, counted from t0\n");
    json_array_foreach(json_object_get(report, "replacements"), index, one)
    {
        bool is_serving = json_is_string(json_object_get(one, "in_service_at"));

        printf("  %s started %s, %s%s", json_text(one, "instance"),
               format_since(report, json_text(one, "started_at"), started),
               is_serving ? "in service " : "NEVER in service",
               is_serving ? format_since(report, json_text(one, "in_service_at"), served) : "");
        print_list(is_serving ? "; waited for " : "; was waiting for ", json_object_get(one, "waiting_for"));
        printf("\n");
    }
}

static json_t *format_revert_error(const json_t *fault)
{
    const json_t *value = json_object_get(fault, "revert_error_ms");
    char text[32];

    if (!json_is_number(value))
        return json_string("-");
    snprintf(text, sizeof(text), "%+.1f ms", json_number_value(value));
    return json_string(text);
}

static json_t *format_effect(const json_t *effect)
{
    const json_t *out = json_object_get(effect, "out_packets"), *in = json_object_get(effect, "in_packets");
    const json_t *processes = json_object_get(effect, "processes"), *process;
    char text[80] = "-";
    size_t index, gone = 0;

    json_array_foreach((json_t *)processes, index, process) gone +=
        json_is_true(json_object_get(process, "is_gone"));
    if (json_is_array(processes))
        snprintf(text, sizeof(text), "%zu of %zu processes gone", gone, json_array_size(processes));
    else if (json_is_integer(out) || json_is_integer(in))
        snprintf(text, sizeof(text), "dropped %lld out, %lld in", json_integer_value(out),
                 json_integer_value(in));
    return json_string(text);
}

static void print_faults(const json_t *report)
{
    static const char *const heads[] = {"HOST",   "FAULT",   "STATE", "REVERTED", "ROLLBACK ERROR",
                                        "EFFECT", "VERDICT", "WHY",   NULL};
    json_t *rows = json_array(), *fault;
    char at[16];
    size_t index;

    json_array_foreach(json_object_get(report, "faults"), index, fault) json_array_append_new(
        rows, json_pack("[s, s, s, s, o, o, s, s]", json_text(fault, "host"), json_text(fault, "fault"),
                        json_text(fault, "state"), time_short(json_text(fault, "reverted_at"), at),
                        format_revert_error(fault), format_effect(json_object_get(fault, "effect")),
                        json_text(fault, "verdict"), json_text(fault, "why")));
    if (json_array_size(rows)) {
        printf("\nFaults\n");
        output_table(heads, rows);
    }
    json_decref(rows);
}

static void print_clocks(const json_t *report)
{
    const json_t *one;
    size_t index;

    if (json_array_size(json_object_get(report, "clocks")))
        printf("\nClocks against the coordinator's\n");
    json_array_foreach(json_object_get(report, "clocks"), index, one)
    {
        const json_t *offset = json_object_get(one, "offset_usec");

        if (json_is_number(offset))
            printf("  %-20s %+.3f ms, known to %.3f ms\n", json_text(one, "host"),
                   json_number_value(offset) / 1000,
                   json_number_value(json_object_get(one, "bound_usec")) / 1000);
        else
            printf("  %-20s not measured\n", json_text(one, "host"));
    }
}

/* `recover shop within_s=5`: what the table does not say elsewhere, in the words of the experiment. */
static json_t *format_values(const json_t *values)
{
    char text[160] = "";
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)values, key, value)
    {
        size_t length = strlen(text);

        if (json_is_number(value))
            snprintf(text + length, sizeof(text) - length, "%s%s=%.6g", length ? " " : "", key,
                     json_number_value(value));
        else if (json_is_string(value) && strcmp(key, "name") != 0)
            snprintf(text + length, sizeof(text) - length, "%s%s", length ? " " : "",
                     json_string_value(value));
    }
    return json_string(text);
}

static void print_objectives(const json_t *report)
{
    static const char *const heads[] = {"VERDICT", "OBJECTIVE", "WANTED", "MEASURED", "WHY", NULL};
    json_t *rows = json_array(), *one;
    size_t index;

    json_array_foreach(json_object_get(report, "objectives"), index, one) json_array_append_new(
        rows, json_pack("[s, s, o, o, s]", json_text(one, "verdict"), json_text(one, "name"),
                        format_values(json_object_get(one, "objective")),
                        format_values(json_object_get(one, "measured")), json_text(one, "why")));
    if (json_array_size(rows)) {
        printf("\nObjectives\n");
        output_table(heads, rows);
    }
    json_decref(rows);
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

void report_print(const json_t *report)
{
    bool is_bold = isatty(STDOUT_FILENO);
    const json_t *skew = json_object_get(report, "start_skew_ms");

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
    print_endpoints(report);
    print_balancer(report);
    print_replacements(report);
    print_faults(report);
    print_clocks(report);
    print_objectives(report);
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
