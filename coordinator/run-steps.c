/*
 * Steps, one after the other. A step starts when those that it follows have proved their end on every host,
 * nobody has halted anything, and users were seen to be served since: nothing is started blind or on a sick
 * system, the second time as little as the first.
 */
#include <errno.h>
#include <string.h>

#include "run-state.h"

struct run_step *run_step(const struct run *run, const struct step *step)
{
    return &run->steps[step - run->mandate->steps];
}

bool run_step_is_last(const struct run *run, const struct step *step)
{
    int64_t last_usec = 0;

    for (size_t i = 0; i < run->mandate->n_steps; i++)
        last_usec = later(last_usec, run->steps[i].started_usec);
    return last_usec && run_step(run, step)->started_usec == last_usec;
}

/* What people do has no moment of its own, only what is seen of it. */
static int64_t first_failure_usec(const struct run *run)
{
    int64_t first_usec = 0;

    EACH_ENDPOINT (run, endpoint) {
        int64_t behind_usec = run_corrected(run, endpoint->from, 0);

        for (size_t i = 0; i < endpoint->n_samples; i++) {
            int64_t usec = endpoint->samples[i].at_usec + behind_usec;

            if (!endpoint->samples[i].is_ok && usec >= run->started_usec &&
                (!first_usec || usec < first_usec))
                first_usec = usec;
        }
    }
    return first_usec;
}

void run_take_t0(struct run *run)
{
    int64_t t0_usec = 0, first_usec = INT64_MAX, usec;

    if (!run->mandate->n_steps)
        run->t0_usec = run->started_usec ? first_failure_usec(run) : 0;
    EACH_FAULT (run, fault) {
        if (!fault->armed_usec || !run_step_is_last(run, fault->step) ||
            !run_host(run, fault->host)->is_pinned)
            continue;
        usec = run_corrected(run, fault->host, fault->armed_usec);
        t0_usec = later(t0_usec, usec);
        first_usec = usec < first_usec ? usec : first_usec;
    }
    for (size_t i = 0; i < run->mandate->n_steps; i++) {
        struct run_step *step = &run->steps[i];

        if (!run_step_is_last(run, &run->mandate->steps[i]))
            continue;
        step->t0_usec = t0_usec;
        step->start_skew_usec = t0_usec - first_usec;
        if (step->started_usec != run->started_usec)
            continue;
        run->t0_usec = t0_usec;
        run->start_skew_usec = step->start_skew_usec;
    }
}

int64_t run_step_until_usec(const struct run *run, const struct step *step)
{
    int64_t until_usec = INT64_MAX;

    for (const struct run_step *other = run->steps; other < run->steps + run->mandate->n_steps; other++)
        if (other->t0_usec > run_step(run, step)->t0_usec && other->t0_usec < until_usec)
            until_usec = other->t0_usec;
    return until_usec;
}

int64_t run_step_ended_usec(const struct run *run, const struct step *step)
{
    int64_t last_usec = 0;

    EACH_FAULT (run, fault) {
        if (fault->step != step || fault->state == RUN_FAULT_REFUSED)
            continue;
        if (run_fault_is_active(fault) || !fault->ended_usec)
            return 0;
        last_usec = later(last_usec, run_corrected(run, fault->host, fault->ended_usec));
    }
    return last_usec;
}

int64_t run_step_silence_usec(const struct step *step)
{
    const char *isolate = node_string(step->parameters, "isolate");

    return isolate && !strcmp(isolate, "full") ? step->duration_msec * USEC_PER_MSEC : 0;
}

int64_t run_step_proof_usec(const struct step *step)
{
    return RUN_PROOF_USEC + (run_step_silence_usec(step) ? RUN_REJOIN_USEC : 0);
}

int64_t run_proof_usec(const struct run *run)
{
    int64_t most_usec = RUN_PROOF_USEC;

    for (size_t i = 0; i < run->mandate->n_steps; i++)
        most_usec = later(most_usec, run_step_proof_usec(&run->mandate->steps[i]));
    return most_usec;
}

int64_t run_expected_end_usec(const struct run *run)
{
    const struct mandate *mandate = run->mandate;
    int64_t ends_usec[MANDATE_STEPS_MAX] = {}, last_usec = run_end_usec(run);

    for (size_t i = 0; i < mandate->n_steps; i++) {
        int64_t start_usec = run->steps[i].started_usec;

        if (!start_usec)
            EACH_AFTER (&mandate->steps[i], name)
                start_usec =
                    later(start_usec, ends_usec[mandate_step(mandate, name->string) - mandate->steps]);
        ends_usec[i] = start_usec + mandate->steps[i].duration_msec * USEC_PER_MSEC;
        last_usec = later(last_usec, ends_usec[i]);
    }
    return last_usec;
}

/* Everything is over, with proof and not before its time, on as many hosts as the mandate requires. A suspect
 * proves nothing. Return: as run_step_may_start() */
static int check_ended(const struct run *run, const struct step *step, int64_t now_usec, struct error *error)
{
    const struct run_fault *bad = NULL;
    size_t n_good = 0;

    if (!run_step(run, step)->started_usec)
        return 0;
    EACH_FAULT (run, fault) {
        if (fault->step != step)
            continue;
        if (run_fault_is_active(fault) || run_host(run, fault->host)->is_suspect) {
            if (now_usec < later(fault->deadline_usec, run->loaded_usec) + run_step_proof_usec(step))
                return 0;
            return error_set(error, ECANCELED, "there is no proof that %s ended on %s", step->name,
                             fault->host);
        }
        if (fault->state >= RUN_FAULT_FAILED || fault->is_interrupted || fault_ended_early(run, fault))
            bad = fault;
        else
            n_good += run_host(run, fault->host)->is_pinned;
    }
    if (n_good >= mandate_step_least(run->mandate, step))
        return 1;
    if (!bad || (bad->state < RUN_FAULT_FAILED && !bad->is_interrupted))
        return error_set(error, ECANCELED, "%s ended early on %s", step->name, bad ? bad->host : "its hosts");
    return error_set(error, ECANCELED, "%s %s on %s: %s", step->name,
                     bad->state < RUN_FAULT_FAILED ? "was interrupted" : run_fault_names[bad->state],
                     bad->host, bad->reason);
}

/* Are users served, as seen since @ended_usec, and will somebody look until @step is over? */
static int check_seen(const struct run *run, const struct step *step, int64_t ended_usec, int64_t now_usec,
                      struct error *error)
{
    int64_t late_usec =
        later(ended_usec, run->loaded_usec) + run->mandate->settle_msec * USEC_PER_MSEC + RUN_FLOW_USEC;
    bool is_late = now_usec >= late_usec;

    EACH_ENDPOINT (run, endpoint) {
        const struct run_fault *watch = run_fault_of(run, endpoint->from, MANDATE_OBSERVE);
        bool is_sick = endpoint->live.state == RECOVERY_UNHEALTHY;

        if (!report_is_users(run, endpoint->probe.name))
            continue;
        if (!watch || watch->state >= RUN_FAULT_REVERTED ||
            watch->deadline_usec < now_usec + step->duration_msec * USEC_PER_MSEC)
            return error_set(error, ECANCELED, "%s does not watch %s for so long", endpoint->from,
                             endpoint->probe.name);
        if (!is_sick && run_corrected(run, endpoint->from, endpoint->live.last_known_usec) > ended_usec)
            continue;
        return !is_late ? 0
                        : error_set(error, ECANCELED, "%s %s from %s, %.0f s after the step before",
                                    endpoint->probe.name, is_sick ? "is unhealthy, seen" : "was not seen",
                                    endpoint->from, (double)(now_usec - ended_usec) / USEC_PER_SEC);
    }
    return 1;
}

int run_step_may_start(const struct run *run, const struct step *step, int64_t now_usec, struct error *error)
{
    int64_t ended_usec = 0;
    int r = !run_step(run, step)->started_usec;

    if (!r || !step->after)
        return r;
    EACH_AFTER (step, name) {
        const struct step *before = mandate_step(run->mandate, name->string);

        r = check_ended(run, before, now_usec, error);
        if (r <= 0)
            return r;
        ended_usec = later(ended_usec, run_step_ended_usec(run, before));
    }
    EACH_HOST (run, host)
        if (host->is_halted && host->is_pinned)
            return error_set(error, ECANCELED, "%s received a halt", host->id);
    return check_seen(run, step, ended_usec, now_usec, error);
}

bool run_step_is_due(const struct run *run, const struct step *step, int64_t now_usec)
{
    return !run->started_usec || run_step_may_start(run, step, now_usec, NULL) > 0;
}

json_t *run_due_steps(const struct run *run, const char *host, int64_t now_usec)
{
    json_t *list = run->started_usec ? json_array() : NULL;

    for (size_t i = 0; list && i < run->mandate->n_steps; i++)
        if (mandate_step_has_host(run->mandate, run->mandate->steps[i].name, host) &&
            run_step_is_due(run, &run->mandate->steps[i], now_usec))
            json_array_append_new(list, json_string(run->mandate->steps[i].name));
    return list;
}
