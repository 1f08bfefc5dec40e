/* See journal.h. */
#include "journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define SEGMENT_DIGITS   20
#define SEGMENT_NAME_MAX (SEGMENT_DIGITS + 4)

/* The end of the chain: number of the last line and its hash, 64 zeros before the first. */
struct chain {
    int64_t sequence;
    char hash[HASH_TEXT_MAX];
};

struct journal {
    char *host;
    char boot[BOOT_ID_MAX]; /* asked for once: the coordinator refuses a chain with an event that has none */
    char *path;             /* of the folder */
    int folder;
    struct lines newest;
    size_t n_segments;                    /* that are there; the newest may still be on its way */
    int64_t firsts[JOURNAL_SEGMENTS_MAX]; /* sequence of each segment's first line */
    struct chain written, syncing, durable;
    int64_t acknowledged;
    void (*read)(void *context, const struct node *event);
    void *context;
};

static const char *segment_name(int64_t first, char ret[SEGMENT_NAME_MAX])
{
    snprintf(ret, SEGMENT_NAME_MAX, "%0*" PRId64, SEGMENT_DIGITS, first);
    return ret;
}

/* One that is cut short is too long for the lines, who say so. */
static const char *segment_path(const struct journal *journal, int64_t first, char ret[LINES_PATH_MAX])
{
    char name[SEGMENT_NAME_MAX];

    snprintf(ret, LINES_PATH_MAX, "%s/%s", journal->path, segment_name(first, name));
    return ret;
}

/* ---- at the start: the segments and their chain */

/* The line must be an event with the next number, and name the hash of the line before. */
static int check_line(void *context, const char *line, size_t length, struct error *error)
{
    struct journal *journal = context;
    struct chain *chain = &journal->written;
    _cleanup_(document_freep) struct document *document = NULL;
    const struct node *event, *sequence;
    const char *previous;
    /* Event 1 follows 64 zeros; an older neighbour that was acknowledged and deleted can't be asked. */
    bool is_believed = chain->sequence > 0 && chain->sequence + 1 == journal->firsts[0];

    if (document_parse_json(&document, "event", line, length, error) < 0)
        return error_set(error, EBADMSG, "not an event");
    event = document_root(document);
    sequence = node_get(event, "sequence");
    previous = node_string(event, "previous");
    if (!sequence || sequence->type != DOCUMENT_INTEGER || sequence->integer != chain->sequence + 1)
        return error_set(error, EBADMSG, "expected event %" PRId64, chain->sequence + 1);
    if (!previous || (!is_believed && strcmp(previous, chain->hash)))
        return error_set(error, EBADMSG, "the chain is broken before it");
    chain->sequence++;
    hash_text(line, length, chain->hash);
    if (journal->read)
        journal->read(journal->context, event);
    return 0;
}

static int check_segment(struct journal *journal, const char *name, bool is_newest, struct error *error)
{
    int64_t first = strtoll(name, NULL, 10);
    char path[LINES_PATH_MAX];

    if (strlen(name) != SEGMENT_DIGITS || strspn(name, "0123456789") != SEGMENT_DIGITS)
        return error_set(error, EBADMSG, "%.80s: not a segment of ours", name);
    if (journal->n_segments == JOURNAL_SEGMENTS_MAX)
        return error_set(error, EBADMSG, "more than %d segments", JOURNAL_SEGMENTS_MAX);
    if (!journal->n_segments)
        journal->written.sequence = first - 1;
    journal->firsts[journal->n_segments++] = first;
    if (first != journal->written.sequence + 1)
        return error_set(error, EBADMSG, "%s: damaged: events %" PRId64 " to %" PRId64 " are missing", name,
                         journal->written.sequence + 1, first - 1);
    segment_path(journal, first, path);
    return lines_read(&journal->newest, path, name, JOURNAL_SEGMENT_MAX, is_newest, check_line, journal,
                      error);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Names have leading zeros: their order is that of the chain. */
static int check_all(struct journal *journal, struct error *error)
{
    struct dirent **entries = NULL;
    int r = 0, count = scandirat(journal->folder, ".", &entries, is_visible, alphasort);

    if (count < 0)
        return error_errno(error, errno, "can't list the folder");
    for (int i = 0; i < count; i++) {
        if (r == 0)
            r = check_segment(journal, entries[i]->d_name, i == count - 1, error);
        free(entries[i]);
    }
    free(entries);
    return r;
}

int journal_open(struct journal **ret, const char *folder, const char *host,
                 void (*read)(void *context, const struct node *event), void *context, struct error *error)
{
    _cleanup_(journal_freep) struct journal *journal = calloc(1, sizeof(*journal));
    int r;

    if (!journal)
        return error_oom(error);
    journal->folder = -1;
    journal->read = read;
    journal->context = context;
    memset(journal->written.hash, '0', HASH_TEXT_MAX - 1);
    journal->host = strdup(host);
    journal->path = strdup(folder);
    if (!journal->host || !journal->path)
        return error_oom(error);
    if (!*time_boot_id(journal->boot))
        return error_set(error, EIO, "event journal: can't tell in which boot this is");
    r = io_mkdir(folder, 0700, error);
    if (r < 0)
        return r;
    journal->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (journal->folder < 0)
        return error_errno(error, errno, "%s: can't open", folder);
    if (check_all(journal, error) < 0)
        return error_wrap(error, "event journal");
    journal->durable = journal->syncing = journal->written;
    *ret = TAKE_PTR(journal);
    return 0;
}

struct journal *journal_free(struct journal *journal)
{
    if (!journal)
        return NULL;
    lines_clear(&journal->newest);
    cleanup_close(&journal->folder);
    free(journal->path);
    free(journal->host);
    free(journal);
    return NULL;
}

/* ---- adding */

static char *event_format(const struct journal *journal, json_t *event)
{
    json_t *json = json_pack("{s:s s:s s:s s:I s:s}", "schema", "grivet.event/1", "host", journal->host,
                             "boot", journal->boot, "sequence", (json_int_t)(journal->written.sequence + 1),
                             "previous", journal->written.hash);
    char *line = json_object_update(json, event) < 0 ? NULL : json_dumps(json, JSON_COMPACT);

    json_decref(json);
    return line;
}

static int append(struct journal *journal, json_t *event, struct error *error)
{
    _cleanup_free_ char *line = event_format(journal, event);
    size_t length = line ? strlen(line) : 0;
    int r;

    if (!line)
        return error_oom(error);
    if (length >= JOURNAL_LINE_MAX)
        return error_set(error, EMSGSIZE, "an event of %zu bytes is too long", length);
    r = lines_append(&journal->newest, line, error);
    if (r < 0)
        return r;
    journal->written.sequence++;
    hash_text(line, length, journal->written.hash);
    return 0;
}

int journal_append(struct journal *journal, json_t *event, struct error *error)
{
    return append(journal, event, error) < 0 ? error_wrap(error, "event journal") : 0;
}

size_t journal_waiting_bytes(const struct journal *journal)
{
    return journal->newest.n_waiting;
}

/* A group stays together: the old segment is durable when the next one begins. */
static int find_room(struct journal *journal, struct error *error)
{
    char path[LINES_PATH_MAX];

    if (journal->newest.is_new || (journal->n_segments && journal->newest.bytes < JOURNAL_SEGMENT_BYTES))
        return 0;
    if (journal->n_segments == JOURNAL_SEGMENTS_MAX)
        return error_set(error, ENOSPC, "event journal: full; %d segments wait for an acknowledgement",
                         JOURNAL_SEGMENTS_MAX);
    return lines_begin(&journal->newest, segment_path(journal, journal->durable.sequence + 1, path), error);
}

int journal_group_begin(struct journal *journal, struct lines_group *ret, struct error *error)
{
    int r = journal->durable.sequence == journal->written.sequence ? 0 : find_room(journal, error);

    if (r < 0 || !lines_group_begin(&journal->newest, ret))
        return r;
    journal->syncing = journal->written;
    return 1;
}

int journal_group_end(struct journal *journal, struct lines_result result, struct error *error)
{
    bool is_new = journal->newest.is_new;

    if (lines_group_end(&journal->newest, result)) {
        if (is_new)
            journal->firsts[journal->n_segments++] = journal->durable.sequence + 1;
        journal->durable = journal->syncing;
    }
    return result.error < 0 ? error_errno(error, -result.error, "event journal: can't make events durable")
                            : 0;
}

/* ---- asking */

size_t journal_cut_bytes(const struct journal *journal)
{
    return journal->newest.unfinished_bytes;
}

int64_t journal_last(const struct journal *journal, char ret_hash[HASH_TEXT_MAX])
{
    if (ret_hash)
        memcpy(ret_hash, journal->durable.hash, HASH_TEXT_MAX);
    return journal->durable.sequence;
}

int64_t journal_acknowledged(const struct journal *journal)
{
    int64_t deleted = journal->n_segments ? journal->firsts[0] - 1 : 0;

    return journal->acknowledged > deleted ? journal->acknowledged : deleted;
}

/* The line after the first @count ones in @text. */
static char *skip_lines(char *text, char *end, int64_t count)
{
    while (count-- > 0 && text < end) {
        char *newline = memchr(text, '\n', end - text);

        text = newline ? newline + 1 : end;
    }
    return text;
}

/* Durable lines of the segment that holds event @sequence: from that on, up to @ret_end, all in @ret_text. */
static int read_from(const struct journal *journal, int64_t sequence, char **ret_text, char **ret_from,
                     char **ret_end, struct error *error)
{
    char name[SEGMENT_NAME_MAX];
    _cleanup_close_ int fd = -1;
    size_t index = journal->n_segments - 1, length = 0;
    int r;

    while (index && journal->firsts[index] > sequence)
        index--;
    segment_name(journal->firsts[index], name);
    fd = openat(journal->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return error_errno(error, errno, "event journal: %s: can't open", name);
    r = io_read_fd(fd, name, JOURNAL_SEGMENT_MAX, ret_text, &length, error);
    if (r < 0)
        return r;
    *ret_end = *ret_text + length;
    *ret_from = skip_lines(*ret_text, *ret_end, sequence - journal->firsts[index]);
    *ret_end = skip_lines(*ret_from, *ret_end, journal->durable.sequence - sequence + 1);
    if (*ret_from == *ret_end)
        return error_set(error, EBADMSG, "event journal: event %" PRId64 " is gone", sequence);
    return 0;
}

int journal_fetch(struct journal *journal, int64_t after, size_t limit_bytes, char **ret, size_t *ret_length,
                  struct error *error)
{
    /* What was deleted is safe elsewhere: go on with the oldest that is here. */
    int64_t oldest = journal->n_segments ? journal->firsts[0] : 1,
            sequence = after < oldest ? oldest : after + 1;
    _cleanup_free_ char *text = NULL;
    char *from, *end, *last;
    int r;

    *ret = NULL;
    *ret_length = 0;
    if (sequence > journal->durable.sequence)
        return 0;
    r = read_from(journal, sequence, &text, &from, &end, error);
    if (r < 0)
        return r;
    if ((size_t)(end - from) > limit_bytes) {
        last = memrchr(from, '\n', limit_bytes);
        end = last ? last + 1 : skip_lines(from, end, 1);
    }
    *ret_length = end - from;
    memmove(text, from, *ret_length);
    *ret = TAKE_PTR(text);
    return 0;
}

int journal_acknowledge(struct journal *journal, int64_t sequence, const char *hash, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    char *from, *end, ours[HASH_TEXT_MAX];
    int r;

    if (sequence <= journal_acknowledged(journal))
        return 0;
    if (sequence > journal->durable.sequence)
        return error_set(error, EKEYREJECTED, "ack: event %" PRId64 " is not in this journal", sequence);
    r = read_from(journal, sequence, &text, &from, &end, error);
    if (r < 0)
        return r;
    hash_text(from, skip_lines(from, end, 1) - from - 1, ours);
    if (strcmp(ours, hash))
        return error_set(error, EKEYREJECTED, "ack: its hash is not that of our event %" PRId64, sequence);
    journal->acknowledged = sequence;
    return 0;
}

const char *journal_drop(struct journal *journal, char ret[LINES_PATH_MAX])
{
    if (journal->n_segments < 2 || journal->firsts[1] > journal->acknowledged + 1)
        return NULL;
    segment_path(journal, journal->firsts[0], ret);
    memmove(journal->firsts, journal->firsts + 1, sizeof(journal->firsts) - sizeof(*journal->firsts));
    journal->n_segments--;
    return ret;
}
