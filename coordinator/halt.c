/*
 * POST /v1/halt: a halt that any halt key signed goes to every host in its scope at once; the answer says
 * where all is gone. Stopping asks for less than starting: no client certificate, no state of a run, no
 * majority.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "runs.h"

#define HALT_AGE_USEC (600 * USEC_PER_SEC)

struct halt_host {
    char id[64];
    bool is_gone;
    int64_t ends_usec; /* last deadline of what it may still hold, 0 = nothing known */
};

struct halt_request {
    struct waiting waiting;
    struct envelope *envelope;
    struct halt *halt;
    int64_t sent_usec;
    size_t n_hosts;
    struct halt_host *hosts;
};

static void halt_clear(struct waiting *waiting)
{
    struct halt_request *request = (struct halt_request *)waiting;

    envelope_free(request->envelope);
    halt_free(request->halt);
    free(request->hosts);
}

static bool run_is_in_scope(const struct halt *halt, const struct run *run)
{
    return strcmp(halt->scope, "run") || !strcmp(halt->run, run->id);
}

/* The last deadline of what @host may still hold in scope, 0 = nothing. */
static int64_t active_until(const struct halt_request *request, const char *host)
{
    int64_t until_usec = 0;

    for (const struct run *run = request->waiting.runs->first; run; run = run->next)
        for (size_t k = 0; run_is_in_scope(request->halt, run) && k < run->n_faults; k++)
            if (!strcmp(run->faults[k].host, host) && run_fault_is_active(&run->faults[k]) &&
                run->faults[k].deadline_usec > until_usec)
                until_usec = run->faults[k].deadline_usec;
    return until_usec;
}

static bool host_is_in_run(const struct run *run, const char *host)
{
    for (size_t i = 0; i < run->n_faults; i++)
        if (!strcmp(run->faults[i].host, host))
            return true;
    return false;
}

static bool host_is_in_scope(const struct halt_request *request, const struct fleet_host *host)
{
    const struct run *run;

    if (!strcmp(request->halt->scope, "host"))
        return !strcmp(request->halt->host, host->id);
    if (!strcmp(request->halt->scope, "fleet"))
        return fleet_is_in_contact(host) || active_until(request, host->id);
    run = runs_find(request->waiting.runs, request->halt->run);
    return run && host_is_in_run(run, host->id);
}

/* One host's trouble is not the next one's. */
static void halt_host(struct halt_request *request, const struct fleet_host *host)
{
    struct halt_host *entry;
    struct error error;

    if (delivery_send(host->coordinator, host->id, request->envelope, NULL, &error) < 0)
        coordinator_say(host->coordinator, "host %s can not be halted: %s", host->id, error.text);
    entry = array_add(&request->hosts, &request->n_hosts, sizeof(*entry));
    if (!entry)
        return;
    entry->ends_usec = active_until(request, host->id);
    snprintf(entry->id, sizeof(entry->id), "%s", host->id);
}

static void reply(struct halt_request *request)
{
    json_t *unreachable = json_array();
    size_t n_gone = 0;

    for (size_t i = 0; i < request->n_hosts; i++) {
        const struct halt_host *host = &request->hosts[i];

        n_gone += host->is_gone;
        if (!host->is_gone)
            json_array_append_new(unreachable,
                                  json_pack("{s:s, s:o}", "host", host->id, "ends_at",
                                            host->ends_usec ? json_time(host->ends_usec) : json_null()));
    }
    http_reply_json(request->waiting.request, 200,
                    json_pack("{s:I, s:I, s:o}", "hosts", (json_int_t)request->n_hosts, "gone",
                              (json_int_t)n_gone, "unreachable", unreachable));
}

/* Gone: its events say so, and so does its own signature under all of them, asked for since. A courier alone
 * could say anything. */
static bool is_gone(const struct halt_request *request, const char *id)
{
    struct coordinator *coordinator = request->waiting.runs->coordinator;
    const struct fleet_host *host = fleet_find(coordinator, id);

    if (!host || host->is_suspect || active_until(request, id))
        return false;
    if (host->head_nonce_usec >= request->sent_usec && host->head_sequence >= host->sequence)
        return true;
    delivery_nudge(coordinator, id);
    return false;
}

static bool halt_advance(struct waiting *waiting, int64_t now_usec)
{
    struct halt_request *request = (struct halt_request *)waiting;
    bool is_complete = true;

    for (size_t i = 0; i < request->n_hosts; i++) {
        request->hosts[i].is_gone |= is_gone(request, request->hosts[i].id);
        is_complete &= request->hosts[i].is_gone;
    }
    if (!is_complete && now_usec < request->sent_usec + RUN_PROOF_USEC)
        return false;
    reply(request);
    return true;
}

static int check_halt(struct halt_request *request, const char *text, size_t length, int64_t now_usec,
                      struct error *error)
{
    int64_t age_usec;
    int r;

    r = envelope_parse(&request->envelope, "halt", ENVELOPE_HALT, text, length, error);
    if (r < 0)
        return r;
    r = roots_require(request->waiting.runs->coordinator->roots, request->envelope, ROOTS_HALT, 1, now_usec,
                      error);
    if (r < 0)
        return error_wrap(error, "this key may not halt");
    r = halt_parse(&request->halt, request->envelope->payload, request->envelope->payload_length, error);
    if (r < 0)
        return r;
    age_usec = now_usec - request->halt->issued_usec;
    if (now_usec > request->halt->expires_usec || age_usec > HALT_AGE_USEC || age_usec < -HALT_AHEAD_USEC)
        return error_set(error, EKEYEXPIRED,
                         "the halt was signed %" PRId64
                         " s %s by this coordinator's clock: is that of who signed it "
                         "right?",
                         (int64_t)(llabs(age_usec) / USEC_PER_SEC), age_usec < 0 ? "in the future" : "ago");
    if (!strcmp(request->halt->scope, "host") &&
        !fleet_find(request->waiting.runs->coordinator, request->halt->host))
        return error_set(error, ENOENT, "there is no host %s; `grivet hosts` lists them",
                         request->halt->host);
    if (!strcmp(request->halt->scope, "run") && !runs_find(request->waiting.runs, request->halt->run))
        return error_set(error, ENOENT, "no run %s is under way; `grivet status` lists them",
                         request->halt->run);
    return 0;
}

static const char *signer(const struct halt_request *request)
{
    const struct roots *roots = request->waiting.runs->coordinator->roots;

    for (size_t i = 0; i < roots->n_keys; i++)
        if (roots->keys[i].roles & ROOTS_HALT &&
            envelope_is_signed_by(request->envelope, &roots->keys[i].key))
            return roots->keys[i].person;
    return "somebody";
}

int runs_handle_halt(struct coordinator *coordinator, struct http_request *http, struct error *error)
{
    struct halt_request *request = calloc(1, sizeof(*request));
    int64_t now_usec = time_now_usec();
    struct fleet_host *host;
    int r;

    if (!request)
        return error_oom(error);
    request->waiting = (struct waiting){
        .runs = coordinator->runs, .request = http, .advance = halt_advance, .clear = halt_clear};
    request->sent_usec = now_usec;
    r = check_halt(request, http->body, http->length, now_usec, error);
    if (r < 0) {
        halt_clear(&request->waiting);
        free(request);
        return r;
    }
    for (size_t i = 0; (host = fleet_at(coordinator, i)); i++)
        if (host_is_in_scope(request, host))
            halt_host(request, host);
    for (struct run *run = coordinator->runs->first; run && strcmp(request->halt->scope, "host");
         run = run->next)
        if (run_is_in_scope(request->halt, run))
            run_halt(run, signer(request), now_usec);
    runs_wait(&request->waiting);
    return 0;
}
