/*
 * A file of lines that only grows: the journal's segments and the replay memory. A line is there whole or not
 * at all; what a crash left unfinished at the end is found at the next start.
 */
#pragma once

#include <stdbool.h>

#include "common/error.h"

/**
 * struct lines - an open file; {.fd = -1} before lines_open()
 * @bytes: up to the end of the last whole line; @unfinished_bytes: what stood behind it when it was read
 * @is_broken: a write or an fsync failed: what the disk holds is no longer known, and nothing is added
 */
struct lines {
    int fd;
    size_t bytes, unfinished_bytes;
    bool is_broken;
};

/** lines_open() - @name in @folder (a file descriptor or AT_FDCWD), instead of what was open before; @flags:
 * of open(2), beyond O_APPEND */
int lines_open(struct lines *lines, int folder, const char *name, int flags, struct error *error);
void lines_close(struct lines *lines);

/**
 * lines_read() - right after lines_open(): hand every whole line to @take, which refuses with -errno and
 * words
 * @may_cut: an unfinished last line is taken away, durably; else it is damage
 * @take: @line is NUL-ended, too; it may hold other NULs
 * Return: 0; -EBADMSG with `name:line: damaged: ` and why; -errno
 */
int lines_read(struct lines *lines, const char *name, size_t limit_bytes, bool may_cut,
               int (*take)(void *context, const char *line, size_t length, struct error *error),
               void *context, struct error *error);
/** lines_append() - write the NUL-ended @text as a line, but don't wait for the disk: all of it or nothing */
int lines_append(struct lines *lines, char *text, struct error *error);
