/* The first line of a report: what happened, what users noticed, what came back, and what it waited for. */
#include <stdio.h>
#include <string.h>

#include "run-state.h"

/* A proof that came late is no longer fault. */
static int64_t ended_usec(const struct run_fault *fault)
{
    return fault->reverted_usec && fault->reverted_usec < fault->deadline_usec ? fault->reverted_usec
                                                                               : fault->deadline_usec;
}

/* Nobody signed when people act: what is known is when they were told to, and what failed first. */
static void add_observed(FILE *out, const struct run *run)
{
    if (run->t0_usec)
        fprintf(out, "The first failure was seen %.1f s after the word to act",
                (double)(run->t0_usec - run->started_usec) / USEC_PER_SEC);
    else
        fprintf(out, "No failure was seen in %.1f s",
                (double)(run->finishing_usec - run->started_usec) / USEC_PER_SEC);
}

/* For how long: the first step's longest fault, by its own host's clock; what was never shown to end counts
 * to its deadline. */
static void add_what(FILE *out, const struct run *run)
{
    const struct step *step = &run->mandate->steps[0];
    const char *zone = node_string(step->parameters, "zone");
    int64_t longest_usec = 0;
    size_t n = 0;

    EACH_FAULT (run, fault) {
        if (fault->step != step || !fault->armed_usec)
            continue;
        longest_usec = later(longest_usec, ended_usec(fault) - fault->armed_usec);
        n++;
    }
    if (!strcmp(step->fault, "process.kill"))
        fprintf(out, "Processes were killed on %zu host%s", n, n == 1 ? "" : "s");
    else if (!strcmp(step->fault, "zone.block") && zone)
        fprintf(out, "Zone %s was lost", zone);
    else
        fprintf(out, "%s held on %zu host%s", step->fault, n, n == 1 ? "" : "s");
    if (strcmp(step->fault, "process.kill"))
        fprintf(out, " for %.1f s", (double)longest_usec / USEC_PER_SEC);
    if (run->mandate->n_steps > 1)
        fprintf(out, " (and %zu more step%s)", run->mandate->n_steps - 1,
                run->mandate->n_steps == 2 ? "" : "s");
}

/* What was promised to recover is what users see; without a promise (@probe NULL: is there any?) it is the
 * first probe. The victims' own are neither. */
static bool is_promised(const struct run *run, const char *probe)
{
    const struct node *objectives = run->mandate->objectives;

    for (const struct node *node = objectives ? objectives->first : NULL; node; node = node->next)
        if (!strcmp(json_text(node->json, "kind"), "recover") &&
            (!probe || !strcmp(json_text(node->json, "probe"), probe)))
            return true;
    return false;
}

bool report_is_users(const struct run *run, const char *probe)
{
    return is_promised(run, NULL) ? is_promised(run, probe) : !strcmp(probe, run->endpoints[0].probe.name);
}

/* The longest of all steps, each from its own t0; -1 = never. */
static int64_t recover_msec_of(const struct run *run, const struct run_endpoint *endpoint)
{
    size_t n_steps = run->mandate->n_steps;
    int64_t longest_msec = 0, msec;
    struct recovery recovery;

    for (size_t i = 0; i < (n_steps ? n_steps : 1) && longest_msec >= 0; i++) {
        if (endpoint_recovery(run, endpoint, n_steps ? &run->mandate->steps[i] : NULL, &recovery) < 0)
            continue;
        msec = recovery_recover_msec(&recovery);
        longest_msec = msec < 0 ? msec : later(longest_msec, msec);
    }
    return longest_msec;
}

/* Of several the one that was hit hardest speaks for all. */
static void add_users(FILE *out, const struct run *run)
{
    int64_t failed_msec = 0, recover_msec = 0, msec;
    struct recovery recovery;
    size_t n = 0;

    EACH_ENDPOINT (run, endpoint) {
        if (!report_is_users(run, endpoint->probe.name) ||
            endpoint_recovery(run, endpoint, NULL, &recovery) < 0)
            continue;
        n++;
        failed_msec = later(failed_msec, (int64_t)recovery.lost * endpoint->probe.interval_msec);
        msec = recover_msec_of(run, endpoint);
        recover_msec = msec < 0 || recover_msec < 0 ? -1 : later(recover_msec, msec);
    }
    if (!n)
        return;
    if (failed_msec)
        fprintf(out, ", users noticed %.1f s of failures", (double)failed_msec / 1000);
    else
        fprintf(out, ", users noticed nothing");
    if (recover_msec > 0)
        fprintf(out, ", service recovered after %.1f s", (double)recover_msec / 1000);
    else if (recover_msec < 0)
        fprintf(out, ", service did not recover");
}

static void add_replacements(FILE *out, const struct run *run)
{
    size_t n_served, n_started = run_count_replacements(run, &n_served), i;
    json_t *waiting, *item;

    if (n_started && n_served == n_started)
        fprintf(out, ", %zu of %zu replacements came into service", n_served, n_started);
    if (n_served == n_started)
        return;
    fprintf(out, ", %zu replacement%s started, %zu in service", n_started, n_started == 1 ? "" : "s",
            n_served);
    waiting = report_waiting(run, NULL);
    json_array_foreach(waiting, i, item)
        fprintf(out, "%s%s", i ? ", " : ", waiting for ", json_string_value(item));
    json_decref(waiting);
}

char *report_sentence(const struct run *run, const struct judgement *judgement)
{
    char *text = NULL;
    size_t length, clauses;
    FILE *out = open_memstream(&text, &length);

    if (!out)
        return NULL;
    if (!run->t0_usec && run->state != RUN_DONE)
        fprintf(out, "Nothing was rehearsed");
    else if (run->state != RUN_DONE)
        fprintf(out, "%s did not run to its end", run->mandate->experiment);
    else if (!run->mandate->n_steps)
        add_observed(out, run);
    else
        add_what(out, run);
    fflush(out);
    clauses = length;
    if (run->state == RUN_DONE) {
        add_users(out, run);
        add_replacements(out, run);
        if (judgement->verdict != VERDICT_MET)
            fprintf(out, ". %s: %s", judgement->verdict == VERDICT_MISSED ? "Missed" : "Not sure",
                    judgement->why);
    } else {
        fprintf(out, ": the run %s%s", run->state == RUN_HALTED ? "was " : "failed: ", run->reason);
    }
    fprintf(out, ".");
    fclose(out);
    if (text[clauses] == ',')
        text[clauses] = ':'; /* the first of them */
    return text;
}
