/* Hosts, countdown and endpoints of a run: see view.h. */
#include "view.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli.h"
#include "common/times.h"

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

void view_clear(struct view *view)
{
    if (view->n_lines)
        printf("\033[%zuA\033[J", view->n_lines);
    view->n_lines = 0;
    fflush(stdout);
}

void view_draw(struct view *view, const json_t *status)
{
    struct winsize size = {0};
    struct screen screen = {0};

    view_clear(view);
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    screen.rows = size.ws_row ? size.ws_row : 24;
    screen.columns = size.ws_col ? size.ws_col : 80;
    draw(&screen, status);
    view->n_lines = screen.used;
    fflush(stdout);
}

void view_print(const json_t *status)
{
    struct screen screen = {0};

    draw(&screen, status);
}
