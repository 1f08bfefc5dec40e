/*
 * A file of lines that only grows: the journal's segments and the replay memory. Lines wait in memory; all
 * that wait are written as one group, by whoever may wait for the disk. A line is there whole or not at all;
 * what a crash left unfinished at the end is found at the next start. A group is written at a place of its
 * own: done again, whole or not the first time, it leaves the same file.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define LINES_PATH_MAX    128
#define LINES_WAITING_MAX ((size_t)3 * 1024 * 1024)

/**
 * struct lines - a file; all zero before lines_read() or lines_begin()
 * @bytes: up to the end of the last line that is durable; @unfinished_bytes: what stood behind it when it was
 * read
 * @waiting: lines that are not durable yet; the first @n_in_group bytes of them are being written
 * @is_new: the file is not there yet, or not durable
 * @is_broken: what the disk holds is no longer known, and nothing is added
 */
struct lines {
    char path[LINES_PATH_MAX];
    int64_t bytes;
    size_t unfinished_bytes, n_waiting, n_in_group;
    char *waiting;
    bool is_new, is_broken;
};

/** struct lines_group - what is to be written, and where: at @offset of @path; @text: borrowed */
struct lines_group {
    char path[LINES_PATH_MAX];
    int64_t offset;
    const char *text;
    size_t length;
    bool is_new;
};

/** struct lines_result - @error: 0 or -errno; @is_final: the kernel may have dropped what it had taken; else
 * the file is as before, and the group may be tried again */
struct lines_result {
    int error;
    bool is_final;
};

/** lines_begin() - what waits, and what comes, goes to a new file. Return: 0, -ENAMETOOLONG */
int lines_begin(struct lines *lines, const char *path, struct error *error);
/** lines_clear() - what waits is lost */
void lines_clear(struct lines *lines);

/**
 * lines_read() - a file that is there: hand every whole line to @take, which refuses with -errno and words
 * @name: of the file, in words; @may_cut: an unfinished last line is taken away, durably; else it is damage
 * @take: @line is NUL-ended, too; it may hold other NULs
 * Return: 0; -EBADMSG with `name:line: damaged: ` and why; -errno
 */
int lines_read(struct lines *lines, const char *path, const char *name, size_t limit_bytes, bool may_cut,
               int (*take)(void *context, const char *line, size_t length, struct error *error),
               void *context, struct error *error);
/** lines_append() - @text waits as a line. Return: 0, -EBUSY when too much waits, -EIO broken */
int lines_append(struct lines *lines, const char *text, struct error *error);

/** lines_group_begin() - all that waits, good until the next call for these lines; nothing: false. One at a
 * time */
bool lines_group_begin(struct lines *lines, struct lines_group *ret);
/** lines_group_write() - and wait until it is durable; in any process, without memory */
struct lines_result lines_group_write(const struct lines_group *group);
/** lines_group_end() - harmless when there was none. Return: how many bytes are durable now that were not */
size_t lines_group_end(struct lines *lines, struct lines_result result);
