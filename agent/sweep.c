/*
 * grivet-sweep: ends what nobody else ended. Without arguments one pass over everything (at boot, after the
 * executor stopped, on removal); with --watch it stays and ends each fault whose deadline and grace are past.
 * It knows no configuration and no keys, and links little, so that little can stop it.
 */
#include "sweep.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/io.h"

static void say(const char *line)
{
    fprintf(stderr, "grivet-sweep: %s\n", line);
}

/* Best effort: a sweep that can be killed for memory or waits for a disk is still better than none. */
static void resist_pressure(void)
{
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        io_write_all(fd, "-1000", 5);
    mlockall(MCL_CURRENT);
}

static int run(bool is_watch, struct error *error)
{
    _cleanup_(sweep_close) struct sweep sweep = {.records_fd = -1, .results_fd = -1, .say = say};
    struct sweep_next next;
    size_t left = 0;
    int r = sweep_open(&sweep, error);

    if (r < 0)
        return r;
    if (is_watch) {
        resist_pressure();
        return sweep_watch(&sweep, error);
    }
    r = sweep_look(&sweep, true, &left, &next, error);
    return r < 0 ? r : left > 0;
}

int main(int argc, char **argv)
{
    bool is_watch = argc == 2 && strcmp(argv[1], "--watch") == 0;
    struct error error = {0};
    int r;

    if (argc > 1 && !is_watch) {
        fprintf(stderr, "usage: grivet-sweep [--watch]\n");
        return 2;
    }
    r = run(is_watch, &error);
    if (r < 0)
        say(error.text);
    return r != 0;
}
