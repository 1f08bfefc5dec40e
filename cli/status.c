/* grivet status: all runs, one run (also drawn for grivet run), or, on a host alone, what its executor does.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "client.h"
#include "common/times.h"
#include "local.h"
#include "run.h"

#define LINE_MAX_BYTES 256

/* Where lines go: to a terminal of this size (0 = no limit). */
struct screen {
    size_t rows, columns, used;
};

static void line(struct screen *screen, const char *format, ...) _printf_(2, 3);

static void line(struct screen *screen, const char *format, ...)
{
    char text[LINE_MAX_BYTES];
    va_list arguments;

    if (screen->rows && screen->used + 1 >= screen->rows)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    /* A line that wraps would be two, and the next redraw would leave one behind. */
    if (screen->columns && screen->columns < sizeof(text))
        text[screen->columns - 1] = '\0';
    printf("%s\n", text);
    screen->used++;
}

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

static void draw(struct screen *screen, const json_t *status)
{
    const json_t *item;
    char left[32];
    size_t index;

    countdown(json_text(status, "ends_at"), left);
    line(screen, "%s: %s  %s", json_text(status, "experiment"), json_text(status, "state"), left);
    json_array_foreach(json_object_get(status, "hosts"), index, item)
    {
        countdown(json_text(item, "deadline"), left);
        line(screen, "  %-20s %-16s %-12s %s", json_text(item, "host"), json_text(item, "step"),
             json_text(item, "state"), left);
    }
    json_array_foreach(json_object_get(status, "suspects"), index, item)
        line(screen, "  %-20s SUSPECT: its events contradict each other", json_string_value(item));
    json_array_foreach(json_object_get(status, "endpoints"), index, item)
        line(screen, "  %-20s from %-11s %s", json_text(item, "name"), json_text(item, "from"),
             json_text(item, "state"));
}

size_t status_draw(const json_t *status)
{
    struct winsize size = {0};
    struct screen screen;

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    screen = (struct screen){size.ws_row ? size.ws_row : 24, size.ws_col ? size.ws_col : 80, 0};
    draw(&screen, status);
    fflush(stdout);
    return screen.used;
}

static int show_runs(const struct call *call, struct error *error)
{
    static const struct column columns[] = {{"RUN", "run"},
                                            {"EXPERIMENT", "experiment"},
                                            {"STATE", "state"},
                                            {"SINCE", "since"},
                                            {"VERDICT", "verdict"},
                                            {"REASON", "reason"},
                                            {}};

    return client_list(call, "/v1/runs", columns, error);
}

static int show_run(const struct call *call, const char *id, struct error *error)
{
    json_auto_t *run = NULL;
    struct screen screen = {0};
    char path[128];
    int r;

    if (!uuid_is_valid(id))
        return error_set(error, EINVAL, "'%.60s' is no run; grivet status lists them", id);
    snprintf(path, sizeof(path), "/v1/runs/%s", id);
    r = client_get(call, path, &run, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(run);
    draw(&screen, run);
    if (json_object_get(run, "verdict"))
        printf("verdict: %s; see grivet report %s\n", json_text(run, "verdict"), id);
    return EXIT_MET;
}

int command_status(const struct call *call, struct error *error)
{
    int r;

    if (call_option(call, "local"))
        return local_status(call, error);
    if (call->n_arguments)
        return show_run(call, call->arguments[0], error);
    r = show_runs(call, error);
    /* No configuration, but an executor: this is a host. */
    if (r == -ENOENT && !call->config && access(EXECUTOR_SOCKET, F_OK) == 0)
        return local_status(call, error);
    return r;
}
