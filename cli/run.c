/* grivet run: start a signed mandate, follow it, end with its report. Ctrl-C asks whether to halt. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/times.h"
#include "halt.h"
#include "mandate-file.h"
#include "report.h"
#include "view.h"

#define TICK_MSEC 500
#define FAILURES_MAX                                                                                         \
    60 /* a coordinator that is away for longer than a minute ends the watching, not the run */

/**
 * struct watch - one run being followed
 * @progress: holds the long poll; @other: asks and halts meanwhile
 * @signal_fd: SIGINT and SIGTERM, blocked for the process
 */
struct watch {
    const struct call *call;
    struct client *progress, *other;
    struct view view;
    const char *run;
    int64_t after;
    int signal_fd;
    unsigned int failures;
    bool is_live, is_over, is_left;
};

static void print_lines(struct watch *watch, const json_t *lines)
{
    const json_t *line;
    char at[16];
    size_t index;

    if (json_array_size(lines))
        view_clear(&watch->view);
    json_array_foreach((json_t *)lines, index, line)
    {
        watch->after = json_integer_value(json_object_get(line, "n"));
        printf("%s  %s\n", time_short(json_text(line, "at"), at), json_text(line, "text"));
    }
    fflush(stdout);
}

static void redraw(struct watch *watch)
{
    json_t *status = NULL;
    char path[128];

    snprintf(path, sizeof(path), "/v1/runs/%s", watch->run);
    if (client_call(watch->other, "GET", path, NULL, NULL, 0, &status, NULL) < 0)
        return;
    view_draw(&watch->view, status);
    json_decref(status);
}

/* What failed is said; the run goes on in any case. */
static void halt_run(struct watch *watch)
{
    const char *key = call_option(watch->call, "key");
    struct error error = {0};
    json_t *answer;

    if (halt_send(watch->call, watch->other, key ? key : client_halt_key(watch->other), "run", watch->run,
                  &answer, &error) < 0) {
        fprintf(stderr, "grivet: not halted: %s\n", error.text);
        return;
    }
    halt_print(answer);
    json_decref(answer);
}

static void take_signal(struct watch *watch)
{
    struct signalfd_siginfo info;
    char answer[16] = "";

    if (read(watch->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    view_clear(&watch->view);
    if (info.ssi_signo == SIGINT && terminal_is_interactive()) {
        if (terminal_ask("\nhalt this run? [y/N]", answer, sizeof(answer), NULL) == 0 &&
            (answer[0] == 'y' || answer[0] == 'Y'))
            halt_run(watch);
        return;
    }
    fprintf(stderr, "grivet: left; run %s goes on\n", watch->run);
    watch->is_left = true;
}

/* Waits for a moment, or for a signal, before the coordinator is asked again. */
static int after_failure(struct watch *watch, struct error *error)
{
    struct pollfd event = {watch->signal_fd, POLLIN, 0};

    if (error->code != EHOSTUNREACH || ++watch->failures > FAILURES_MAX)
        return error_wrap(error, "run %s goes on, but can't be watched", watch->run);
    if (watch->failures == 1)
        fprintf(stderr, "grivet: %s; trying again\n", error->text);
    if (poll(&event, 1, 1000) > 0)
        take_signal(watch);
    return 0;
}

static int take_progress(struct watch *watch, struct error *error)
{
    json_t *progress;
    int r = client_finish(watch->progress, &progress, error);

    if (r < 0)
        return after_failure(watch, error);
    watch->failures = 0;
    print_lines(watch, json_object_get(progress, "lines"));
    watch->is_over = json_is_true(json_object_get(progress, "is_over"));
    json_decref(progress);
    return 0;
}

/* One long poll, with redraws and signals in between. */
static int watch_once(struct watch *watch, struct error *error)
{
    char path[128];
    int r;

    snprintf(path, sizeof(path), "/v1/runs/%s/progress?after=%lld", watch->run, (long long)watch->after);
    r = client_begin(watch->progress, "GET", path, NULL, NULL, 0, error);
    while (r == 0 && !watch->is_left) {
        r = client_wait(watch->progress, watch->signal_fd, TICK_MSEC, error);
        if (r == 0)
            take_signal(watch);
        if (r == 0 && watch->is_live && !watch->is_left)
            redraw(watch);
    }
    return r > 0 ? take_progress(watch, error) : r;
}

static int finish(struct watch *watch, struct error *error)
{
    json_t *report;
    char path[128];
    int r;

    view_clear(&watch->view);
    snprintf(path, sizeof(path), "/v1/runs/%s/report", watch->run);
    r = client_call(watch->other, "GET", path, NULL, NULL, 0, &report, error);
    if (r < 0)
        return r;
    r = report_exit_code(report);
    if (watch->call->is_json)
        return output_json(report), r;
    printf("\n");
    report_print(report);
    json_decref(report);
    return r;
}

static int follow(struct watch *watch, struct error *error)
{
    sigset_t signals;
    int r = 0;

    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    watch->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    if (watch->signal_fd < 0)
        return error_errno(error, errno, "can't wait for signals");
    while (r == 0 && !watch->is_over && !watch->is_left)
        r = watch_once(watch, error);
    close(watch->signal_fd);
    if (r < 0)
        return r;
    return watch->is_left ? EXIT_UNKNOWN : finish(watch, error);
}

static int start(const struct call *call, struct client *client, char ret_run[UUID_TEXT_MAX],
                 struct error *error)
{
    _cleanup_(mandate_file_clear) struct mandate_file file = {0};
    _cleanup_free_ char *text = NULL;
    json_t *answer;
    int r;

    r = mandate_file_load(&file, call->arguments[0], error);
    if (r < 0)
        return r;
    text = envelope_format(file.envelope);
    if (!text)
        return error_oom(error);
    r = client_call(client, "POST", "/v1/runs", "application/json", text, strlen(text), &answer, error);
    if (r < 0)
        return r;
    snprintf(ret_run, UUID_TEXT_MAX, "%s", json_text(answer, "run"));
    json_decref(answer);
    return uuid_is_valid(ret_run) ? 0
                                  : error_set(error, EBADMSG, "the coordinator started a run without an id");
}

int command_run(const struct call *call, struct error *error)
{
    _cleanup_(client_freep) struct client *progress = NULL, *other = NULL;
    struct watch watch = {.call = call};
    char run[UUID_TEXT_MAX];
    int r;

    r = client_open(&other, call->config, error);
    if (r == 0)
        r = client_open(&progress, call->config, error);
    if (r == 0)
        r = start(call, other, run, error);
    if (r < 0) {
        if (r == -EBADE)
            fprintf(stderr, "grivet: refused: %s\n", error->text);
        return r == -EBADE ? EXIT_REFUSED : r;
    }
    if (call_option(call, "detach"))
        return printf("%s\n", run) < 0 ? EXIT_ERROR : EXIT_MET;
    fprintf(stderr, "run %s\n", run);
    watch.run = run;
    watch.progress = progress;
    watch.other = other;
    watch.is_live = isatty(STDOUT_FILENO) && !call->is_json;
    return follow(&watch, error);
}
