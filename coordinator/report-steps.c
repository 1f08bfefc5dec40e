/* The steps of a report: did each start after those that it follows, and what did the observers see of it? */
#include "run-state.h"

/* When the first of its hosts was armed, corrected; 0 = none was. */
static int64_t armed_usec(const struct run *run, const struct step *step)
{
    int64_t first_usec = 0, usec;

    EACH_FAULT (run, fault) {
        if (fault->step != step || !fault->armed_usec)
            continue;
        usec = run_corrected(run, fault->host, fault->armed_usec);
        first_usec = first_usec && first_usec < usec ? first_usec : usec;
    }
    return first_usec;
}

/* The order of steps is the coordinator's word when it starts them; here the hosts' words are held against
 * it. */
static void judge_order(const struct run *run, const struct step *step, struct judgement *ret)
{
    int64_t start_usec = armed_usec(run, step), end_usec;

    *ret = (struct judgement){};
    EACH_AFTER (step, name) {
        end_usec = run_step_ended_usec(run, mandate_step(run->mandate, name->string));
        if (start_usec && !end_usec)
            judge(ret, VERDICT_UNKNOWN, "it started without a proof that %s, which it follows, had ended",
                  name->string);
        else if (start_usec && start_usec < end_usec)
            judge(ret, VERDICT_UNKNOWN, "it started %.1f s before %s, which it follows, had ended",
                  (double)(end_usec - start_usec) / USEC_PER_SEC, name->string);
    }
}

static json_t *step_endpoints(const struct run *run, const struct step *step)
{
    json_t *list = json_array();
    struct recovery recovery;

    EACH_ENDPOINT (run, endpoint)
        if (endpoint_recovery(run, endpoint, step, &recovery) == 0)
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:o, s:o, s:I, s:I}", "name", endpoint->probe.name, "from",
                                endpoint->from, "detect_ms", msec_or_null(recovery_detect_msec(&recovery)),
                                "recover_ms", msec_or_null(recovery_recover_msec(&recovery)), "requests",
                                (json_int_t)recovery.requests, "lost", (json_int_t)recovery.lost));
    return list;
}

json_t *report_steps(const struct run *run, struct judgement *whole)
{
    json_t *list = json_array();
    struct judgement one;

    for (size_t i = 0; i < run->mandate->n_steps; i++) {
        const struct step *step = &run->mandate->steps[i];
        const struct run_step *known = &run->steps[i];

        judge_order(run, step, &one);
        judge(whole, one.verdict, "step %s: %s", step->name, one.why);
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:O*, s:o, s:o, s:o, s:o, s:s, s:s, s:o}", "step", step->name, "fault",
                      step->fault, "after", step->after ? step->after->json : NULL, "started_at",
                      time_or_null(known->started_usec), "t0", time_or_null(known->t0_usec), "start_skew_ms",
                      known->t0_usec ? json_real((double)known->start_skew_usec / USEC_PER_MSEC)
                                     : json_null(),
                      "ended_at", time_or_null(run_step_ended_usec(run, step)), "verdict",
                      verdict_names[one.verdict], "why", one.why, "endpoints", step_endpoints(run, step)));
    }
    return list;
}
