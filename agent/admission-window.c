/* When may an order start, and when does it have to be over? REALTIME says when a window opens; it is closed
 * as soon as either clock says so. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "admission.h"

/* A window that closes does so by whichever clock says it first. */
static int check_late(const struct admission *admission, const char *place, int64_t until_usec,
                      struct error *error)
{
    char text[TIME_TEXT_MAX];

    if (admission->latest_usec <= until_usec)
        return 0;
    time_format(until_usec, text);
    if (admission->now_usec <= until_usec)
        return error_set(error, EACCES,
                         "order: %s: expired at %s, but for the clock, which was set back by %" PRId64
                         " s (if that was right, restart grivetd)",
                         place, text,
                         (int64_t)((admission->latest_usec - admission->now_usec) / USEC_PER_SEC));
    return error_set(error, EACCES, "order: %s: expired at %s", place, text);
}

int admission_check_window(const struct admission *admission, const struct order *order,
                           const struct mandate *mandate, struct error *error)
{
    int64_t now_usec = admission->now_usec;
    char text[TIME_TEXT_MAX];
    int r;

    if (now_usec < mandate->not_before_usec)
        return error_set(error, EACCES, "mandate: not_before: not valid before %s",
                         time_format(mandate->not_before_usec, text));
    if (now_usec + EARLY_TOLERANCE_USEC < order->step_started_usec)
        return error_set(error, EACCES, "order: step_started_at: too early, starts at %s",
                         time_format(order->step_started_usec, text));
    r = check_late(admission, "start_before", order->start_before_usec, error);
    return r < 0 ? r
                 : check_late(admission, "end_at",
                              order->end_usec - MANDATE_DURATION_MIN_MSEC * USEC_PER_MSEC, error);
}

/* Of an answer: what a step waits for before it starts, if all goes as planned. */
static int64_t wait_usec(const struct decision *decision, int64_t length_usec)
{
    if (!decision->step || decision->ask->steps)
        return 0;
    return decision->mandate->warmup_msec * USEC_PER_MSEC +
           mandate_way_usec(decision->mandate, decision->step, 0) - length_usec;
}

int admission_check_open(struct decision *decision, struct error *error)
{
    const struct policy *policy = decision->rests_on->policy;
    const struct mandate *mandate = decision->mandate;
    int64_t length_usec = mandate_step_length_usec(mandate, decision->step_name);
    int64_t from_usec = decision->rests_on->now_usec, last_usec, next_usec;
    char list[256], text[TIME_TEXT_MAX];

    if (decision->order)
        length_usec = decision->order->end_usec - from_usec;
    else
        from_usec += wait_usec(decision, length_usec);
    next_usec = windows_next(&decision->class->windows, from_usec, length_usec);
    last_usec = decision->signed_by ? from_usec : mandate->not_after_usec;
    if (next_usec <= last_usec || next_usec == from_usec)
        return 0;
    windows_describe(&decision->class->windows, policy->time_zone, list, sizeof(list));
    if (next_usec == INT64_MAX)
        return error_set(
            error, EACCES, "policy: classes.%s.windows: step %s takes %.1f s, longer than any of %s",
            decision->class->name, decision->step_name, (double)length_usec / USEC_PER_SEC, list);
    return error_set(error, EACCES,
                     "policy: classes.%s.windows: step %s does not fit into %s; the next one opens at %s",
                     decision->class->name, decision->step_name, list, time_format(next_usec, text));
}

void admission_tell_windows(const struct decision *decision, json_t *limits)
{
    char list[256], words[320];

    if (!decision->class->windows.count)
        return;
    snprintf(words, sizeof(words), "only within %s",
             windows_describe(&decision->class->windows, decision->rests_on->policy->time_zone, list,
                              sizeof(list)));
    json_array_append_new(limits, json_string(words));
}

static int64_t boot_nsec_of(const struct admission *admission, int64_t at_usec)
{
    return admission->now_boot_nsec + (at_usec - admission->latest_usec) * NSEC_PER_USEC;
}

/* Early by a clock's difference is not longer by it. Both ends are fixed now: a clock that is set before the
 * fault starts moves neither. */
void admission_set_times(const struct admission *admission, struct decision *decision)
{
    const struct order *order = decision->order;
    int64_t length_usec = mandate_step_length_usec(decision->mandate, decision->step_name);
    int64_t longest_usec = admission->now_usec + length_usec;
    int64_t longest_nsec = admission->now_boot_nsec + length_usec * NSEC_PER_USEC;

    decision->end_usec = order->end_usec < longest_usec ? order->end_usec : longest_usec;
    decision->end_boot_nsec = boot_nsec_of(admission, order->end_usec);
    if (decision->end_boot_nsec > longest_nsec)
        decision->end_boot_nsec = longest_nsec;
    decision->start_boot_nsec = boot_nsec_of(admission, order->start_before_usec);
}
