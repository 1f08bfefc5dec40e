/* What the coordinator signs about runs: asks, orders, and halts of its own. */
#include <stdio.h>
#include <string.h>

#include "runs.h"

/* With the coordinator's order key, into the host's queue; takes over @payload. */
static int send_sealed(struct coordinator *coordinator, const char *host, enum envelope_kind kind,
                       json_t *payload, const char *mandate_hash, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    int r = coordinator_seal(coordinator, kind, payload, &envelope, error);

    return r < 0 ? r : delivery_send(coordinator, host, envelope, mandate_hash, error);
}

int runs_send_ask(struct coordinator *coordinator, const char *host, const char *mandate_hash,
                  const char *purpose, int64_t now_usec, char ret_id[UUID_TEXT_MAX], struct error *error)
{
    json_t *payload =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:o, s:o}", "schema", "grivet.ask/1", "id", uuid_new(ret_id),
                  "purpose", purpose, "mandate", mandate_hash, "host", host, "issued_at", json_time(now_usec),
                  "expires_at", json_time(now_usec + 600 * USEC_PER_SEC));

    return send_sealed(coordinator, host, ENVELOPE_ASK, payload, mandate_hash, error);
}

int runs_send_order(struct coordinator *coordinator, const struct run *run, const struct run_fault *fault,
                    struct error *error)
{
    int64_t before_usec = fault->started_usec + RUN_WINDOW_USEC;
    json_t *payload = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o}", "schema", "grivet.order/1", "id", fault->order,
        "mandate", run->mandate->hash, "step", fault->step ? fault->step->name : MANDATE_OBSERVE, "run",
        run->id, "host", fault->host, "step_started_at", json_time(fault->started_usec), "start_before",
        json_time(before_usec < fault->deadline_usec ? before_usec : fault->deadline_usec), "end_at",
        json_time(fault->deadline_usec));

    return send_sealed(coordinator, fault->host, ENVELOPE_ORDER, payload, run->mandate->hash, error);
}

int runs_seal_halt(struct coordinator *coordinator, const char *run, int64_t now_usec, struct envelope **ret,
                   struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ char *text = NULL;
    char id[UUID_TEXT_MAX];
    json_t *payload;
    int r;

    payload = json_pack("{s:s, s:s, s:s, s:s, s:o, s:o}", "schema", "grivet.halt/1", "id", uuid_new(id),
                        "scope", "run", "run", run, "issued_at", json_time(now_usec), "expires_at",
                        json_time(now_usec + 600 * USEC_PER_SEC));
    text = payload ? json_dumps(payload, JSON_COMPACT) : NULL;
    json_decref(payload);
    if (!text)
        return error_oom(error);
    r = envelope_new(&envelope, ENVELOPE_HALT, text, strlen(text), error);
    if (r < 0)
        return r;
    r = envelope_sign(envelope, coordinator->halt_key, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(envelope);
    return 0;
}
