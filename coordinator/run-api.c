/* What operators ask of runs: start, list, status, progress (held until there is news), report, mandate. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runs.h"

#define PROGRESS_HOLD_USEC (25 * USEC_PER_SEC)

/* Of those that were started or still may be; -errno */
static int64_t count_runs(struct coordinator *coordinator, const struct mandate *mandate, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, error,
        "SELECT count(*) FROM runs WHERE mandate = ? AND (is_started OR NOT is_over)", "s", mandate->hash);
    int r = store_next(row, error);

    return r < 0 ? r : store_integer(row, 0);
}

/* What the coordinator can judge; each host judges again, and more strictly. */
static int check_mandate(struct coordinator *coordinator, const struct envelope *envelope,
                         const struct mandate *mandate, int64_t now_usec, struct error *error)
{
    char text[TIME_TEXT_MAX];
    int64_t n_runs;
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
    n_runs = count_runs(coordinator, mandate, error);
    if (n_runs >= mandate->max_runs)
        return error_set(error, EEXIST, "the mandate allows %lld run%s, and that many were started",
                         (long long)mandate->max_runs, mandate->max_runs == 1 ? "" : "s");
    return n_runs < 0 ? (int)n_runs : 0;
}

int runs_handle_start(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    _cleanup_(run_freep) struct run *run = NULL;
    int64_t now_usec = time_now_usec();
    char id[UUID_TEXT_MAX];
    int r;

    r = envelope_parse(&envelope, "mandate", ENVELOPE_MANDATE, request->body, request->length, error);
    if (r == 0)
        r = mandate_parse(&mandate, envelope->payload, envelope->payload_length, error);
    if (r == 0)
        r = check_mandate(coordinator, envelope, mandate, now_usec, error);
    if (r == 0)
        r = run_new(&run, uuid_new(id), TAKE_PTR(mandate), now_usec, coordinator, error);
    if (r == 0)
        r = runs_store_mandate(coordinator, envelope, error);
    if (r == 0)
        r = runs_store_insert(run, error);
    if (r < 0)
        return r;
    runs_add(coordinator->runs, run);
    run_look(run);
    run_begin(TAKE_PTR(run), now_usec);
    http_reply_json(request, 200, json_pack("{s:s}", "run", id));
    runs_wake(coordinator->runs);
    return 0;
}

/* {status, lines, report?}: from memory as long as the run is under way, else as it was stored at its end. */
static json_t *take_run(struct runs *runs, const struct store_row *row)
{
    const struct run *run = runs_find(runs, store_text(row, 0));

    if (run && !run->is_over)
        return json_pack("{s:o, s:O}", "status", report_status(run), "lines", run->lines);
    return json_pack("{s:o, s:o, s:o*}", "status", json_loads(store_text(row, 1), 0, NULL), "lines",
                     json_loads(store_text(row, 2), 0, NULL), "report",
                     json_loads(store_text(row, 3), 0, NULL));
}

/* The same of one run; NULL with ENOENT, or EROFS when what was rolled back may have been it. */
static json_t *find_run(struct coordinator *coordinator, const char *id, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, NULL, "SELECT id, status, lines, report FROM runs WHERE id = ?", "s", id);
    const char *failure = store_failure(coordinator->store);
    json_t *found = store_next(row, NULL) > 0 ? take_run(coordinator->runs, row) : NULL;

    if (!found && failure)
        error_set(error, EROFS, "%s", failure);
    else if (!found)
        error_set(error, ENOENT, "there is no run %.40s", id);
    return found;
}

int runs_handle_list(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, error, "SELECT id, status, '[]', '' FROM runs ORDER BY id DESC LIMIT 100", "");
    json_auto_t *list = json_array();
    int r;

    while ((r = store_next(row, error)) > 0) {
        json_auto_t *found = take_run(coordinator->runs, row);

        json_array_append(list, json_object_get(found, "status"));
    }
    if (r == 0)
        http_reply_json(request, 200, json_incref(list));
    return r;
}

int runs_handle_status(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    json_auto_t *found = find_run(coordinator, request->argument, error);

    if (!found)
        return -error->code;
    http_reply_json(request, 200, json_incref(json_object_get(found, "status")));
    return 0;
}

int runs_handle_report(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    json_auto_t *found = find_run(coordinator, request->argument, error);
    json_t *report = json_object_get(found, "report");

    if (!found)
        return -error->code;
    if (!report)
        return error_set(error, EBUSY, "the run is not over yet, it is %s",
                         json_text(json_object_get(found, "status"), "state"));
    http_reply_json(request, 200, json_incref(report));
    return 0;
}

int runs_handle_mandate(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, error, "SELECT envelope FROM mandates WHERE hash = ?", "s", request->argument);
    int r = store_next(row, error);

    if (r <= 0)
        return r < 0 ? r : error_set(error, ENOENT, "there is no such mandate");
    http_reply_text(request, store_text(row, 0));
    return 0;
}

struct progress_request {
    struct waiting waiting;
    char run[UUID_TEXT_MAX];
    size_t after;
    int64_t until_usec;
};

static void progress_reply(struct progress_request *progress)
{
    struct http_request *request = progress->waiting.request;
    struct error error;
    json_auto_t *found = find_run(progress->waiting.runs->coordinator, progress->run, &error);
    const json_t *status = json_object_get(found, "status");
    json_t *lines = json_array(), *line;
    size_t i;

    json_array_foreach(json_object_get(found, "lines"), i, line) if (i >= progress->after)
        json_array_append(lines, line);
    if (found)
        http_reply_json(request, 200,
                        json_pack("{s:O, s:O, s:O}", "lines", lines, "state",
                                  json_object_get(status, "state"), "is_over",
                                  json_object_get(status, "is_over")));
    else
        http_reply_failure(request, &error);
    json_decref(lines);
}

/* A run that is in another state has said so. */
static bool progress_advance(struct waiting *waiting, int64_t now_usec)
{
    struct progress_request *progress = (struct progress_request *)waiting;
    const struct run *run = runs_find(waiting->runs, progress->run);

    if (run && !run->is_over && json_array_size(run->lines) <= progress->after &&
        now_usec < progress->until_usec)
        return false;
    progress_reply(progress);
    return true;
}

int runs_handle_progress(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct progress_request *progress = calloc(1, sizeof(*progress));
    int64_t after = http_query_integer(request, "after", 0);

    if (!progress)
        return error_oom(error);
    progress->waiting =
        (struct waiting){.runs = coordinator->runs, .request = request, .advance = progress_advance};
    progress->after = after > 0 && after < INT32_MAX ? (size_t)after : 0;
    progress->until_usec = time_now_usec() + PROGRESS_HOLD_USEC;
    snprintf(progress->run, sizeof(progress->run), "%s", request->argument);
    runs_wait(&progress->waiting);
    return 0;
}
