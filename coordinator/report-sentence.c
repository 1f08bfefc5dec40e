/* The first line of a report: what happened, what users noticed, what came back, and what it waited for. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

struct sentence {
    char *text;
    size_t length, size;
};

static void add(struct sentence *sentence, const char *format, ...) _printf_(2, 3);

static void add(struct sentence *sentence, const char *format, ...)
{
    va_list arguments;
    int n;

    va_start(arguments, format);
    n = vsnprintf(sentence->text + sentence->length, sentence->size - sentence->length, format, arguments);
    va_end(arguments);
    if (n > 0)
        sentence->length += (size_t)n;
    if (sentence->length >= sentence->size)
        sentence->length = sentence->size - 1;
}

/* How long the longest fault held, by its own host's clock; what was never shown to end counts to its
 * deadline. */
static double longest_sec(const struct run *run)
{
    int64_t longest_usec = 0;

    for (size_t i = 0; i < run->n_faults; i++) {
        const struct run_fault *fault = &run->faults[i];
        int64_t end_usec = fault->reverted_usec ? fault->reverted_usec : fault->deadline_usec;

        if (fault->step && fault->armed_usec && end_usec - fault->armed_usec > longest_usec)
            longest_usec = end_usec - fault->armed_usec;
    }
    return (double)longest_usec / USEC_PER_SEC;
}

static size_t count_hosts(const struct run *run, const struct step *step)
{
    size_t n = 0;

    for (size_t i = 0; i < run->n_faults; i++)
        n += run->faults[i].step == step && run->faults[i].armed_usec;
    return n;
}

static void add_what(struct sentence *sentence, const struct run *run)
{
    const struct step *step = &run->mandate->steps[0];
    const char *zone = node_string(step->parameters, "zone");
    size_t n = count_hosts(run, step);

    if (!strcmp(step->fault, "zone.block") && zone)
        add(sentence, "Zone %s was lost for %.1f s", zone, longest_sec(run));
    else if (!strcmp(step->fault, "process.kill"))
        add(sentence, "Processes were killed on %zu host%s", n, n == 1 ? "" : "s");
    else
        add(sentence, "%s held on %zu host%s for %.1f s", step->fault, n, n == 1 ? "" : "s",
            longest_sec(run));
    if (run->mandate->n_steps > 1)
        add(sentence, " (and %zu more step%s)", run->mandate->n_steps - 1,
            run->mandate->n_steps == 2 ? "" : "s");
}

static bool is_promised(const struct run *run, const char *probe)
{
    const struct node *objectives = run->mandate->objectives;

    for (const struct node *node = objectives ? objectives->first : NULL; node; node = node->next)
        if (!strcmp(node_string(node, "kind"), "recover") && !strcmp(node_string(node, "probe"), probe))
            return true;
    return false;
}

/* What was promised to recover is what users see; without a promise it is the first probe. The victims' own
 * are neither. */
static bool is_users(const struct run *run, const struct run_endpoint *endpoint)
{
    bool has_promise = false;

    for (size_t i = 0; i < run->n_endpoints; i++)
        has_promise |= is_promised(run, run->endpoints[i].probe.name);
    return has_promise ? is_promised(run, endpoint->probe.name)
                       : !strcmp(endpoint->probe.name, run->endpoints[0].probe.name);
}

/* Of several the one that was hit hardest speaks for all. */
static void add_users(struct sentence *sentence, const struct run *run)
{
    double failed_sec = 0;
    int64_t recover_msec = 0;
    struct recovery recovery;
    size_t n = 0;

    for (size_t i = 0; i < run->n_endpoints; i++) {
        double sec;
        int64_t msec;

        if (!is_users(run, &run->endpoints[i]) || endpoint_recovery(run, &run->endpoints[i], &recovery) < 0)
            continue;
        n++;
        sec = (double)recovery.lost * (double)run->endpoints[i].probe.interval_msec / 1000;
        failed_sec = sec > failed_sec ? sec : failed_sec;
        msec = recovery_recover_msec(&recovery);
        if (msec < 0 || recover_msec < 0)
            recover_msec = -1;
        else if (msec > recover_msec)
            recover_msec = msec;
    }
    if (!n)
        return;
    if (failed_sec > 0)
        add(sentence, ", users noticed %.1f s of failures", failed_sec);
    else
        add(sentence, ", users noticed nothing");
    if (recover_msec > 0)
        add(sentence, ", service recovered after %.1f s", (double)recover_msec / 1000);
    else if (recover_msec < 0)
        add(sentence, ", service did not recover");
}

static void add_waiting(struct sentence *sentence, const struct run *run)
{
    json_t *waiting = report_waiting(run, NULL), *item;
    size_t i;

    json_array_foreach(waiting, i, item)
        add(sentence, "%s%s", i ? ", " : ", waiting for ", json_string_value(item));
    json_decref(waiting);
}

static void add_replacements(struct sentence *sentence, const struct run *run)
{
    size_t n_started = 0, n_served = 0;

    for (size_t i = 0; i < run->n_hosts; i++) {
        n_started += run->hosts[i].is_replacement;
        n_served += run_host_replaced(run, &run->hosts[i]);
    }
    if (!n_started)
        return;
    if (n_served == n_started) {
        add(sentence, ", %zu of %zu replacements came into service", n_served, n_started);
        return;
    }
    add(sentence, ", %zu replacement%s started, %zu in service", n_started, n_started == 1 ? "" : "s",
        n_served);
    add_waiting(sentence, run);
}

void report_sentence(const struct run *run, enum verdict verdict, const char *doubt, char ret[600])
{
    struct sentence sentence = {ret, 0, 600};
    size_t clauses;

    if (!run->t0_usec)
        add(&sentence, "Nothing was rehearsed");
    else if (run->state != RUN_DONE)
        add(&sentence, "%s did not run to its end", run->mandate->experiment);
    else
        add_what(&sentence, run);
    clauses = sentence.length;
    if (run->state == RUN_DONE) {
        add_users(&sentence, run);
        add_replacements(&sentence, run);
        if (ret[clauses] == ',')
            ret[clauses] = ':';
    } else {
        add(&sentence, ": the run %s%s", run->state == RUN_HALTED ? "was " : "failed: ", run->reason);
    }
    if (run->state == RUN_DONE && verdict != VERDICT_MET)
        add(&sentence, ". %s: %s", verdict == VERDICT_MISSED ? "Missed" : "Not sure", doubt);
    add(&sentence, ".");
}
