/* The sweep's own parts, shared by its files and nobody else. */
#pragma once

#include "common/record.h"

/** struct sweep - @say: prints one line for the administrator */
struct sweep {
    int records_fd, results_fd;
    void (*say)(const char *line);
};

/** struct sweep_next - when to look again, on either clock; DEADLINE_NONE = never */
struct sweep_next {
    int64_t boot_nsec, real_usec;
};

int sweep_open(struct sweep *sweep, struct error *error);
void sweep_close(struct sweep *sweep);

/** sweep_end() - kill the recorded holder, undo, read back, leave a result, remove the record */
int sweep_end(const struct sweep *sweep, const struct record *record, const char *reason,
              struct error *error);

/**
 * sweep_look() - go through all records
 * @is_all: end every one of them, and objects without a record; else only those past deadline and grace
 * @ret_left: number of things that are still there
 */
int sweep_look(const struct sweep *sweep, bool is_all, size_t *ret_left, struct sweep_next *ret_next,
               struct error *error);

/** sweep_watch() - look whenever a record comes or a deadline and its grace have passed; returns only with an
 * error */
int sweep_watch(const struct sweep *sweep, struct error *error);
