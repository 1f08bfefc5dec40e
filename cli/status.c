/* grivet status: all runs, one run (also drawn for grivet run), or, on a host alone, what its executor does.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client.h"
#include "common/times.h"
#include "local.h"
#include "run.h"

static void countdown(const char *deadline, char ret[32])
{
    int64_t at, left;

    if (time_parse(deadline, &at) < 0) {
        *ret = '\0';
        return;
    }
    left = (at - time_now_usec()) / USEC_PER_SEC;
    snprintf(ret, 32, left > 0 ? "ends in %lld s" : "is over", (long long)left);
}

/* What is over counts down no more. */
static bool is_under_way(const char *state)
{
    static const char *const states[] = {"ordered", "accepted", "armed", "exercised"};

    for (size_t i = 0; i < ARRAY_SIZE(states); i++)
        if (!strcmp(state, states[i]))
            return true;
    return false;
}

static void format_run(FILE *file, const json_t *run)
{
    const json_t *item;
    char left[32];
    size_t index;

    countdown(json_text(run, "ends_at"), left);
    fprintf(file, "%s: %s  %s\n", json_text(run, "experiment"), json_text(run, "state"), left);
    json_array_foreach(json_object_get(run, "hosts"), index, item)
    {
        countdown(is_under_way(json_text(item, "state")) ? json_text(item, "deadline") : "", left);
        fprintf(file, "  %-20s %-16s %-12s %s\n", json_text(item, "host"), json_text(item, "step"),
                json_text(item, "state"), left);
    }
    json_array_foreach(json_object_get(run, "waiting"), index, item)
    {
        fprintf(file, "  %-20s %-16s %-12s after ", "", json_text(item, "step"), "waiting");
        json_format(file, json_object_get(item, "after"), NULL);
        fprintf(file, "\n");
    }
    json_array_foreach(json_object_get(run, "suspects"), index, item)
        fprintf(file, "  %-20s SUSPECT: its events contradict each other\n", json_string_value(item));
    json_array_foreach(json_object_get(run, "endpoints"), index, item)
        fprintf(file, "  %-20s from %-11s %s\n", json_text(item, "name"), json_text(item, "from"),
                json_text(item, "state"));
}

size_t status_draw(const json_t *run)
{
    struct winsize size = {0};
    _cleanup_free_ char *text = NULL;
    char *next, *line;
    size_t length, count = 0;
    FILE *file = open_memstream(&text, &length);

    if (!file)
        return 0;
    format_run(file, run);
    fclose(file);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_row)
        size.ws_row = 24;
    /* A line that wraps would be two, and the next redraw would leave one behind: no wrapping meanwhile. */
    printf("\033[?7l");
    for (next = text; count + 1 < size.ws_row && (line = strsep(&next, "\n")) && *line; count++)
        printf("%s\n", line);
    printf("\033[?7h");
    fflush(stdout);
    return count;
}

static int show_run(const struct call *call, const char *id, struct error *error)
{
    json_auto_t *run = NULL;
    char path[128];
    int r;

    if (!uuid_is_valid(id))
        return error_set(error, EBADRQC, "'%.60s' is no run; grivet status lists them", id);
    snprintf(path, sizeof(path), "/v1/runs/%s", id);
    r = client_once(call, "GET", path, NULL, &run, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(run);
    format_run(stdout, run);
    if (json_object_get(run, "verdict"))
        printf("verdict: %s; see grivet report %s\n", json_text(run, "verdict"), id);
    return EXIT_MET;
}

int command_status(const struct call *call, struct error *error)
{
    static const struct column columns[] = {{"RUN", "run"},
                                            {"EXPERIMENT", "experiment"},
                                            {"STATE", "state"},
                                            {"SINCE", "since"},
                                            {"VERDICT", "verdict"},
                                            {"REASON", "reason"},
                                            {}};
    int r;

    if (call_option(call, "local"))
        return local_status(call, error);
    if (call->n_arguments)
        return show_run(call, call->arguments[0], error);
    r = client_list(call, "/v1/runs", columns, error);
    /* No configuration, but an executor: this is a host. */
    if (r == -ENOENT && !call->config && access(EXECUTOR_SOCKET, F_OK) == 0)
        return local_status(call, error);
    return r;
}
