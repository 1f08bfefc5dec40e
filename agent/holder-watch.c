/* A fault in force: prove its effect, then look each second at what it does, and whether it is still what was
 * made. */
#include <errno.h>
#include <stdio.h>

#include "holder.h"

/* Up to here is "shortly before": the last look must not stand between deadline and undo. */
#define LEAD_NSEC     (50 * NSEC_PER_MSEC)
#define LOOK_NSEC     NSEC_PER_SEC
#define EXERCISE_NSEC (3 * NSEC_PER_SEC)
#define RETRY_NSEC    (20 * NSEC_PER_MSEC)
#define SETTLE_NSEC   (10 * NSEC_PER_MSEC)

/* Return: 0 = exercised, -EAGAIN or -EINPROGRESS = no effect seen yet, else failure */
static int holder_try_exercise(struct holder *holder, struct error *error)
{
    char at[TIME_TEXT_MAX];
    int r = -EAGAIN;

    if (holder->is_exercised)
        return 0;
    if (holder->fault->exercise)
        r = holder->fault->exercise(&holder->run, holder->effect, error);
    if (r < 0)
        return r;
    holder->is_exercised = true;
    holder_say(
        "exercised",
        json_pack("{s:s s:O}", "exercised_at", time_format(time_now_usec(), at), "effect", holder->effect),
        "effect");
    return 0;
}

/* Is there a reason to ask again before the fault goes on? */
static bool is_exercising(const struct holder *holder, int r)
{
    return r == -EINPROGRESS || (r == -EAGAIN && holder->fault->flags & FAULT_SELF_EXERCISED);
}

/* A fault that can measure its own effect has to, within its time; the others may wait for traffic to come.
 */
int holder_exercise(struct holder *holder, struct error *error)
{
    bool is_reversible = holder->fault->flags & FAULT_REVERSIBLE;
    int64_t until = is_reversible ? time_boot_nsec() + EXERCISE_NSEC : holder->job->deadline_boot_nsec;
    struct error words = {0};
    int r;

    while (is_exercising(holder, r = holder_try_exercise(holder, &words)) && time_boot_nsec() < until) {
        r = holder_wait(holder, time_boot_nsec() + RETRY_NSEC, error);
        if (r < 0)
            return r;
        if (r > 0 && time_boot_nsec() < holder->job->deadline_boot_nsec)
            return 0; /* a halt came first */
        if (r > 0)
            break;
    }
    if (r == 0 || (r == -EAGAIN && !is_exercising(holder, r)))
        return 0;
    return error_set(error, EIO, "no effect could be measured%s%s", words.code ? ": " : "", words.text);
}

/* What can't be counted just now was counted a second ago. */
static void holder_measure(struct holder *holder)
{
    holder_try_exercise(holder, NULL);
    if (holder->fault->measure)
        holder->fault->measure(&holder->run, holder->effect, NULL);
}

/* The first finding counts. At the deadline the kernel ends timed elements and burners by itself, so that
 * nothing that is seen from shortly before on tells of anybody. */
void holder_note_interference(struct holder *holder, const struct error *found, int64_t at_boot_nsec)
{
    if (found->code && !holder->interference.code &&
        at_boot_nsec < holder->job->deadline_boot_nsec - SETTLE_NSEC)
        holder->interference = *found;
}

static void holder_look(struct holder *holder)
{
    const struct fault *fault = holder->fault;
    struct error found = {0};
    int r = fault->verify ? fault->verify(&holder->run, &found) : -EOPNOTSUPP;
    int64_t now = time_boot_nsec();
    bool is_changed = r == -FAULT_CHANGED || r == -FAULT_HARMS;

    holder->has_looked = r == 0 || is_changed;
    if (is_changed)
        holder_note_interference(holder, &found, now);
    if (r == -FAULT_HARMS && holder->interference.code)
        holder_end_harm(holder, now);
}

int holder_watch(struct holder *holder, struct error *error)
{
    int64_t last = holder->job->deadline_boot_nsec - LEAD_NSEC, now;
    int r = 0;

    do {
        now = time_boot_nsec();
        holder_measure(holder);
        holder_look(holder);
        holder->is_watching = now < last; /* from then on the undo takes the news */
        r = holder_wait(holder,
                        now >= last              ? DEADLINE_NONE
                        : last - now < LOOK_NSEC ? last
                                                 : now + LOOK_NSEC,
                        error);
    } while (r == 0);
    return r < 0 ? r : 0;
}
