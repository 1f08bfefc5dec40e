/* grivet status: all runs, one run, or, on a host alone, what its executor is doing. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "client.h"
#include "common/times.h"
#include "executor.h"
#include "view.h"

#define STATUS_MAX_MSEC 5000

static int print_runs(const struct call *call, json_t *runs)
{
    static const char *const heads[] = {"RUN", "EXPERIMENT", "STATE", "SINCE", "VERDICT", "REASON", NULL};
    json_t *rows, *run;
    size_t index;

    if (call->is_json)
        return output_json(runs);
    rows = json_array();
    json_array_foreach(runs, index, run) json_array_append_new(
        rows, json_pack("[s, s, s, s, s, s]", json_text(run, "run"), json_text(run, "experiment"),
                        json_text(run, "state"), json_text(run, "since"), json_text(run, "verdict"),
                        json_text(run, "reason")));
    output_table(heads, rows);
    json_decref(rows);
    json_decref(runs);
    return EXIT_MET;
}

static int print_run(const struct call *call, json_t *run)
{
    if (call->is_json)
        return output_json(run);
    view_print(run);
    if (json_object_get(run, "verdict"))
        printf("verdict: %s; see grivet report %s\n", json_text(run, "verdict"), json_text(run, "run"));
    json_decref(run);
    return EXIT_MET;
}

/* Scalars as `key: value`, what is active as a table; the executor may say more than we know. */
static void print_local(const json_t *status)
{
    static const char *const heads[] = {"ORDER", "FAULT", "STEP", "STATE", "DEADLINE", NULL};
    json_t *rows = json_array(), *order;
    const json_t *value;
    const char *key;
    size_t index;

    json_object_foreach((json_t *)status, key, value)
    {
        _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

        if (!json_is_array(value) && text)
            printf("%s: %s\n", key, json_is_string(value) ? json_string_value(value) : text);
    }
    json_array_foreach(json_object_get(status, "faults"), index, order) json_array_append_new(
        rows, json_pack("[s, s, s, s, s]", json_text(order, "order"), json_text(order, "fault"),
                        json_text(order, "step"), json_text(order, "state"), json_text(order, "deadline")));
    if (json_array_size(rows))
        output_table(heads, rows);
    else
        printf("no fault is active on this host\n");
    json_decref(rows);
}

static int status_local(const struct call *call, struct error *error)
{
    json_t *status;
    int r = executor_ask(CHANNEL_STATUS, CHANNEL_STATUS_IS, STATUS_MAX_MSEC, &status, error);

    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(status);
    print_local(status);
    json_decref(status);
    return EXIT_MET;
}

int command_status(const struct call *call, struct error *error)
{
    const char *run = call->n_arguments ? call->arguments[0] : NULL;
    _cleanup_(client_freep) struct client *client = NULL;
    char path[128] = "/v1/runs";
    json_t *answer;
    int r;

    if (call_option(call, "local"))
        return status_local(call, error);
    if (run && !uuid_is_valid(run))
        return error_set(error, EINVAL, "'%.60s' is no run; grivet status lists them", run);
    r = client_open(&client, call->config, error);
    if (r == -ENOENT && !run && !call->config && access(EXECUTOR_SOCKET, F_OK) == 0)
        return status_local(call, error);
    if (r == 0 && run)
        snprintf(path, sizeof(path), "/v1/runs/%s", run);
    if (r == 0)
        r = client_call(client, "GET", path, NULL, NULL, 0, &answer, error);
    if (r < 0)
        return r;
    return run ? print_run(call, answer) : print_runs(call, answer);
}
