/* POST /v1/runs: a signed mandate becomes a run. The answer comes when the run is in the store. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runs.h"

static int take_count(void *context, const struct store_row *row)
{
    *(int64_t *)context = store_integer(row, 0);
    return 0;
}

/* What the coordinator can judge; each host judges again, and more strictly. */
static int check_mandate(struct coordinator *coordinator, const struct envelope *envelope,
                         const struct mandate *mandate, int64_t now_usec, struct error *error)
{
    char text[TIME_TEXT_MAX];
    int64_t n_runs = 0;
    int r;

    r = roots_require(coordinator->roots, envelope, ROOTS_APPROVE, 1, now_usec, error);
    if (r < 0)
        return r;
    if (strcmp(mandate->environment, coordinator->config.environment))
        return error_set(error, EACCES, "the mandate is for environment %s, this coordinator's is %s",
                         mandate->environment, coordinator->config.environment);
    if (now_usec < mandate->not_before_usec)
        return error_set(error, EACCES, "the mandate is valid from %s on",
                         time_format(mandate->not_before_usec, text));
    if (now_usec > mandate->not_after_usec)
        return error_set(error, EKEYEXPIRED, "the mandate was valid until %s",
                         time_format(mandate->not_after_usec, text));
    r = store_query(coordinator->store, take_count, &n_runs, error,
                    "SELECT count(*) FROM runs WHERE mandate = ? AND (coalesce(started, 0) > 0 OR"
                    " coalesce(over, 0) = 0)",
                    "s", mandate->hash);
    if (r == 0 && n_runs >= mandate->max_runs)
        return error_set(error, EEXIST, "the mandate allows %lld run%s, and that many were started",
                         (long long)mandate->max_runs, mandate->max_runs == 1 ? "" : "s");
    return r;
}

static int start_run(struct coordinator *coordinator, const char *text, size_t length, struct run **ret,
                     struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    int64_t now_usec = time_now_usec();
    char id[UUID_TEXT_MAX];
    struct run *run;
    int r;

    r = envelope_parse(&envelope, "mandate", ENVELOPE_MANDATE, text, length, error);
    if (r == 0)
        r = mandate_parse(&mandate, envelope->payload, envelope->payload_length, error);
    if (r == 0)
        r = check_mandate(coordinator, envelope, mandate, now_usec, error);
    if (r == 0)
        r = run_new(&run, uuid_new(id), TAKE_PTR(mandate), now_usec, &runs_actions, coordinator, error);
    if (r < 0)
        return r;
    r = runs_add(coordinator->runs, run, error);
    if (r < 0)
        return r;
    runs_fill_hosts(run);
    r = runs_store_mandate(coordinator, envelope, error);
    if (r == 0)
        r = runs_store_insert(run, error);
    if (r < 0) {
        run->over_usec = now_usec; /* swept by the next runs_wake() */
        return r;
    }
    *ret = run;
    return 0;
}

void runs_handle_start(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct error error;
    struct run *run;

    if (coordinator_refuses(coordinator, request))
        return;
    if (start_run(coordinator, request->body, request->length, &run, &error) < 0) {
        http_reply_error(request,
                         error.code == EEXIST   ? 409
                         : error.code == EROFS  ? 503
                         : error.code == EINVAL ? 422
                                                : 403,
                         "%s", error.text);
        return;
    }
    run_begin(run, time_now_usec());
    coordinator_reply_later(coordinator, request, 200, json_pack("{s:s}", "run", run->id));
    runs_wake(coordinator->runs);
}
