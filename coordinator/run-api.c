/* What operators ask of runs: start, list, status, progress (held until there is news), report, mandate. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "runs.h"

#define PROGRESS_HOLD_USEC (25 * USEC_PER_SEC)
#define PROGRESS_LINES_MAX 500

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
                    "SELECT count(*) FROM runs WHERE mandate = ? AND (is_started OR NOT is_over)", "s",
                    mandate->hash);
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
    *ret = run;
    return runs_add(coordinator->runs, TAKE_PTR(run), error);
}

void runs_handle_start(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct error error;
    struct run *run = NULL;

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
    runs_fill_hosts(run);
    run_begin(run, time_now_usec());
    http_reply_json(request, 200, json_pack("{s:s}", "run", run->id));
    runs_wake(coordinator->runs);
}

/* A run from memory as long as it is under way, else as it was stored at its end; all owned. */
struct found {
    struct runs *runs;
    json_t *list, *status, *lines, *report;
};

static int take_run(void *context, const struct store_row *row)
{
    struct found *found = context;
    const struct run *run = runs_find(found->runs, store_text(row, 0));

    if (run && !run_is_over(run)) {
        found->status = report_status(run);
        found->lines = json_incref(run->lines);
    } else {
        found->status = json_loads(store_text(row, 1), 0, NULL);
        found->lines = json_loads(store_text(row, 2), 0, NULL);
        found->report = json_loads(store_text(row, 3), 0, NULL);
    }
    return 0;
}

/* Return: is there such a run? If not, @request is answered. */
static bool find_run(struct runs *runs, const char *id, struct http_request *request, struct found *ret)
{
    *ret = (struct found){.runs = runs};
    if (store_query(runs->coordinator->store, take_run, ret, NULL,
                    "SELECT id, status, lines, report FROM runs WHERE id = ?", "s", id) == 0 &&
        ret->status)
        return true;
    if (!coordinator_refuses(runs->coordinator, request))
        http_reply_error(request, 404, "there is no run %.40s", id);
    return false;
}

static void found_clear(struct found *found)
{
    json_decref(found->status);
    json_decref(found->lines);
    json_decref(found->report);
}

static int append_status(void *context, const struct store_row *row)
{
    struct found *found = context;

    take_run(found, row);
    json_array_append(found->list, found->status);
    found_clear(found);
    return 0;
}

void runs_handle_list(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct found found = {.runs = coordinator->runs, .list = json_array()};

    if (store_query(coordinator->store, append_status, &found, NULL,
                    "SELECT id, status, '', '' FROM runs ORDER BY id DESC LIMIT 100", "") < 0) {
        json_decref(found.list);
        http_reply_error(request, 500, "the store does not answer");
        return;
    }
    http_reply_json(request, 200, found.list);
}

void runs_handle_status(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct found found;

    if (!find_run(coordinator->runs, request->argument, request, &found))
        return;
    http_reply_json(request, 200, json_incref(found.status));
    found_clear(&found);
}

void runs_handle_report(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct found found;

    if (!find_run(coordinator->runs, request->argument, request, &found))
        return;
    if (found.report)
        http_reply_json(request, 200, json_incref(found.report));
    else
        http_reply_error(request, 409, "the run is not over yet, it is %s",
                         json_string_value(json_object_get(found.status, "state")));
    found_clear(&found);
}

static int take_text(void *context, const struct store_row *row)
{
    *(char **)context = strdup(store_text(row, 0));
    return 0;
}

void runs_handle_mandate(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    _cleanup_free_ char *text = NULL;

    store_query(coordinator->store, take_text, &text, NULL, "SELECT envelope FROM mandates WHERE hash = ?",
                "s", request->argument);
    if (text)
        http_reply_text(request, 200, text);
    else
        http_reply_error(request, 404, "there is no such mandate");
}

struct progress_request {
    struct waiting waiting;
    char run[UUID_TEXT_MAX];
    size_t after;
    int64_t until_usec;
    char state[16]; /* as it was when the request came */
};

static void progress_reply(struct progress_request *progress)
{
    struct found found;
    json_t *lines = json_array();
    size_t n;

    if (find_run(progress->waiting.runs, progress->run, progress->waiting.request, &found)) {
        n = json_array_size(found.lines);
        for (size_t i = progress->after; i < n && i < progress->after + PROGRESS_LINES_MAX; i++)
            json_array_append(lines, json_array_get(found.lines, i));
        /* over only when nothing is left to read */
        http_reply_json(progress->waiting.request, 200,
                        json_pack("{s:O, s:O, s:b}", "lines", lines, "state",
                                  json_object_get(found.status, "state"), "is_over",
                                  json_is_true(json_object_get(found.status, "is_over")) &&
                                      n <= progress->after + PROGRESS_LINES_MAX));
        found_clear(&found);
    }
    json_decref(lines);
}

static bool progress_advance(struct waiting *waiting, int64_t now_usec)
{
    struct progress_request *progress = (struct progress_request *)waiting;
    const struct run *run = runs_find(waiting->runs, progress->run);

    if (run && !run_is_over(run) && json_array_size(run->lines) <= progress->after &&
        !strcmp(run_state_name(run->state), progress->state) && now_usec < progress->until_usec)
        return false;
    progress_reply(progress);
    return true;
}

void runs_handle_progress(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    const char *id = request->argument;
    struct progress_request *progress = calloc(1, sizeof(*progress));
    const struct run *run = runs_find(coordinator->runs, id);
    int64_t after = http_query_integer(request, "after", 0);

    if (!progress) {
        http_reply_error(request, 503, "out of memory");
        return;
    }
    progress->waiting =
        (struct waiting){.runs = coordinator->runs, .request = request, .advance = progress_advance};
    progress->after = after > 0 && after < INT32_MAX ? (size_t)after : 0;
    progress->until_usec = time_now_usec() + PROGRESS_HOLD_USEC;
    snprintf(progress->run, sizeof(progress->run), "%s", id);
    snprintf(progress->state, sizeof(progress->state), "%s", run ? run_state_name(run->state) : "");
    runs_wait(&progress->waiting);
}
