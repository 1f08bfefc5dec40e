/*
 * A holder's life: bind itself to its parent and to the deadline, inject, prove, wait, undo, prove again.
 * Everything after the deadline works on what was made before it: until the kernel was read back, nothing is
 * allocated and nothing is written.
 */
#include "holder.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/hands.h"
#include "faults/kernel/undo.h"

#define LEAST_NSEC (100 * NSEC_PER_MSEC) /* less than this is left: not worth starting */
#define AGAIN_NSEC NSEC_PER_SEC          /* so long an undo is tried; whoever ends us otherwise comes later */
#define RETRY_MSEC 20

/* Files are closed by the end of the process. */
static void holder_clear(struct holder *holder)
{
    if (holder->fault && holder->fault->release && holder->run.state)
        holder->fault->release(&holder->run);
    json_decref(holder->plan.summary);
    json_decref(holder->plan.limits);
    json_decref(holder->effect);
    job_free(holder->job);
    for (size_t i = 0; i < ARRAY_SIZE(holder->filters); i++)
        sandbox_filter_clear(&holder->filters[i]);
}

/* ---- what the executor hears: docs/protocol.md. A full or closed channel is no reason to do anything else.
 */

void holder_say(const char *state, json_t *body, const char *findings)
{
    json_t *whole = json_pack("{s:s s:o}", "state", state, "body", body);
    const size_t form = JSON_COMPACT | JSON_REAL_PRECISION(12); /* no 15.140000000000001 */
    _cleanup_free_ char *text = whole ? json_dumps(whole, form) : NULL;

    if (text && strlen(text) > CHANNEL_BODY_MAX) {
        json_object_del(body, findings);
        free(text);
        text = json_dumps(whole, form);
    }
    if (text)
        channel_send(CHANNEL_FD, CHANNEL_STATE, text, strlen(text), -1);
    json_decref(whole);
}

static void say_interrupted(const struct holder *holder)
{
    holder_say("interrupted", json_pack("{s:s+}", "reason", "interfered: ", holder->interference.text),
               "reason");
}

static const char *who_ended(const struct holder *holder)
{
    return holder->is_harming ? "interference" : holder->is_halted ? "halt" : "deadline";
}

/* Null where nobody can tell. */
static json_t *json_is_interfered(const struct holder *holder)
{
    bool is_interfered = holder->interference.code;

    return is_interfered || holder->has_looked ? json_boolean(is_interfered) : json_null();
}

static void say_reverted(const struct holder *holder, int64_t done_boot_nsec)
{
    int64_t at_usec = time_now_usec() - (time_boot_nsec() - done_boot_nsec) / NSEC_PER_USEC;
    /* Microseconds are what the clock gives; more digits would be noise. */
    double error_msec = (double)((done_boot_nsec - holder->over_boot_nsec) / NSEC_PER_USEC) / 1000.0;
    char at[TIME_TEXT_MAX];

    holder_say("reverted",
               json_pack("{s:s s:f s:s s:O s:o s:s*}", "reverted_at", time_format(at_usec, at),
                         "revert_error_ms", error_msec, "ended_by", who_ended(holder), "effect",
                         holder->effect, "is_interfered", json_is_interfered(holder), "interference",
                         holder->interference.code ? holder->interference.text : NULL),
               "effect");
}

/* ---- its life */

static int holder_take_job(struct holder *holder, struct error *error)
{
    int r = holder_wait_message(holder, error);

    if (r == 0 && !holder->job)
        r = error_set(error, ECANCELED, "it was ended before it had a job");
    if (r < 0)
        return r;
    holder->fault = holder->job->fault;
    return fault_decode_parameters(holder->fault, holder->job->document, holder->job->parameters,
                                   holder->job->mandate, &holder->parameters, error);
}

static int holder_plan(struct holder *holder, struct error *error)
{
    snprintf(holder->record.order, sizeof(holder->record.order), "%s", holder->job->order);
    holder->run = (struct fault_run){
        .fault = holder->fault,
        .order = holder->job->order,
        .parameters = holder->parameters,
        .mandate = holder->job->mandate,
        .host = &holder->job->host,
        .deadline_boot_nsec = holder->job->deadline_boot_nsec,
        .record = &holder->record,
        .record_fd = -1,
        .watch_fd = -1,
    };
    return holder->fault->plan(holder->parameters, holder->job->mandate, &holder->job->host, &holder->plan,
                               error);
}

static int check_start(const struct holder *holder, struct error *error)
{
    int64_t left_nsec = holder->job->deadline_boot_nsec - time_boot_nsec();
    int64_t left_real_nsec = (holder->job->deadline_real_usec - time_now_usec()) * NSEC_PER_USEC;

    if (left_real_nsec < left_nsec)
        left_nsec = left_real_nsec;
    if (holder->run.record_fd < 0)
        return error_set(error, ECANCELED, "it was ended before it began");
    if (left_nsec < LEAST_NSEC)
        return error_set(error, ETIME, "only %d ms are left until the deadline; at least 100 are needed",
                         (int)(left_nsec / NSEC_PER_MSEC));
    return 0;
}

static int holder_inject(struct holder *holder, struct error *error)
{
    char at[TIME_TEXT_MAX], deadline[TIME_TEXT_MAX];
    int r = check_start(holder, error);

    if (r < 0)
        return r;
    r = holder->fault->inject(&holder->run, error);
    if (r < 0)
        return r;
    holder->is_injected = true;
    r = holder->fault->verify ? holder->fault->verify(&holder->run, error) : 0;
    if (r < 0)
        return r;
    holder->has_looked = holder->fault->verify;
    holder_say("armed",
               json_pack("{s:s s:s s:O}", "armed_at", time_format(time_now_usec(), at), "deadline",
                         time_format(holder->job->deadline_real_usec, deadline), "summary",
                         holder->plan.summary),
               "summary");
    return 0;
}

static int keep_spare_fds(struct holder *holder, struct error *error)
{
    for (size_t i = 0; i < HOLDER_SPARE_FDS; i++) {
        holder->spare_fds[i] = fcntl(holder->halt_fd, F_DUPFD_CLOEXEC, 0);
        if (holder->spare_fds[i] < 0)
            return error_errno(error, errno, "no descriptor can be kept for the undo");
    }
    return 0;
}

static void give_spare_fds(struct holder *holder)
{
    for (size_t i = 0; i < HOLDER_SPARE_FDS; i++) {
        cleanup_close(&holder->spare_fds[i]);
        holder->spare_fds[i] = -1;
    }
}

/* By the fault's own hands, by name if those fail; what counts is what the kernel shows afterwards. */
static int holder_revert(struct holder *holder, struct error *error)
{
    const struct fault *fault = holder->fault;

    give_spare_fds(holder);
    if (has_own_undo && holder->is_injected && fault->revert && fault->revert(&holder->run, error) < 0)
        undo_all(&holder->record, NULL);
    holder_note_interference(holder, &holder->run.interference, holder->over_boot_nsec);
    return has_look && fault->verify_reverted ? fault->verify_reverted(&holder->run, error) : 0;
}

/* The record is the executor's to remove: before that, somebody else has to be able to do this for us. What
 * stands in the way of a look (a host without memory) may pass, and no event tells when. */
static int holder_end(struct holder *holder, struct error *error)
{
    int64_t until_nsec = time_boot_nsec() + AGAIN_NSEC;
    int r;

    while ((r = holder_revert(holder, error)) < 0 && time_boot_nsec() < until_nsec)
        poll(NULL, 0, RETRY_MSEC);
    if (holder->is_harming)
        say_interrupted(holder);
    if (r == 0)
        say_reverted(holder, time_boot_nsec());
    return r;
}

static int holder_end_irreversible(struct holder *holder)
{
    if (holder->fault->measure)
        holder->fault->measure(&holder->run, holder->effect, NULL);
    holder_say("ended", json_pack("{s:O}", "effect", holder->effect), "effect");
    return 0;
}

static int (*const beginning[])(struct holder *holder, struct error *error) = {
    holder_get_ready, holder_take_job,     holder_confine, holder_wait_open, keep_spare_fds,
    holder_plan,      holder_wait_message, holder_inject,  holder_exercise,
};

static int holder_live(struct holder *holder, struct error *error)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(beginning) && r == 0; i++)
        r = beginning[i](holder, error);
    if (r < 0)
        return r;
    if (!(holder->fault->flags & FAULT_REVERSIBLE))
        return holder_end_irreversible(holder);
    r = holder->is_over ? 0 : holder_watch(holder, error);
    return r < 0 ? r : holder_end(holder, error);
}

/* Of what is still to be undone the record tells: executor and sweep go on trying. What can't be undone is
 * neither reverted nor left, and nobody else can tell what it was. */
static int holder_fail(struct holder *holder, const struct error *error)
{
    bool is_reverted = !holder->run.order || holder_revert(holder, NULL) == 0;
    bool is_done = holder->run.state && !(holder->fault->flags & FAULT_REVERSIBLE);

    if (is_done && holder->fault->measure)
        holder->fault->measure(&holder->run, holder->effect, NULL);
    holder_say("failed",
               json_pack("{s:s s:o s:O*}", "reason", error->text, "is_reverted",
                         is_done ? json_null() : json_boolean(is_reverted), "effect",
                         is_done ? holder->effect : NULL),
               is_done ? "effect" : "reason");
    return 1;
}

int holder_main(void)
{
    _cleanup_(holder_clear) struct holder holder = {
        .signal_fd = -1, .halt_fd = -1, .spare_fds = {-1, -1, -1}, .deadline = {-1, -1}, .run.record_fd = -1};
    struct error error = {0};

    return holder_live(&holder, &error) < 0 ? holder_fail(&holder, &error) : 0;
}
