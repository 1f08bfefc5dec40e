/*
 * A holder's life: bind itself to its parent and to the deadline, write down how to undo, inject, prove,
 * wait, undo, prove again. Everything after the deadline works on what was made before it: until the kernel
 * was read back, nothing is allocated and nothing is written.
 */
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "faults/kernel/undo.h"
#include "holder-life.h"

static void holder_clear(struct holder *holder)
{
    if (holder->fault && holder->fault->release && holder->run.state)
        holder->fault->release(&holder->run);
    if (holder->fault)
        fault_free_parameters(holder->fault, holder->parameters);
    json_decref(holder->plan.summary);
    json_decref(holder->plan.limits);
    json_decref(holder->effect);
    deadline_close(&holder->deadline);
    cleanup_close(&holder->signal_fd);
    cleanup_close(&holder->halt_fd);
    job_free(holder->job);
}

static int check_time_left(const struct job *job, struct error *error)
{
    int64_t boot_nsec = job->deadline_boot_nsec - time_boot_nsec();
    int64_t real_nsec = (job->deadline_real_usec - time_now_usec()) * NSEC_PER_USEC;
    int64_t left_nsec = boot_nsec < real_nsec ? boot_nsec : real_nsec;

    if (left_nsec <= 0)
        return error_set(error, ETIME, "the deadline is already past");
    if (left_nsec < HOLDER_LEAST_NSEC)
        return error_set(error, ETIME, "only %d ms are left until the deadline; at least 100 are needed",
                         (int)(left_nsec / NSEC_PER_MSEC));
    return 0;
}

static int holder_read_job(struct holder *holder, struct error *error)
{
    const struct step *step;
    int r = job_read(&holder->job, JOB_FD, error);

    close(JOB_FD);
    if (r < 0)
        return r;
    step = holder->job->step_of_mandate;
    holder->fault = fault_find(step->fault);
    if (!holder->fault)
        return error_set(error, EINVAL, "job: unknown fault '%s'", step->fault);
    r = fault_decode_parameters(holder->fault, holder->job->mandate->document, step->parameters,
                                holder->job->mandate, &holder->parameters, error);
    return r < 0 ? r : check_time_left(holder->job, error);
}

/* Words and buffers now, so that later there is nothing to fail. */
static int holder_plan(struct holder *holder, struct error *error)
{
    holder->effect = json_object();
    holder->plan.summary = json_array();
    holder->plan.limits = json_array();
    if (!holder->effect || !holder->plan.summary || !holder->plan.limits)
        return error_oom(error);
    return holder->fault->plan(holder->parameters, holder->job->mandate, &holder->job->host, &holder->plan,
                               error);
}

static int holder_write_record(struct holder *holder, struct error *error)
{
    struct record *record = &holder->record;
    int r;

    snprintf(record->order, sizeof(record->order), "%s", holder->job->order);
    snprintf(record->fault, sizeof(record->fault), "%s", holder->fault->name);
    time_boot_id(record->boot);
    record->holder_pid = getpid();
    record->holder_start_ticks = process_start_ticks(record->holder_pid);
    record->deadline_boot_nsec = holder->job->deadline_boot_nsec;
    record->deadline_real_usec = holder->job->deadline_real_usec;
    r = record_write(record, RECORDS_FD, error);
    if (r == 0)
        holder->run.record_fd = openat(RECORDS_FD, record->order, O_WRONLY | O_APPEND | O_CLOEXEC);
    holder->is_recorded = r == 0;
    return r;
}

static int holder_inject(struct holder *holder, struct error *error)
{
    int r;

    holder->run = (struct fault_run){
        .fault = holder->fault,
        .order = holder->job->order,
        .parameters = holder->parameters,
        .mandate = holder->job->mandate,
        .host = &holder->job->host,
        .deadline_boot_nsec = holder->job->deadline_boot_nsec,
        .record = &holder->record,
        .record_fd = holder->run.record_fd,
    };
    r = holder->fault->inject(&holder->run, error);
    if (r < 0)
        return r;
    holder->is_injected = true;
    r = holder->fault->verify ? holder->fault->verify(&holder->run, error) : 0;
    if (r == 0)
        holder_say_armed(holder);
    return r;
}

/* Return: 0 = exercised, -EAGAIN = no effect seen yet, else failure */
static int holder_try_exercise(struct holder *holder, struct error *error)
{
    int r = -EAGAIN;

    if (holder->is_exercised)
        return 0;
    if (holder->fault->exercise)
        r = holder->fault->exercise(&holder->run, holder->effect, error);
    if (r < 0)
        return r;
    holder->is_exercised = true;
    holder_say_exercised(holder);
    return 0;
}

/* A fault that can measure its own effect has to, within its time; the others may wait for traffic to come.
 */
static int holder_exercise(struct holder *holder, struct error *error)
{
    int64_t until = time_boot_nsec() + HOLDER_EXERCISE_NSEC;
    bool is_required = holder->fault->flags & FAULT_SELF_EXERCISED;
    struct error words = {0};
    int r;

    while ((r = holder_try_exercise(holder, &words)) == -EAGAIN && is_required && time_boot_nsec() < until) {
        r = holder_wait(holder, time_boot_nsec() + HOLDER_RETRY_NSEC, error);
        if (r < 0)
            return r;
        if (r > 0 && time_boot_nsec() < holder->job->deadline_boot_nsec)
            return 0; /* a halt came first */
        if (r > 0)
            break;
    }
    if (r == 0 || (r == -EAGAIN && !is_required))
        return 0;
    return error_set(error, EIO, "no effect could be measured%s%s", words.code ? ": " : "", words.text);
}

/* What can't be counted just now was counted a second ago; only the last look tells whether somebody
 * interfered. */
static void holder_measure(struct holder *holder, bool is_last)
{
    const struct fault *fault = holder->fault;

    if (!holder->is_exercised)
        holder_try_exercise(holder, NULL);
    if (fault->measure)
        fault->measure(&holder->run, holder->effect, NULL);
    if (is_last && fault->verify && fault->verify(&holder->run, NULL) < 0)
        holder->is_interfered = true;
}

static int holder_watch(struct holder *holder, struct error *error)
{
    int64_t last = holder->job->deadline_boot_nsec - HOLDER_LEAD_NSEC, now;
    int r = 0;

    while (r == 0 && (now = time_boot_nsec()) < last) {
        holder_measure(holder, false);
        r = holder_wait(holder, last - now < HOLDER_MEASURE_NSEC ? last : now + HOLDER_MEASURE_NSEC, error);
    }
    if (r != 0)
        return r < 0 ? r : 0;
    holder_measure(holder, true);
    r = holder_wait(holder, DEADLINE_NONE, error);
    return r < 0 ? r : 0;
}

/* By the fault's own hands, by name if those fail; what counts is what the kernel shows afterwards. */
static int holder_revert(struct holder *holder, struct error *error)
{
    const struct fault *fault = holder->fault;

    if (holder->is_injected && fault->revert && fault->revert(&holder->run, error) < 0)
        undo_all(&holder->record, NULL);
    return fault->verify_reverted ? fault->verify_reverted(&holder->run, error) : 0;
}

/* The record goes last: before that, somebody else has to be able to do this for us. */
static int holder_end(struct holder *holder, struct error *error)
{
    int r = holder_revert(holder, error);
    int64_t done_boot_nsec = time_boot_nsec();

    if (r < 0)
        return r;
    holder_say_reverted(holder, done_boot_nsec);
    record_remove(holder->record.order, RECORDS_FD, NULL);
    return 0;
}

static int holder_end_irreversible(struct holder *holder)
{
    if (holder->fault->measure)
        holder->fault->measure(&holder->run, holder->effect, NULL);
    holder_say_ended(holder);
    record_remove(holder->record.order, RECORDS_FD, NULL);
    return 0;
}

static int holder_live(struct holder *holder, struct error *error)
{
    int r = holder_read_job(holder, error);

    if (r == 0)
        r = holder_confine(holder, error);
    if (r == 0)
        r = holder_wait_open(holder, error);
    if (r == 0)
        r = holder_plan(holder, error);
    if (r == 0)
        r = holder_write_record(holder, error);
    if (r == 0)
        r = holder_inject(holder, error);
    if (r == 0)
        r = holder_exercise(holder, error);
    if (r < 0)
        return r;
    if (!(holder->fault->flags & FAULT_REVERSIBLE))
        return holder_end_irreversible(holder);
    r = holder->is_over ? 0 : holder_watch(holder, error);
    return r < 0 ? r : holder_end(holder, error);
}

/* A record of what could not be undone stays: executor and sweep go on trying. */
static int holder_fail(struct holder *holder, const struct error *error)
{
    bool is_reverted = !holder->is_recorded || holder_revert(holder, NULL) == 0;

    holder_say_failed(holder, error, is_reverted);
    if (holder->is_recorded && is_reverted)
        record_remove(holder->record.order, RECORDS_FD, NULL);
    return 1;
}

int holder_main(void)
{
    _cleanup_(holder_clear) struct holder holder = {.signal_fd = -1, .halt_fd = -1, .deadline = {-1, -1}};
    struct error error = {0};

    return holder_live(&holder, &error) < 0 ? holder_fail(&holder, &error) : 0;
}
