/* grivet run: start a signed mandate, follow it, end with its report. Ctrl-C asks whether to halt. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/times.h"
#include "mandate-file.h"
#include "run.h"

/* A coordinator that is away for longer than a minute ends the watching, not the run. */
#define FAILURES_MAX 60

/**
 * struct watch - one run being followed
 * @progress: holds the long poll; @other: asks and halts meanwhile
 * @n_lines: how many are drawn, and have to be cleared before anything else is printed
 * @signal_fd: SIGINT and SIGTERM, blocked for the process
 */
struct watch {
    const struct call *call;
    struct client *progress, *other;
    const char *run;
    int64_t after;
    size_t n_lines;
    int signal_fd;
    unsigned int failures;
    bool is_live, is_over, is_left;
};

static void clear(struct watch *watch)
{
    if (watch->n_lines)
        printf("\033[%zuA\033[J", watch->n_lines);
    watch->n_lines = 0;
    fflush(stdout);
}

static void print_lines(struct watch *watch, const json_t *lines)
{
    FILE *out = watch->call->is_json ? stderr : stdout; /* which is for the report alone then */
    const json_t *line;
    size_t index;

    if (json_array_size(lines))
        clear(watch);
    json_array_foreach((json_t *)lines, index, line)
    {
        watch->after = json_number(line, "n");
        format_time(out, json_object_get(line, "at"), NULL);
        fprintf(out, "  %s\n", json_text(line, "text"));
    }
    fflush(out);
}

static int get(struct watch *watch, const char *what, json_t **ret, struct error *error)
{
    char path[128];

    snprintf(path, sizeof(path), "/v1/runs/%s%s", watch->run, what);
    return client_call(watch->other, "GET", path, NULL, ret, error);
}

static void redraw(struct watch *watch)
{
    json_auto_t *status = NULL;

    if (get(watch, "", &status, NULL) < 0)
        return;
    clear(watch);
    watch->n_lines = status_draw(status);
}

/* What failed is said; the run goes on in any case. */
static void halt_run(struct watch *watch)
{
    json_auto_t *answer = NULL;
    struct error error;

    if (halt_send(watch->call, watch->other, "run", watch->run, &answer, &error) < 0)
        fprintf(stderr, "grivet: not halted: %s\n", error.text);
    else
        halt_print(watch->call->is_json ? stderr : stdout, answer);
}

static void take_signal(struct watch *watch)
{
    struct signalfd_siginfo info;
    char answer[16] = "";

    if (read(watch->signal_fd, &info, sizeof(info)) != sizeof(info))
        return;
    clear(watch);
    if (info.ssi_signo == SIGINT && terminal_is_interactive()) {
        if (terminal_ask("\nhalt this run? [y/N]", answer, sizeof(answer), NULL) == 0 &&
            (answer[0] == 'y' || answer[0] == 'Y'))
            halt_run(watch);
        return;
    }
    fprintf(stderr, "grivet: left; run %s goes on\n", watch->run);
    watch->is_left = true;
}

static int on_tick(void *context)
{
    struct watch *watch = context;

    take_signal(watch);
    if (watch->is_live && !watch->is_left)
        redraw(watch);
    return watch->is_left;
}

/* Waits for a moment, or for a signal, before the coordinator is asked again. */
static int after_failure(struct watch *watch, struct error *error)
{
    struct pollfd event = {watch->signal_fd, POLLIN, 0};

    if (error->code != EIO || ++watch->failures > FAILURES_MAX)
        return error_wrap(error, "run %s goes on, but can't be watched", watch->run);
    if (watch->failures == 1)
        fprintf(stderr, "grivet: %s; trying again\n", error->text);
    if (poll(&event, 1, 1000) > 0)
        take_signal(watch);
    return 0;
}

/* One long poll, with redraws and signals in between. */
static int watch_once(struct watch *watch, struct error *error)
{
    json_auto_t *progress = NULL;
    char path[128];
    int r;

    snprintf(path, sizeof(path), "/v1/runs/%s/progress?after=%lld", watch->run, (long long)watch->after);
    r = client_call(watch->progress, "GET", path, NULL, &progress, error);
    if (watch->is_left)
        return 0;
    if (r < 0)
        return after_failure(watch, error);
    watch->failures = 0;
    print_lines(watch, json_object_get(progress, "lines"));
    watch->is_over = json_is_true(json_object_get(progress, "is_over"));
    return 0;
}

static int finish(struct watch *watch, struct error *error)
{
    json_auto_t *report = NULL;
    int r;

    clear(watch);
    r = get(watch, "/report", &report, error);
    if (r < 0)
        return r;
    if (watch->call->is_json) {
        output_json(report);
    } else {
        printf("\n");
        report_print(report);
    }
    return report_exit_code(report);
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
    watch->progress->watch_fd = watch->signal_fd;
    watch->progress->on_tick = on_tick;
    watch->progress->context = watch;
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
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    json_auto_t *answer = NULL;
    int r;

    r = mandate_file_load(call->arguments[0], &envelope, &mandate, error);
    if (r == 0)
        r = client_post_envelope(client, "/v1/runs", envelope, &answer, error);
    if (r < 0)
        return r;
    snprintf(ret_run, UUID_TEXT_MAX, "%s", json_text(answer, "run"));
    return uuid_is_valid(ret_run) ? 0
                                  : error_set(error, EBADMSG, "the coordinator started a run without an id");
}

int command_run(const struct call *call, struct error *error)
{
    _cleanup_(client_freep) struct client *progress = NULL, *other = NULL;
    char run[UUID_TEXT_MAX];
    struct watch watch;
    int r;

    r = client_open(&other, call, error);
    if (r == 0)
        r = client_open(&progress, call, error);
    if (r == 0)
        r = start(call, other, run, error);
    if (r == -EBADE) {
        error_wrap(error, "refused");
        return -EKEYREJECTED;
    }
    if (r < 0)
        return r;
    if (call_option(call, "detach") && call->is_json)
        return output_new_json(json_pack("{s:s}", "run", run), error);
    if (call_option(call, "detach"))
        return printf("%s\n", run) < 0 ? EXIT_ERROR : EXIT_MET;
    fprintf(stderr, "run %s\n", run);
    watch = (struct watch){.call = call,
                           .progress = progress,
                           .other = other,
                           .run = run,
                           .is_live = isatty(STDOUT_FILENO) && !call->is_json};
    return follow(&watch, error);
}
