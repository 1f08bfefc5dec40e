/* See lines.h. */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define OPEN_FLAGS (O_RDWR | O_CLOEXEC | O_NOFOLLOW)

static int set_path(struct lines *lines, const char *path, struct error *error)
{
    if (snprintf(lines->path, sizeof(lines->path), "%s", path) >= LINES_PATH_MAX)
        return error_set(error, ENAMETOOLONG, "%s: path too long", path);
    return 0;
}

int lines_begin(struct lines *lines, const char *path, struct error *error)
{
    lines->bytes = 0;
    lines->is_new = true;
    return set_path(lines, path, error);
}

void lines_clear(struct lines *lines)
{
    free(lines->waiting);
    *lines = (struct lines){0};
}

int lines_read(struct lines *lines, const char *path, const char *name, size_t limit_bytes, bool may_cut,
               int (*take)(void *context, const char *line, size_t length, struct error *error),
               void *context, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int fd = -1;
    size_t length = 0, number = 1;
    char *line, *end;
    int r = set_path(lines, path, error);

    if (r < 0)
        return r;
    fd = open(path, OPEN_FLAGS);
    if (fd < 0)
        return error_errno(error, errno, "%s: can't open", name);
    r = io_read_fd(fd, name, limit_bytes, &text, &length, error);
    if (r < 0)
        return r;
    for (line = text; (end = memchr(line, '\n', text + length - line)); line = end + 1, number++) {
        struct error why = {0};

        *end = '\0';
        if (take(context, line, end - line, &why) < 0)
            return error_set(error, EBADMSG, "%s:%zu: damaged: %s", name, number, why.text);
    }
    lines->bytes = line - text;
    lines->unfinished_bytes = length - lines->bytes;
    if (lines->unfinished_bytes && !may_cut)
        return error_set(error, EBADMSG, "%s: damaged: its last line is unfinished", name);
    if (lines->unfinished_bytes && (ftruncate(fd, lines->bytes) < 0 || fsync(fd) < 0))
        return error_errno(error, errno, "%s: can't cut the unfinished last line", name);
    return 0;
}

int lines_append(struct lines *lines, const char *text, struct error *error)
{
    size_t length = strlen(text);
    char *waiting;

    if (lines->is_broken)
        return error_set(error, EIO, "an earlier write failed; restart grivetd when the disk is well");
    if (lines->n_waiting + length >= LINES_WAITING_MAX)
        return error_set(error, EBUSY, "the disk does not keep up");
    waiting = realloc(lines->waiting, lines->n_waiting + length + 1);
    if (!waiting)
        return error_oom(error);
    memcpy(waiting + lines->n_waiting, text, length + 1);
    waiting[lines->n_waiting + length] = '\n'; /* in the place of the NUL */
    lines->waiting = waiting;
    lines->n_waiting += length + 1;
    return 0;
}

/* ---- groups */

bool lines_group_begin(struct lines *lines, struct lines_group *ret)
{
    if (lines->is_broken || !lines->n_waiting)
        return false;
    lines->n_in_group = lines->n_waiting;
    *ret = (struct lines_group){
        .offset = lines->bytes, .text = lines->waiting, .length = lines->n_in_group, .is_new = lines->is_new};
    memcpy(ret->path, lines->path, sizeof(ret->path));
    return true;
}

/* The name of a new file has to last as well. */
static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char folder[LINES_PATH_MAX];
    _cleanup_close_ int fd = -1;

    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 || fdatasync(fd) < 0 ? -errno : 0;
}

struct lines_result lines_group_write(const struct lines_group *group)
{
    _cleanup_close_ int fd = open(group->path, OPEN_FLAGS | (group->is_new ? O_CREAT : 0), 0600);
    int r = fd < 0 || lseek(fd, group->offset, SEEK_SET) < 0 ? -errno : 0;

    if (r == 0) {
        r = io_write_all(fd, group->text, group->length);
        if (r < 0 && ftruncate(fd, group->offset) < 0)
            r = -errno; /* nobody reads what is left there; the next try writes over it */
    }
    if (r < 0)
        return (struct lines_result){r, false};
    r = group->is_new ? sync_folder(group->path) : 0;
    if (r == 0 && fdatasync(fd) < 0)
        r = -errno;
    return (struct lines_result){r, true};
}

size_t lines_group_end(struct lines *lines, struct lines_result result)
{
    size_t done = lines->n_in_group;

    lines->n_in_group = 0;
    if (result.error < 0) {
        lines->is_broken = result.is_final;
        return 0;
    }
    if (!done)
        return 0;
    memmove(lines->waiting, lines->waiting + done, lines->n_waiting - done);
    lines->n_waiting -= done;
    lines->bytes += (int64_t)done;
    lines->is_new = false;
    return done;
}
