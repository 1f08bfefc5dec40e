/*
 * What a run does to the world: it asks, orders and halts hosts under the coordinator's keys, and writes what
 * has to last. A store that fails ends all deciding at the commit (see runs_wake()), so errors of single
 * writes are nobody's.
 */
#include <stdio.h>
#include <string.h>

#include "runs.h"

/* Signed, and queued for the host; takes over @payload. */
static int send_to(const struct run *run, const char *host, enum envelope_kind kind, json_t *payload,
                   struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    int r = coordinator_seal(run->coordinator, kind, payload, &envelope, error);

    return r < 0 ? r
                 : delivery_send(run->coordinator, host, envelope,
                                 kind == ENVELOPE_HALT ? NULL : run->mandate->hash, error);
}

void run_ask(struct run *run, struct run_host *host, const char *purpose, int64_t now_usec)
{
    json_t *payload =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*, s:o*, s:o, s:o}", "schema", "grivet.ask/1", "id",
                  uuid_new(host->ask), "purpose", purpose, "mandate", run->mandate->hash, "host", host->id,
                  "run", *run->id ? run->id : NULL, "steps", run_due_steps(run, host->id, now_usec),
                  "issued_at", json_time(now_usec), "expires_at", json_time(now_usec + RUN_PAPER_USEC));
    struct error error;

    if (send_to(run, host->id, ENVELOPE_ASK, payload, &error) == 0)
        return;
    host->has_answered = true;
    snprintf(host->reason, sizeof(host->reason), "%.*s", (int)sizeof(host->reason) - 1, error.text);
}

int run_send_order(struct run *run, const struct run_fault *fault, struct error *error)
{
    int64_t before_usec = fault->started_usec + RUN_WINDOW_USEC;
    json_t *payload = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "schema", "grivet.order/1", "id", fault->order,
        "mandate", run->mandate->hash, "step", fault->step ? fault->step->name : MANDATE_OBSERVE, "run",
        run->id, "host", fault->host, "step_started_at", json_time(fault->started_usec), "start_before",
        json_time(before_usec < fault->deadline_usec ? before_usec : fault->deadline_usec), "end_at",
        json_time(fault->deadline_usec));

    return send_to(run, fault->host, ENVELOPE_ORDER, payload, error);
}

static bool is_ordered(const struct run *run, const char *host)
{
    EACH_ORDER (run, fault)
        if (!strcmp(fault->host, host))
            return true;
    return false;
}

void run_send_halt(struct run *run, int64_t now_usec)
{
    EACH_HOST (run, host) {
        char id[UUID_TEXT_MAX];
        struct error error;

        if (is_ordered(run, host->id) &&
            send_to(run, host->id, ENVELOPE_HALT,
                    json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "schema", "grivet.halt/1", "id", uuid_new(id),
                              "scope", "run", "run", run->id, "issued_at", json_time(now_usec), "expires_at",
                              json_time(now_usec + RUN_PAPER_USEC)),
                    &error) < 0)
            run_note(run, now_usec, "%s can not be halted: %s", host->id, error.text);
    }
}

void run_nudge(struct run *run, const struct run_host *host)
{
    delivery_nudge(run->coordinator, host->id);
}

/* A head counts when it was asked for after the end, and everything up to it is in the store. */
void run_look(struct run *run)
{
    EACH_HOST (run, host) {
        const struct fleet_host *known = fleet_find(run->coordinator, host->id);

        if (!known)
            continue;
        snprintf(host->group, sizeof(host->group), "%s", json_text(known->labels, "group"));
        snprintf(host->address, sizeof(host->address), "%s", known->address);
        host->is_suspect = known->is_suspect;
        host->is_head_fresh = run->finishing_usec && known->head_nonce_usec >= run->finishing_usec &&
                              known->sequence >= known->head_sequence && !known->is_suspect;
        if (known->has_clock && !host->has_clock) {
            host->has_clock = true;
            host->clock_offset_usec = known->clock_offset_usec;
            host->clock_bound_usec = known->clock_bound_usec;
        }
    }
}

size_t run_group_size(const struct run *run, const char *group)
{
    const struct fleet_host *host;
    size_t count = 0;

    for (size_t i = 0; (host = fleet_at(run->coordinator, i)); i++)
        count += fleet_is_in_contact(host) && !strcmp(json_text(host->labels, "group"), group);
    return count;
}

/* Among the events of the hosts, whose names hold no slash: so all of them stay in one order. What only plans
 * is no run. */
void run_store_record(const struct run *run, int64_t at_usec, const char *kind, const char *line)
{
    char place[sizeof(run->id) + 4];

    if (!*run->id)
        return;
    snprintf(place, sizeof(place), "run/%s", run->id);
    store_write(
        run->coordinator->store, NULL,
        "INSERT INTO events (host, sequence, hash, line, run, kind, at) VALUES (?, ?, '', ?, ?, ?, ?)",
        "sisssi", place, run->n_records, line, run->id, kind, at_usec);
}

void run_store_end(struct run *run)
{
    _cleanup_free_ char *report_text = NULL, *status_text = NULL;
    _cleanup_free_ char *lines = json_dumps(run->lines, 0);
    json_auto_t *report = NULL, *status = NULL;
    struct balancer_budget budgets[16];

    run->budgets =
        report_budgets(budgets, balancers_budgets(run->coordinator->balancers, budgets, ARRAY_SIZE(budgets)));
    report = report_build(run);
    status = report_status(run);
    status_text = json_dumps(status, 0);
    report_text = json_dumps(report, JSON_INDENT(2));
    store_write(run->coordinator->store, NULL,
                "UPDATE runs SET is_started = ?, is_over = 1, status = ?, lines = ?, report = ? WHERE id = ?",
                "issss", (int64_t)(run->started_usec > 0), status_text, lines, report_text, run->id);
}
