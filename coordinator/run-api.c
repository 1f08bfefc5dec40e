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

static int start_run(struct coordinator *coordinator, const char *text, size_t length, struct run **ret,
                     struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    _cleanup_(run_freep) struct run *run = NULL;
    int64_t now_usec = time_now_usec();
    char id[UUID_TEXT_MAX];
    int r;

    r = envelope_parse(&envelope, "mandate", ENVELOPE_MANDATE, text, length, error);
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
    *ret = TAKE_PTR(run);
    return 0;
}

int runs_handle_start(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct run *run = NULL;
    int r = start_run(coordinator, request->body, request->length, &run, error);

    if (r < 0)
        return r;
    run_look(run);
    run_begin(run, time_now_usec());
    http_reply_json(request, 200, json_pack("{s:s}", "run", run->id));
    runs_wake(coordinator->runs);
    return 0;
}

/* A run from memory as long as it is under way, else as it was stored at its end; all owned. */
struct found {
    json_t *status, *lines, *report;
};

static void found_clear(struct found *found)
{
    json_decref(found->status);
    json_decref(found->lines);
    json_decref(found->report);
}

static void take_run(struct runs *runs, const struct store_row *row, struct found *ret)
{
    const struct run *run = runs_find(runs, store_text(row, 0));

    if (run && !run->is_over)
        *ret = (struct found){report_status(run), json_incref(run->lines), NULL};
    else
        *ret =
            (struct found){json_loads(store_text(row, 1), 0, NULL), json_loads(store_text(row, 2), 0, NULL),
                           json_loads(store_text(row, 3), 0, NULL)};
}

/* @ret: to be cleared. Return: 0, -ENOENT; -EROFS when what was rolled back may have been it */
static int find_run(struct coordinator *coordinator, const char *id, struct found *ret, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, NULL, "SELECT id, status, lines, report FROM runs WHERE id = ?", "s", id);
    const char *failure = store_failure(coordinator->store);

    if (store_next(row, NULL) > 0) {
        take_run(coordinator->runs, row, ret);
        if (ret->status)
            return 0;
        found_clear(ret);
    }
    return failure ? error_set(error, EROFS, "%s", failure)
                   : error_set(error, ENOENT, "there is no run %.40s", id);
}

int runs_handle_list(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, error, "SELECT id, status, '', '' FROM runs ORDER BY id DESC LIMIT 100", "");
    json_auto_t *list = json_array();
    struct found found;
    int r;

    while ((r = store_next(row, error)) > 0) {
        take_run(coordinator->runs, row, &found);
        json_array_append(list, found.status);
        found_clear(&found);
    }
    if (r == 0)
        http_reply_json(request, 200, json_incref(list));
    return r;
}

int runs_handle_status(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct found found;
    int r = find_run(coordinator, request->argument, &found, error);

    if (r < 0)
        return r;
    http_reply_json(request, 200, json_incref(found.status));
    found_clear(&found);
    return 0;
}

int runs_handle_report(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct found found;
    int r = find_run(coordinator, request->argument, &found, error);

    if (r < 0)
        return r;
    if (found.report)
        http_reply_json(request, 200, json_incref(found.report));
    else
        r = error_set(error, EBUSY, "the run is not over yet, it is %s", json_text(found.status, "state"));
    found_clear(&found);
    return r;
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
    json_t *lines = json_array();
    struct found found;
    struct error error;

    if (find_run(progress->waiting.runs->coordinator, progress->run, &found, &error) < 0) {
        http_reply_failure(request, &error);
    } else {
        for (size_t i = progress->after; i < json_array_size(found.lines); i++)
            json_array_append(lines, json_array_get(found.lines, i));
        http_reply_json(request, 200,
                        json_pack("{s:O, s:O, s:O}", "lines", lines, "state",
                                  json_object_get(found.status, "state"), "is_over",
                                  json_object_get(found.status, "is_over")));
        found_clear(&found);
    }
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
