/*
 * The states of a run: checking -> warming-up -> starting -> running -> settling -> done, or halted, or
 * failed. Time is a parameter. run_advance() looks at what is known and takes the steps that are due; it may
 * be called at any time, any number of times.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "run-state.h"

void run_enter(struct run *run, enum run_state state, int64_t now_usec)
{
    run_record(run, now_usec, "run.state",
               json_pack("{s:s, s:o}", "state", run_state_names[state], "reason", json_words(run->reason)));
}

void run_halt(struct run *run, const char *by, int64_t now_usec)
{
    if (run->state >= RUN_DONE)
        return;
    snprintf(run->reason, sizeof(run->reason), "halted by %s", by);
    run_enter(run, RUN_HALTED, now_usec); /* the people's own halt goes to the hosts, not one of ours */
}

enum outlook { OUTLOOK_NO = -1, OUTLOOK_OPEN, OUTLOOK_YES };

/* Does every step (of those with orders: every one that started last; else: every one that is due) get as
 * many hosts as the mandate requires? @host_outlook: does this one take part? Nothing is open from @late_usec
 * on, and nothing else is decided before all have spoken. */
static enum outlook outlook(const struct run *run, int64_t now_usec, int64_t late_usec,
                            enum outlook (*host_outlook)(const struct run *run, const char *host,
                                                         const struct step *step))
{
    bool has_orders = run->state == RUN_STARTING;
    bool is_open = false;

    for (size_t i = 0; i < run->mandate->n_steps; i++) {
        const struct step *step = &run->mandate->steps[i];
        bool is_late = now_usec >= late_usec + (has_orders ? run_step_silence_usec(step) : 0);
        size_t counts[3] = {}, *count = &counts[1];

        if (has_orders ? !run_step_is_last(run, step) : !run_step_is_due(run, step, now_usec))
            continue;
        for (const struct node *node = step->hosts->first; node; node = node->next)
            count[host_outlook(run, node->string, step)]++;
        if (count[OUTLOOK_YES] + (is_late ? 0 : count[OUTLOOK_OPEN]) < mandate_step_least(run->mandate, step))
            return OUTLOOK_NO;
        is_open |= count[OUTLOOK_OPEN] && !is_late;
    }
    return is_open ? OUTLOOK_OPEN : OUTLOOK_YES;
}

static enum outlook acceptance(const struct run *run, const char *id, const struct step *step)
{
    const struct run_host *host = run_host(run, id);

    return host->is_accepted ? OUTLOOK_YES : host->has_answered ? OUTLOOK_NO : OUTLOOK_OPEN;
}

static enum outlook arming(const struct run *run, const char *id, const struct step *step)
{
    const struct run_fault *fault = run_fault_of(run, id, step->name);

    if (!fault || fault->state >= RUN_FAULT_FAILED)
        return OUTLOOK_NO;
    return fault->armed_usec ? OUTLOOK_YES : OUTLOOK_OPEN;
}

static int order(struct run *run, const char *host, const struct step *step, int64_t now_usec,
                 int64_t end_usec, struct error *error)
{
    const char *name = step ? step->name : MANDATE_OBSERVE;
    const struct run_fault *fault;
    char id[UUID_TEXT_MAX];

    run_record(run, now_usec, "run.ordered",
               json_pack("{s:s, s:s, s:s, s:I}", "order", uuid_new(id), "host", host, "step", name,
                         "deadline_usec", (json_int_t)end_usec));
    fault = run_fault_of(run, host, name);
    return fault ? run_send_order(run, fault, error) : error_oom(error);
}

/* The observers watch from the warm-up to the end of the settling, with room for slow starts and proofs. */
static int order_observers(struct run *run, int64_t now_usec, struct error *error)
{
    int64_t margin_usec =
        run->mandate->settle_msec * USEC_PER_MSEC + RUN_CHECK_USEC + run_proof_usec(run) + RUN_FLOW_USEC;
    int64_t length_usec = run->mandate->warmup_msec * USEC_PER_MSEC +
                          mandate_way_usec(run->mandate, NULL, margin_usec) + run_proof_usec(run);
    int r;

    EACH_HOST (run, host) {
        if (!host->is_observer || run_fault_of(run, host->id, MANDATE_OBSERVE))
            continue;
        r = order(run, host->id, NULL, now_usec, now_usec + length_usec, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int order_step(struct run *run, const struct step *step, int64_t now_usec, struct error *error)
{
    int r = 0;

    for (const struct node *node = step->hosts->first; node && r == 0; node = node->next)
        if (run_host(run, node->string)->is_accepted)
            r = order(run, node->string, step, now_usec, now_usec + step->duration_msec * USEC_PER_MSEC,
                      error);
    return r;
}

/* As run_step_may_start(), within the mandate's own time; the words name the step where others went before.
 */
static int may_start(const struct run *run, const struct step *step, int64_t now_usec, struct error *error)
{
    const struct mandate *mandate = run->mandate;
    int r = run_step_may_start(run, step, now_usec, error);

    if (r > 0 && (now_usec < mandate->not_before_usec || now_usec > mandate->not_after_usec))
        r = error_set(error, EKEYEXPIRED, "the mandate's window is not open");
    if (r < 0 && run->started_usec)
        error_wrap(error, "step %s is not started", step->name);
    return r;
}

/* Return: how many steps started now */
static int order_steps(struct run *run, int64_t now_usec, struct error *error)
{
    const struct mandate *mandate = run->mandate;
    int n_started = 0, r;

    for (size_t i = 0; i < mandate->n_steps; i++) {
        r = may_start(run, &mandate->steps[i], now_usec, error);
        n_started += r > 0;
        if (r > 0)
            r = order_step(run, &mandate->steps[i], now_usec, error);
        if (r < 0)
            return r;
    }
    return n_started;
}

/* What was started is halted first, the words come after. */
static void fail(struct run *run, int64_t now_usec, const char *format, ...) _printf_(3, 4);

static void fail(struct run *run, int64_t now_usec, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(run->reason, sizeof(run->reason), format, arguments);
    va_end(arguments);
    run_send_halt(run, now_usec);
    run_enter(run, RUN_FAILED, now_usec);
}

static int start_steps(struct run *run, int64_t now_usec)
{
    struct error error;
    int r = order_steps(run, now_usec, &error);

    if (r < 0)
        fail(run, now_usec, "%s", error.text);
    else if (r > 0 || !run->mandate->n_steps)
        run_enter(run, r > 0 ? RUN_STARTING : RUN_RUNNING, now_usec);
    return r;
}

/* A refusal says more than a silence. */
static void check_failed(struct run *run, int64_t now_usec)
{
    const struct run_host *culprit = NULL;
    json_auto_t *steps = NULL;

    EACH_HOST (run, host)
        if (run_has_due_step(run, host, now_usec) && !host->is_accepted &&
            (!culprit || (host->has_answered && !culprit->has_answered)))
            culprit = host;
    steps = run_due_steps(run, culprit->id, now_usec);
    fail(run, now_usec, "%s%s%s%s %s%s", steps ? "step " : "",
         steps ? json_string_value(json_array_get(steps, 0)) : "", steps ? " is not started: " : "",
         culprit->id, culprit->has_answered ? "would refuse: " : "did not answer", culprit->reason);
}

static void advance_checking(struct run *run, int64_t now_usec)
{
    enum outlook checked = outlook(run, now_usec, run->since_usec + RUN_CHECK_USEC, acceptance);
    struct error error;

    if (checked == OUTLOOK_OPEN)
        return;
    if (checked == OUTLOOK_NO)
        check_failed(run, now_usec);
    else if (run->started_usec && start_steps(run, now_usec) == 0)
        run_enter(run, RUN_RUNNING, now_usec); /* no longer due */
    else if (run->started_usec)
        return;
    else if (run_check_share(run, &error) < 0)
        fail(run, now_usec, "%s", error.text);
    else if (!run->n_endpoints)
        start_steps(run, now_usec);
    else if (order_observers(run, now_usec, &error) < 0)
        fail(run, now_usec, "%s", error.text);
    else
        run_enter(run, RUN_WARMING_UP, now_usec);
}

/* Blind or on a sick system nothing is started. */
static void advance_warming_up(struct run *run, int64_t now_usec)
{
    int64_t due_usec = run->since_usec + run->mandate->warmup_msec * USEC_PER_MSEC;
    bool is_late = now_usec >= later(due_usec, run->loaded_usec) + RUN_FLOW_USEC, is_flowing = true;

    if (now_usec < due_usec)
        return;
    EACH_ENDPOINT (run, endpoint) {
        const struct run_fault *watch = run_fault_of(run, endpoint->from, MANDATE_OBSERVE);
        bool is_refused = watch && watch->state >= RUN_FAULT_FAILED;

        if (is_refused || (!endpoint->n_samples && is_late)) {
            fail(run, now_usec, "%s does not watch %s%s%s", endpoint->from, endpoint->probe.name,
                 is_refused ? ": " : "", is_refused ? watch->reason : "");
            return;
        }
        if (endpoint->live.state == RECOVERY_UNHEALTHY) {
            fail(run, now_usec, "%s is unhealthy, seen from %s, before anything was started",
                 endpoint->probe.name, endpoint->from);
            return;
        }
        is_flowing &= endpoint->n_samples > 0;
    }
    if (is_flowing)
        start_steps(run, now_usec);
}

/* One that said why says more than one that was silent. */
static void start_failed(struct run *run, int64_t now_usec)
{
    const struct run_fault *culprit = NULL;

    EACH_FAULT (run, fault)
        if (run_step_is_last(run, fault->step) &&
            (fault->state >= RUN_FAULT_FAILED || (!fault->armed_usec && !culprit)))
            culprit = fault;
    if (!culprit)
        fail(run, now_usec, "not enough hosts armed");
    else if (culprit->state >= RUN_FAULT_FAILED)
        fail(run, now_usec, "%s %s: %s", culprit->host, run_fault_names[culprit->state], culprit->reason);
    else
        fail(run, now_usec, "%s did not arm %s in time", culprit->host, culprit->step->fault);
}

static void advance_starting(struct run *run, int64_t now_usec)
{
    int64_t late_usec = later(run->since_usec, run->loaded_usec) + RUN_CHECK_USEC;
    enum outlook started = outlook(run, now_usec, late_usec, arming);

    if (started == OUTLOOK_NO)
        start_failed(run, now_usec);
    else if (started == OUTLOOK_YES)
        run_enter(run, RUN_RUNNING, now_usec);
}

/* Nothing is active any more, or it has had its time since @from to say so. */
static bool is_at_rest(const struct run *run, int64_t from_usec, int64_t now_usec)
{
    bool is_active = false;

    EACH_FAULT (run, fault)
        is_active |= run_fault_is_active(fault);
    return !is_active || now_usec >= later(from_usec, run->loaded_usec) + run_proof_usec(run);
}

/* A step that waits for others starts, or ends the run, once their time for proofs is over at the latest. */
static void advance_running(struct run *run, int64_t now_usec)
{
    bool is_waiting = !run->mandate->n_steps && now_usec < run_end_usec(run);
    struct error error;
    int r = 0;

    for (size_t i = 0; i < run->mandate->n_steps && r == 0; i++) {
        r = may_start(run, &run->mandate->steps[i], now_usec, &error);
        is_waiting |= !run->steps[i].started_usec;
    }
    if (r < 0)
        fail(run, now_usec, "%s", error.text);
    else if (r > 0)
        run_begin(run, now_usec);
    else if (!is_waiting && is_at_rest(run, run_end_usec(run), now_usec))
        run_enter(run, RUN_SETTLING, now_usec);
}

static void finish(struct run *run, int64_t now_usec)
{
    run->is_over = true;
    run_say(run, now_usec, "run is over, the report is ready");
    run_store_end(run);
}

/* When the last fault was over: as proved, or, for what can't be undone, when its time is. */
static int64_t last_end_usec(const struct run *run)
{
    int64_t last_usec = run_reverted_usec(run);

    EACH_FAULT (run, fault)
        if (fault->state == RUN_FAULT_ENDED)
            last_usec = later(last_usec, fault->deadline_usec);
    return last_usec ? last_usec : run_end_usec(run);
}

/* Everybody's last word: a head that was asked for after the end shows that nothing is withheld. */
static void advance_settling(struct run *run, int64_t now_usec)
{
    int64_t from_usec = last_end_usec(run);
    bool has_heads = true;

    if (!run->finishing_usec && now_usec >= from_usec + run->mandate->settle_msec * USEC_PER_MSEC) {
        run->finishing_usec = now_usec;
        EACH_HOST (run, host) {
            host->is_head_fresh = false;
            run_nudge(run, host);
        }
    }
    EACH_HOST (run, host)
        has_heads &= host->is_head_fresh;
    if (run->finishing_usec &&
        (has_heads || now_usec >= later(run->finishing_usec, run->loaded_usec) + run_proof_usec(run))) {
        run_enter(run, RUN_DONE, now_usec);
        finish(run, now_usec);
    }
}

static void advance_stopped(struct run *run, int64_t now_usec)
{
    if (is_at_rest(run, run->since_usec, now_usec))
        finish(run, now_usec);
}

void run_advance(struct run *run, int64_t now_usec)
{
    static void (*const advance[])(struct run * run, int64_t now_usec) = {
        [RUN_CHECKING] = advance_checking, [RUN_WARMING_UP] = advance_warming_up,
        [RUN_STARTING] = advance_starting, [RUN_RUNNING] = advance_running,
        [RUN_SETTLING] = advance_settling, [RUN_DONE] = finish,
        [RUN_HALTED] = advance_stopped,    [RUN_FAILED] = advance_stopped,
    };
    enum run_state before;

    do {
        before = run->state;
        if (!run->is_over)
            advance[before](run, now_usec);
    } while (run->state != before);
}

static bool has_order(const struct run *run, const char *host)
{
    EACH_FAULT (run, fault)
        if (!strcmp(fault->host, host))
            return true;
    return false;
}

void run_order_late(struct run *run, const char *host, const json_t *labels, int64_t now_usec)
{
    const struct run_host *newborn = run_host(run, host);
    const struct mandate *mandate = run->mandate;
    size_t n_late = 0;

    if (!run->started_usec || run->state > RUN_RUNNING || !newborn || !newborn->is_replacement ||
        !labels_match(labels, mandate->late_labels))
        return;
    EACH_HOST (run, other)
        n_late += other->is_replacement && other != newborn && has_order(run, other->id);
    for (size_t i = 0; i < mandate->n_steps; i++) {
        const struct step *step = &mandate->steps[i];
        int64_t end_usec = run->steps[i].started_usec + step->duration_msec * USEC_PER_MSEC;
        struct error error;

        if (!step->takes_late_joiners || run_fault_of(run, host, step->name) || end_usec <= now_usec)
            continue;
        if ((int64_t)n_late >= mandate->late_max)
            run_note(run, now_usec, "%s joined late, but %zu late joiners are all that the mandate allows",
                     host, n_late);
        else if (order(run, host, step, now_usec, end_usec, &error) < 0)
            run_note(run, now_usec, "%s joined late, but can not be ordered: %s", host, error.text);
    }
}
