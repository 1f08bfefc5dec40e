/* See lines.h. */
#include "lines.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"

int lines_open(struct lines *lines, int folder, const char *name, int flags, struct error *error)
{
    struct stat file;
    int r;

    lines_close(lines);
    lines->fd = openat(folder, name, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (lines->fd < 0)
        return error_errno(error, errno, "%s: can't open", name);
    if (fstat(lines->fd, &file) < 0) {
        r = error_errno(error, errno, "%s: can't tell its size", name);
        lines_close(lines);
        return r;
    }
    lines->bytes = file.st_size;
    return 0;
}

void lines_close(struct lines *lines)
{
    cleanup_close(&lines->fd);
    *lines = (struct lines){.fd = -1};
}

int lines_read(struct lines *lines, const char *name, size_t limit_bytes, bool may_cut,
               int (*take)(void *context, const char *line, size_t length, struct error *error),
               void *context, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length = 0, number = 1;
    char *line, *end;
    int r;

    r = io_read_fd(lines->fd, name, limit_bytes, &text, &length, error);
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
    if (lines->unfinished_bytes && (ftruncate(lines->fd, (off_t)lines->bytes) < 0 || fsync(lines->fd) < 0))
        return error_errno(error, errno, "%s: can't cut the unfinished last line", name);
    return 0;
}

int lines_append(struct lines *lines, char *text, struct error *error)
{
    size_t length = strlen(text);
    int r;

    if (lines->is_broken)
        return error_set(error, EIO, "an earlier write failed; restart grivetd when the disk is well");
    text[length] = '\n'; /* in the place of the NUL, for this one write */
    r = io_write_all(lines->fd, text, length + 1);
    text[length] = '\0';
    if (r < 0) {
        lines->is_broken = ftruncate(lines->fd, (off_t)lines->bytes) < 0;
        return error_errno(error, -r, "can't write");
    }
    lines->bytes += length + 1;
    return 0;
}
