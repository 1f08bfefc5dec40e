/* The steps of a report: did each start as it was signed, and what did the observers see of it? */
#include "run-state.h"

/* When the first of its hosts was armed, corrected; 0 = none was. @ret_count: how many of those signed for
 * it were, and @ret_late: how many joined late */
static int64_t armed_usec(const struct run *run, const struct step *step, size_t *ret_count, size_t *ret_late)
{
    int64_t first_usec = 0, usec;

    *ret_count = *ret_late = 0;
    EACH_FAULT (run, fault) {
        bool is_signed = mandate_step_has_host(run->mandate, step->name, fault->host);

        if (fault->step != step || !fault->armed_usec)
            continue;
        *ret_count += is_signed;
        *ret_late += !is_signed;
        usec = run_corrected(run, fault->host, fault->armed_usec);
        first_usec = first_usec && first_usec < usec ? first_usec : usec;
    }
    return first_usec;
}

/* Order, shares and late joiners are the coordinator's word when it starts a step; here the hosts' words are
 * held against it. */
static void judge_step(const struct run *run, const struct step *step, struct judgement *ret)
{
    size_t n_armed, n_late, n_least = mandate_step_least(run->mandate, step);
    int64_t start_usec = armed_usec(run, step, &n_armed, &n_late), end_usec;

    *ret = (struct judgement){};
    if (run->state == RUN_DONE && n_armed < n_least)
        judge(ret, VERDICT_UNKNOWN, "%zu of %zu hosts were armed, %zu are required", n_armed,
              step->hosts->count, n_least);
    if ((int64_t)n_late > run->mandate->late_max)
        judge(ret, VERDICT_UNKNOWN, "%zu hosts joined late, %lld may", n_late,
              (long long)run->mandate->late_max);
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

        judge_step(run, step, &one);
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
