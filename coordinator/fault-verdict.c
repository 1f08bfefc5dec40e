/* Whether one fault was what was signed: shown in its effect, as long as promised, and gone. */
#include <stdio.h>
#include <string.h>

#include "run-state.h"

static enum verdict fault_says(char why[200], enum verdict verdict, const char *text)
{
    snprintf(why, 200, "%.199s", text);
    return verdict;
}

/* Timed elements may end a little before the deadline; more than this is an outage that was shorter than
 * signed. */
#define FAULT_EARLY_MSEC 1000

/* By the host's own words, or by when it was by the coordinator's clock. */
static bool ended_early(const struct run *run, const struct run_fault *fault)
{
    return fault->is_interrupted || !strcmp(fault->ended_by, "halt") ||
           fault->revert_error_msec < -FAULT_EARLY_MSEC ||
           (fault->reverted_usec && run_corrected(run, fault->host, fault->reverted_usec) <
                                        fault->deadline_usec - FAULT_EARLY_MSEC * USEC_PER_MSEC);
}

enum verdict fault_verdict(const struct run *run, const struct run_fault *fault, char why[200])
{
    bool is_proved = fault->state == RUN_FAULT_REVERTED || fault->state == RUN_FAULT_ENDED;
    const struct run_host *host = run_host((struct run *)run, fault->host);

    if (host && host->is_suspect)
        return fault_says(why, VERDICT_UNKNOWN,
                          "the host's events contradict each other: some were forged, withheld or lost");
    if (fault->state == RUN_FAULT_FAILED)
        return fault_says(why, VERDICT_MISSED, fault->reason);
    if (fault->state == RUN_FAULT_REFUSED)
        return fault_says(why, VERDICT_UNKNOWN, fault->reason);
    if (!fault->exercised_usec && fault->state != RUN_FAULT_ENDED)
        return fault_says(why, VERDICT_UNKNOWN, "its effect was not shown");
    if (!is_proved)
        return fault_says(why, VERDICT_UNKNOWN, "there is no proof of its end");
    if (ended_early(run, fault))
        return fault_says(why, VERDICT_UNKNOWN, "it ended early");
    return fault_says(why, VERDICT_MET, "");
}
