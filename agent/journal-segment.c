/* See journal-segment.h. */
#include "journal-segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/document.h"
#include "common/io.h"

#define SEGMENT_DIGITS 20

const char *segment_name(int64_t first, char ret[SEGMENT_NAME_MAX])
{
    snprintf(ret, SEGMENT_NAME_MAX, "%0*" PRId64, SEGMENT_DIGITS, first);
    return ret;
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *one = a, *other = b;

    return (one->first > other->first) - (one->first < other->first);
}

static void cleanup_closedir(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

int segment_list(int folder, struct segment ret[JOURNAL_SEGMENTS_MAX], struct error *error)
{
    int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), count = 0;
    _cleanup_(cleanup_closedir) DIR *stream = fd < 0 ? NULL : fdopendir(fd);

    if (!stream)
        return error_errno(error, errno, "event journal: can't list the folder");
    for (struct dirent *entry; (entry = readdir(stream));) {
        if (entry->d_name[0] == '.')
            continue;
        if (strlen(entry->d_name) != SEGMENT_DIGITS || strspn(entry->d_name, "0123456789") != SEGMENT_DIGITS)
            return error_set(error, EBADMSG, "event journal: %.80s: not a segment of ours", entry->d_name);
        if (count == JOURNAL_SEGMENTS_MAX)
            return error_set(error, EBADMSG, "event journal: more than %d segments", JOURNAL_SEGMENTS_MAX);
        ret[count++] = (struct segment){.first = strtoll(entry->d_name, NULL, 10)};
    }
    qsort(ret, count, sizeof(*ret), compare_segments);
    return count;
}

int segment_read(int folder, const struct segment *segment, char **ret, size_t *ret_length,
                 struct error *error)
{
    char name[SEGMENT_NAME_MAX];
    _cleanup_close_ int fd =
        openat(folder, segment_name(segment->first, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0)
        return error_errno(error, errno, "event journal: %s: can't open", name);
    return io_read_fd(fd, name, JOURNAL_SEGMENT_MAX + JOURNAL_LINE_MAX, ret, ret_length, error);
}

/* The line must be ours, with the next number, and name the hash of the line before. */
static int check_line(const char *name, int64_t number, const char *line, size_t length, struct chain *chain,
                      bool is_first_of_all, const struct journal_reader *reader, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    const struct node *sequence;
    const char *previous;
    int r = document_parse_json(&document, "event", line, length, error);

    if (r < 0)
        return error_set(error, EBADMSG, "event journal: %s:%" PRId64 ": damaged: not an event", name,
                         number);
    sequence = node_get(document_root(document), "sequence");
    previous = node_string(document_root(document), "previous");
    if (!sequence || sequence->type != DOCUMENT_INTEGER || sequence->integer != chain->sequence + 1)
        return error_set(error, EBADMSG, "event journal: %s:%" PRId64 ": damaged: expected event %" PRId64,
                         name, number, chain->sequence + 1);
    if (!previous || (!is_first_of_all && strcmp(previous, chain->hash)))
        return error_set(error, EBADMSG,
                         "event journal: %s:%" PRId64 ": damaged: the chain is broken before it", name,
                         number);
    chain->sequence++;
    hash_text(line, length, chain->hash);
    if (reader)
        reader->read(reader->context, document_root(document));
    return 0;
}

static int cut(int folder, const char *name, size_t bytes, struct error *error)
{
    _cleanup_close_ int fd = openat(folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0 || fsync(fd) < 0)
        return error_errno(error, errno, "event journal: %s: can't cut the unfinished last line", name);
    return 0;
}

int segment_check(int folder, struct segment *segment, struct chain *chain, bool is_oldest, bool is_newest,
                  const struct journal_reader *reader, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    char name[SEGMENT_NAME_MAX];
    const char *line, *end, *stop;
    size_t length;
    int r = segment_read(folder, segment, &text, &length, error);

    if (r < 0)
        return r;
    segment_name(segment->first, name);
    if (is_oldest)
        chain->sequence = segment->first - 1;
    if (segment->first != chain->sequence + 1)
        return error_set(error, EBADMSG,
                         "event journal: %s: damaged: events %" PRId64 " to %" PRId64 " are missing", name,
                         chain->sequence + 1, segment->first - 1);
    for (line = text, stop = text + length; (end = memchr(line, '\n', stop - line)); line = end + 1) {
        /* Event 1 follows 64 zeros; an older neighbour that was acknowledged and deleted can't be asked. */
        r = check_line(name, segment->count + 1, line, end - line, chain,
                       is_oldest && !segment->count && segment->first > 1, reader, error);
        if (r < 0)
            return r;
        segment->count++;
    }
    segment->bytes = line - text;
    if (segment->bytes == length)
        return 0;
    if (!is_newest)
        return error_set(error, EBADMSG, "event journal: %s: damaged: its last line is unfinished", name);
    segment->cut_bytes = length - segment->bytes;
    return cut(folder, name, segment->bytes, error);
}

const char *segment_skip(const char *text, const char *end, int64_t count)
{
    while (count-- > 0) {
        text = memchr(text, '\n', end - text);
        if (!text)
            return end;
        text++;
    }
    return text;
}
