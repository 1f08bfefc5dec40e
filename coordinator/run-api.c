/* What operators ask about runs: list, status, progress (held until there is news), report, mandate. */
#include <stdio.h>
#include <string.h>

#include "runs.h"

#define PROGRESS_HOLD_USEC (25 * USEC_PER_SEC)
#define PROGRESS_LINES_MAX 500

struct progress_request {
    struct waiting waiting;
    char run[UUID_TEXT_MAX];
    int64_t after, until_usec;
    char state[16]; /* as it was when the request came */
};

static const char run_columns[] =
    "SELECT id, experiment, state, since, coalesce(verdict, ''), coalesce(over, 0),"
    " coalesce(report, ''), reason FROM runs ";

static json_t *status_row(const struct store_row *row)
{
    json_t *status =
        json_pack("{s:s, s:s, s:s, s:o, s:b, s:s}", "run", store_text(row, 0), "experiment",
                  store_text(row, 1), "state", store_text(row, 2), "since", json_time(store_integer(row, 3)),
                  "is_over", store_integer(row, 5) != 0, "reason", store_text(row, 7));

    if (*store_text(row, 4))
        json_object_set_new(status, "verdict", json_string(store_text(row, 4)));
    return status;
}

static int append_status(void *context, const struct store_row *row)
{
    json_array_append_new(context, status_row(row));
    return 0;
}

void runs_handle_list(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    json_t *list = json_array();
    _cleanup_free_ char *sql = NULL;
    struct error error;

    if (asprintf(&sql, "%sORDER BY id DESC LIMIT 100", run_columns) < 0 ||
        store_query(coordinator->store, append_status, list, &error, sql, "") < 0) {
        json_decref(list);
        http_reply_error(request, 500, "the store does not answer");
        return;
    }
    http_reply_json(request, 200, list);
}

struct run_row {
    json_t *status, *report;
};

static int take_row(void *context, const struct store_row *row)
{
    struct run_row *ret = context;

    ret->status = status_row(row);
    if (*store_text(row, 6))
        ret->report = json_loads(store_text(row, 6), 0, NULL);
    return 0;
}

/* Return: is there such a run? */
static bool find_row(struct coordinator *coordinator, const char *id, struct run_row *ret)
{
    char sql[sizeof(run_columns) + 32];

    *ret = (struct run_row){};
    snprintf(sql, sizeof(sql), "%sWHERE id = ?", run_columns);
    return store_query(coordinator->store, take_row, ret, NULL, sql, "s", id) == 0 && ret->status;
}

static json_t *report_suspects(const json_t *report)
{
    json_t *list = json_array(), *host;
    size_t i;

    json_array_foreach(json_object_get(report, "clocks"), i, host)
    {
        if (json_is_true(json_object_get(host, "is_suspect")))
            json_array_append(list, json_object_get(host, "host"));
    }
    return list;
}

static void add_live(json_t *status, const struct run *run)
{
    json_t *hosts = json_object_get(status, "hosts"), *endpoints = json_object_get(status, "endpoints");

    for (size_t i = 0; i < run->n_faults; i++) {
        const struct run_fault *fault = &run->faults[i];

        json_array_append_new(hosts, json_pack("{s:s, s:s, s:s, s:o}", "host", fault->host, "step",
                                               fault->step ? fault->step->name : MANDATE_OBSERVE, "state",
                                               run_fault_state_name(fault->state), "deadline",
                                               json_time(fault->deadline_usec)));
    }
    for (size_t i = 0; i < run->n_endpoints; i++)
        json_array_append_new(endpoints, json_pack("{s:s, s:s, s:s}", "name", run->endpoints[i].probe.name,
                                                   "from", run->endpoints[i].from, "state",
                                                   recovery_state_name(run->endpoints[i].live.state)));
    for (size_t i = 0; i < run->n_hosts; i++)
        if (run->hosts[i].is_suspect)
            json_array_append_new(json_object_get(status, "suspects"), json_string(run->hosts[i].id));
    if (run->started_usec)
        json_object_set_new(status, "ends_at", json_time(run_end_usec(run)));
}

/* From a report only what the status says too. */
static json_t *pick(const json_t *list, const char *const *keys)
{
    json_t *ret = json_array(), *item, *short_item;
    size_t i;

    json_array_foreach(list, i, item)
    {
        short_item = json_object();
        for (const char *const *key = keys; *key; key++)
            if (json_object_get(item, *key))
                json_object_set(short_item, *key, json_object_get(item, *key));
        json_array_append_new(ret, short_item);
    }
    return ret;
}

void runs_handle_status(void *context, struct http_request *request)
{
    static const char *const host_keys[] = {"host", "step", "state", "deadline", NULL};
    static const char *const endpoint_keys[] = {"name", "from", "state", NULL};
    struct coordinator *coordinator = context;
    const char *id = request->argument;
    struct run *run = runs_find(coordinator->runs, id);
    struct run_row row;

    if (!find_row(coordinator, id, &row)) {
        http_reply_error(request, 404, "there is no run %.40s", id);
        return;
    }
    json_object_set_new(row.status, "ends_at", json_null());
    json_object_set_new(row.status, "hosts", pick(json_object_get(row.report, "faults"), host_keys));
    json_object_set_new(row.status, "endpoints",
                        pick(json_object_get(row.report, "endpoints"), endpoint_keys));
    json_object_set_new(row.status, "suspects", report_suspects(row.report));
    if (run && !run_is_over(run))
        add_live(row.status, run);
    json_decref(row.report);
    http_reply_json(request, 200, row.status);
}

void runs_handle_report(void *context, struct http_request *request)
{
    const char *id = request->argument;
    struct run_row row;

    if (!find_row(context, id, &row)) {
        http_reply_error(request, 404, "there is no run %.40s", id);
        return;
    }
    if (row.report)
        http_reply_json(request, 200, row.report);
    else
        http_reply_error(request, 409, "the run is not over yet, it is %s",
                         json_string_value(json_object_get(row.status, "state")));
    json_decref(row.status);
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

static int append_line(void *context, const struct store_row *row)
{
    json_array_append_new(context, json_pack("{s:I, s:o, s:s}", "n", (json_int_t)store_integer(row, 0), "at",
                                             json_time(store_integer(row, 1)), "text", store_text(row, 2)));
    return 0;
}

static void progress_reply(struct progress_request *progress)
{
    struct coordinator *coordinator = progress->waiting.runs->coordinator;
    json_t *lines = json_array(), *body;
    struct run_row row;

    store_query(coordinator->store, append_line, lines, NULL,
                "SELECT n, at, text FROM run_lines WHERE run = ? AND n > ? ORDER BY n LIMIT ?", "sii",
                progress->run, progress->after, (int64_t)PROGRESS_LINES_MAX);
    if (find_row(coordinator, progress->run, &row)) {
        /* over only when nothing is left to read */
        bool is_over = json_is_true(json_object_get(row.status, "is_over")) &&
                       json_array_size(lines) < PROGRESS_LINES_MAX;

        body = json_pack("{s:O, s:O, s:b}", "lines", lines, "state", json_object_get(row.status, "state"),
                         "is_over", is_over);
        json_decref(row.status);
        json_decref(row.report);
        http_reply_json(progress->waiting.request, 200, body);
    } else {
        http_reply_error(progress->waiting.request, 404, "there is no run %.40s", progress->run);
    }
    json_decref(lines);
}

static bool progress_advance(struct waiting *waiting, int64_t now_usec)
{
    struct progress_request *progress = (struct progress_request *)waiting;
    const struct run *run = runs_find(waiting->runs, progress->run);

    if (run && !run_is_over(run) && (int64_t)run->n_lines <= progress->after &&
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

    if (!progress) {
        http_reply_error(request, 503, "out of memory");
        return;
    }
    progress->waiting = (struct waiting){NULL, coordinator->runs, request, progress_advance, NULL};
    progress->after = http_query_integer(request, "after", 0);
    progress->until_usec = time_now_usec() + PROGRESS_HOLD_USEC;
    snprintf(progress->run, sizeof(progress->run), "%s", id);
    snprintf(progress->state, sizeof(progress->state), "%s", run ? run_state_name(run->state) : "");
    runs_wait(&progress->waiting);
}
