/* See journal.h. */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"
#include "journal-segment.h"

struct journal {
    char *host;
    int folder, fd;                /* fd: of the newest segment, -1 before there is one */
    bool is_broken, is_folder_new; /* is_folder_new: the newest segment's name isn't durable yet */
    size_t n_segments;
    struct segment segments[JOURNAL_SEGMENTS_MAX];
    struct chain written, syncing, durable;
    int64_t acknowledged;
};

static int open_newest(struct journal *journal, int flags, struct error *error)
{
    char name[SEGMENT_NAME_MAX];

    cleanup_close(&journal->fd);
    segment_name(journal->segments[journal->n_segments - 1].first, name);
    journal->fd = openat(journal->folder, name, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
    if (journal->fd < 0)
        return error_errno(error, errno, "event journal: %s: can't open", name);
    return 0;
}

static int check_all(struct journal *journal, const struct journal_reader *reader, struct error *error)
{
    int r, count = segment_list(journal->folder, journal->segments, error);

    if (count < 0)
        return count;
    journal->n_segments = count;
    for (int i = 0; i < count; i++) {
        r = segment_check(journal->folder, &journal->segments[i], &journal->written, i == 0, i == count - 1,
                          reader, error);
        if (r < 0)
            return r;
    }
    journal->durable = journal->written;
    return count ? open_newest(journal, 0, error) : 0;
}

int journal_open(struct journal **ret, const char *folder, const char *host,
                 const struct journal_reader *reader, struct error *error)
{
    _cleanup_(journal_freep) struct journal *journal = calloc(1, sizeof(*journal));
    int r;

    if (!journal)
        return error_oom(error);
    journal->folder = journal->fd = -1;
    memset(journal->written.hash, '0', HASH_TEXT_MAX - 1);
    journal->host = strdup(host);
    if (!journal->host)
        return error_oom(error);
    r = io_mkdir(folder, 0700, error);
    if (r < 0)
        return r;
    journal->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (journal->folder < 0)
        return error_errno(error, errno, "%s: can't open", folder);
    r = check_all(journal, reader, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(journal);
    return 0;
}

struct journal *journal_free(struct journal *journal)
{
    if (!journal)
        return NULL;
    cleanup_close(&journal->fd);
    cleanup_close(&journal->folder);
    free(journal->host);
    free(journal);
    return NULL;
}

static char *event_format(const struct journal *journal, const struct event *event)
{
    char at[TIME_TEXT_MAX], boot[BOOT_ID_MAX];
    json_t *json = json_pack("{s:s s:s s:s s:I s:s s:s s:I s:O? s:s s:s* s:s* s:s* s:O}", "schema",
                             "grivet.event/1", "host", journal->host, "boot", time_boot_id(boot), "sequence",
                             (json_int_t)(journal->written.sequence + 1), "previous", journal->written.hash,
                             "at", time_format(event->at_usec, at), "boot_nsec", (json_int_t)event->boot_nsec,
                             "clock", event->clock, "kind", event->kind, "run", event->run, "order",
                             event->order, "step", event->step, "body", event->body);
    char *line = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    return line;
}

static int start_segment(struct journal *journal, struct error *error)
{
    int r;

    if (journal->n_segments == JOURNAL_SEGMENTS_MAX)
        return error_set(error, ENOSPC, "event journal: full; %d segments wait for an acknowledgement",
                         JOURNAL_SEGMENTS_MAX);
    journal->segments[journal->n_segments++] = (struct segment){.first = journal->written.sequence + 1};
    r = open_newest(journal, O_CREAT | O_EXCL, error);
    if (r < 0) {
        journal->n_segments--;
        return r;
    }
    journal->is_folder_new = true;
    return 0;
}

/* What the old segment holds has to be durable before the chain goes on in a new file; until then it grows.
 */
static int find_room(struct journal *journal, struct error *error)
{
    const struct segment *newest = journal->n_segments ? &journal->segments[journal->n_segments - 1] : NULL;

    if (newest && newest->bytes < JOURNAL_SEGMENT_BYTES)
        return 0;
    if (newest && journal->durable.sequence != journal->written.sequence)
        return newest->bytes < JOURNAL_SEGMENT_MAX
                   ? 0
                   : error_set(error, EBUSY, "event journal: the disk does not keep up");
    return start_segment(journal, error);
}

static int write_line(struct journal *journal, const char *line, size_t length, struct error *error)
{
    struct segment *segment = &journal->segments[journal->n_segments - 1];
    int r = io_write_all(journal->fd, line, length);

    if (r < 0) {
        if (ftruncate(journal->fd, (off_t)segment->bytes) < 0)
            journal->is_broken = true;
        return error_errno(error, -r, "event journal: can't write");
    }
    segment->bytes += length;
    segment->count++;
    journal->written.sequence++;
    hash_text(line, length - 1, journal->written.hash);
    return 0;
}

int journal_append(struct journal *journal, const struct event *event, struct error *error)
{
    _cleanup_free_ char *line = NULL;
    size_t length;
    int r;

    if (journal->is_broken)
        return error_set(error, EIO,
                         "event journal: an earlier write failed; restart grivetd when the disk is well");
    line = event_format(journal, event);
    if (!line)
        return error_oom(error);
    length = strlen(line);
    if (length >= JOURNAL_LINE_MAX)
        return error_set(error, EMSGSIZE, "event journal: event %s of %zu bytes is too long", event->kind,
                         length);
    r = find_room(journal, error);
    if (r < 0)
        return r;
    line[length++] = '\n'; /* in the place of the NUL: it is no string any more */
    return write_line(journal, line, length, error);
}

size_t journal_sync_begin(struct journal *journal, int ret_fds[JOURNAL_SYNC_FDS])
{
    size_t count = 0;

    if (journal->is_broken || journal->durable.sequence == journal->written.sequence)
        return 0;
    if (journal->is_folder_new)
        ret_fds[count++] = journal->folder;
    ret_fds[count++] = journal->fd;
    journal->syncing = journal->written;
    return count;
}

int journal_sync_end(struct journal *journal, int result, struct error *error)
{
    if (result < 0) {
        journal->is_broken = true;
        return error_errno(error, -result, "event journal: can't make events durable");
    }
    journal->is_folder_new = false;
    journal->durable = journal->syncing;
    return 0;
}

int journal_sync(struct journal *journal, struct error *error)
{
    int fds[JOURNAL_SYNC_FDS], r = 0;
    size_t count = journal_sync_begin(journal, fds);

    if (journal->is_broken)
        return error_set(error, EIO, "event journal: an earlier write failed");
    for (size_t i = 0; i < count && r == 0; i++)
        r = fdatasync(fds[i]) < 0 ? -errno : 0;
    return count ? journal_sync_end(journal, r, error) : 0;
}

size_t journal_cut_bytes(const struct journal *journal)
{
    return journal->n_segments ? journal->segments[journal->n_segments - 1].cut_bytes : 0;
}

int64_t journal_last(const struct journal *journal, char ret_hash[HASH_TEXT_MAX])
{
    if (ret_hash)
        memcpy(ret_hash, journal->durable.hash, HASH_TEXT_MAX);
    return journal->durable.sequence;
}

int64_t journal_acknowledged(const struct journal *journal)
{
    int64_t deleted = journal->n_segments ? journal->segments[0].first - 1 : 0;

    return journal->acknowledged > deleted ? journal->acknowledged : deleted;
}

static const struct segment *segment_of(const struct journal *journal, int64_t sequence)
{
    for (size_t i = 0; i < journal->n_segments; i++) {
        const struct segment *segment = &journal->segments[i];

        if (sequence >= segment->first && sequence < segment->first + segment->count)
            return segment;
    }
    return NULL;
}

int journal_fetch(struct journal *journal, int64_t after, size_t limit_bytes, char **ret, size_t *ret_length,
                  struct error *error)
{
    /* What was deleted is safe elsewhere: go on with the oldest that is here. */
    int64_t oldest = journal->n_segments ? journal->segments[0].first : 1,
            from = after < oldest ? oldest : after + 1;
    const struct segment *segment = from > journal->durable.sequence ? NULL : segment_of(journal, from);
    _cleanup_free_ char *text = NULL;
    const char *start, *end, *durable_end;
    size_t length;
    int r;

    *ret = NULL;
    *ret_length = 0;
    if (!segment)
        return 0;
    r = segment_read(journal->folder, segment, &text, &length, error);
    if (r < 0)
        return r;
    start = segment_skip(text, text + length, from - segment->first);
    durable_end = segment_skip(text, text + length, journal->durable.sequence - segment->first + 1);
    end = durable_end;
    if ((size_t)(end - start) > limit_bytes) {
        end = memrchr(start, '\n', limit_bytes);
        end = end ? end + 1 : segment_skip(start, durable_end, 1);
    }
    memmove(text, start, end - start);
    *ret_length = end - start;
    *ret = TAKE_PTR(text);
    return 0;
}

static int hash_of(const struct journal *journal, int64_t sequence, char ret[HASH_TEXT_MAX],
                   struct error *error)
{
    const struct segment *segment = segment_of(journal, sequence);
    _cleanup_free_ char *text = NULL;
    const char *line, *end;
    size_t length;
    int r;

    if (!segment || sequence > journal->durable.sequence)
        return error_set(error, EKEYREJECTED, "ack: event %" PRId64 " is not in this journal", sequence);
    r = segment_read(journal->folder, segment, &text, &length, error);
    if (r < 0)
        return r;
    line = segment_skip(text, text + length, sequence - segment->first);
    end = memchr(line, '\n', text + length - line);
    if (!end)
        return error_set(error, EBADMSG, "event journal: event %" PRId64 " is gone", sequence);
    hash_text(line, end - line, ret);
    return 0;
}

int journal_acknowledge(struct journal *journal, int64_t sequence, const char *hash, struct error *error)
{
    char ours[HASH_TEXT_MAX], name[SEGMENT_NAME_MAX];
    size_t dropped = 0;
    int r;

    if (sequence <= journal_acknowledged(journal))
        return 0;
    r = hash_of(journal, sequence, ours, error);
    if (r < 0)
        return r;
    if (strcmp(ours, hash))
        return error_set(error, EKEYREJECTED, "ack: its hash is not that of our event %" PRId64, sequence);
    journal->acknowledged = sequence;
    while (dropped + 1 < journal->n_segments &&
           journal->segments[dropped].first + journal->segments[dropped].count - 1 <= sequence) {
        if (unlinkat(journal->folder, segment_name(journal->segments[dropped].first, name), 0) < 0)
            return error_errno(error, errno, "event journal: %s: can't delete", name);
        dropped++;
    }
    journal->n_segments -= dropped;
    memmove(journal->segments, journal->segments + dropped, journal->n_segments * sizeof(*journal->segments));
    return 0;
}
