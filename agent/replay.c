/* See replay.h. Lines of plain text: `grivet-replay/1 KEYHASH QUARANTINE`, then `MANDATE RUN STEP CLASS END
 * UNTIL`. */
#include "replay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"

#define LINE_MAX_BYTES   512
#define REPLAY_BYTES_MAX ((size_t)REPLAY_ENTRIES_MAX * LINE_MAX_BYTES)
#define HEADER_FORMAT    "grivet-replay/1 %s %" PRId64 "\n"

struct replay {
    int fd;
    off_t size;
    int64_t quarantine_usec;
    bool is_broken; /* a write failed: what the disk holds is no longer known */
    size_t count;
    struct replay_entry *entries;
};

static int header_format(char *ret, size_t size, const struct public_key *key, int64_t quarantine_usec)
{
    char hash[HASH_TEXT_MAX];

    return snprintf(ret, size, HEADER_FORMAT, hash_text(key->bytes, sizeof(key->bytes), hash),
                    quarantine_usec);
}

static int line_format(char *ret, size_t size, const struct replay_entry *entry)
{
    return snprintf(ret, size, "%s %s %s %s %" PRId64 " %" PRId64 "\n", entry->mandate, entry->run,
                    entry->step, entry->class, entry->end_usec, entry->until_usec);
}

int replay_replace(const char *path, const struct public_key *key, int64_t quarantine_usec,
                   struct error *error)
{
    char header[LINE_MAX_BYTES];
    int length = header_format(header, sizeof(header), key, quarantine_usec);

    return io_write_file(path, header, length, 0600, error);
}

int replay_create(const char *path, const struct public_key *key, struct error *error)
{
    struct stat status;

    if (lstat(path, &status) == 0)
        return error_set(error, EEXIST, "%s: exists already; a host that joined before keeps its memory",
                         path);
    return replay_replace(path, key, 0, error);
}

static int read_header(struct replay *replay, const char *path, const char *line,
                       const struct public_key *key, struct error *error)
{
    char expected[LINE_MAX_BYTES];
    const char *quarantine = strrchr(line, ' ');

    if (!quarantine || sscanf(quarantine, " %" SCNd64, &replay->quarantine_usec) != 1)
        return error_set(error, EBADMSG, "%s:1: not a replay memory", path);
    header_format(expected, sizeof(expected), key, replay->quarantine_usec);
    if (strncmp(line, expected, strlen(line)) || strlen(line) + 1 != strlen(expected))
        return error_set(error, EBADMSG, "%s:1: belongs to another host key", path);
    return 0;
}

static int read_entry(struct replay *replay, const char *path, size_t number, const char *line,
                      struct error *error)
{
    struct replay_entry entry = {0};
    char again[LINE_MAX_BYTES];

    if (sscanf(line, "%64s %36s %63s %63s %" SCNd64 " %" SCNd64, entry.mandate, entry.run, entry.step,
               entry.class, &entry.end_usec, &entry.until_usec) != 6)
        return error_set(error, EBADMSG, "%s:%zu: damaged", path, number);
    /* What does not print as it was read is damaged too. */
    line_format(again, sizeof(again), &entry);
    if (strncmp(line, again, strlen(line)) || strlen(line) + 1 != strlen(again) ||
        replay->count == REPLAY_ENTRIES_MAX)
        return error_set(error, EBADMSG, "%s:%zu: damaged", path, number);
    replay->entries[replay->count++] = entry;
    return 0;
}

/* @ret_whole: bytes up to the last line that ends. */
static int read_lines(struct replay *replay, const char *path, char *text, const struct public_key *key,
                      size_t *ret_whole, struct error *error)
{
    char *line = text, *end;
    size_t number = 0;
    int r = 0;

    for (; r == 0 && (end = strchr(line, '\n')); line = end + 1) {
        *end = '\0';
        number++;
        r = number == 1 ? read_header(replay, path, line, key, error)
                        : read_entry(replay, path, number, line, error);
    }
    if (r == 0 && !number)
        return error_set(error, EBADMSG, "%s:1: empty", path);
    *ret_whole = line - text;
    return r;
}

/* Writes the memory anew without what may be forgotten. */
static int compact(struct replay *replay, const char *path, const struct public_key *key, int64_t now_usec,
                   struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t kept = 0, length, size;

    for (size_t i = 0; i < replay->count; i++)
        if (replay->entries[i].until_usec >= now_usec)
            replay->entries[kept++] = replay->entries[i];
    if (kept == replay->count)
        return 0;
    replay->count = kept;
    size = (kept + 1) * LINE_MAX_BYTES;
    text = malloc(size);
    if (!text)
        return error_oom(error);
    length = header_format(text, size, key, replay->quarantine_usec);
    for (size_t i = 0; i < kept; i++)
        length += line_format(text + length, size - length, &replay->entries[i]);
    return io_write_file(path, text, length, 0600, error);
}

static int open_for_append(struct replay *replay, const char *path, struct error *error)
{
    replay->fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    if (replay->fd < 0)
        return error_errno(error, errno, "%s: can't open", path);
    replay->size = lseek(replay->fd, 0, SEEK_END);
    return 0;
}

int replay_open(struct replay **ret, const char *path, const struct public_key *key, int64_t now_usec,
                bool may_forget, struct error *error)
{
    _cleanup_(replay_freep) struct replay *replay = calloc(1, sizeof(*replay));
    _cleanup_free_ char *text = NULL;
    size_t length, whole = 0;
    int r;

    if (!replay)
        return error_oom(error);
    replay->fd = -1;
    replay->entries = calloc(REPLAY_ENTRIES_MAX, sizeof(*replay->entries));
    if (!replay->entries)
        return error_oom(error);
    r = io_read_file(path, REPLAY_BYTES_MAX, &text, &length, error);
    if (r == 0 && strlen(text) != length)
        r = error_set(error, EBADMSG, "%s: holds a zero byte", path);
    if (r == 0)
        r = read_lines(replay, path, text, key, &whole, error);
    if (r == 0 && whole < length && truncate(path, (off_t)whole) < 0)
        r = error_errno(error, errno, "%s: can't cut the unfinished last line", path);
    if (r == 0 && may_forget)
        r = compact(replay, path, key, now_usec, error);
    if (r == 0)
        r = open_for_append(replay, path, error);
    if (r == 0)
        *ret = TAKE_PTR(replay);
    return r;
}

struct replay *replay_free(struct replay *replay)
{
    if (!replay)
        return NULL;
    cleanup_close(&replay->fd);
    free(replay->entries);
    free(replay);
    return NULL;
}

int64_t replay_quarantine_usec(const struct replay *replay)
{
    return replay->quarantine_usec;
}

bool replay_has(const struct replay *replay, const char *run, const char *step)
{
    for (size_t i = 0; i < replay->count; i++)
        if (!strcmp(replay->entries[i].run, run) && !strcmp(replay->entries[i].step, step))
            return true;
    return false;
}

static bool is_counted_before(const struct replay *replay, size_t index)
{
    const struct replay_entry *entry = &replay->entries[index];

    for (size_t i = 0; i < index; i++)
        if (!strcmp(replay->entries[i].mandate, entry->mandate) &&
            !strcmp(replay->entries[i].run, entry->run))
            return true;
    return false;
}

size_t replay_count_runs(const struct replay *replay, const char *mandate, const char *except_run)
{
    size_t count = 0;

    for (size_t i = 0; i < replay->count; i++)
        if (!strcmp(replay->entries[i].mandate, mandate) && strcmp(replay->entries[i].run, except_run) &&
            !is_counted_before(replay, i))
            count++;
    return count;
}

int64_t replay_last_end_usec(const struct replay *replay, const char *class, const char *mandate,
                             const char *except_run)
{
    int64_t last = 0;

    for (size_t i = 0; i < replay->count; i++) {
        const struct replay_entry *entry = &replay->entries[i];

        if (!strcmp(entry->class, class) && entry->end_usec > last &&
            (strcmp(entry->mandate, mandate) || strcmp(entry->run, except_run)))
            last = entry->end_usec;
    }
    return last;
}

int replay_remember(struct replay *replay, const struct replay_entry *entry, struct error *error)
{
    char line[LINE_MAX_BYTES];
    int length = line_format(line, sizeof(line), entry), r;

    if (replay->is_broken)
        return error_set(error, EIO,
                         "replay memory: an earlier write failed; restart grivetd when the disk is well");
    if (replay->count == REPLAY_ENTRIES_MAX)
        return error_set(error, ENOSPC, "replay memory: full (%d orders)", REPLAY_ENTRIES_MAX);
    r = io_write_all(replay->fd, line, length);
    if (r < 0) {
        if (ftruncate(replay->fd, replay->size) < 0)
            replay->is_broken = true;
        return error_errno(error, -r, "replay memory: can't write");
    }
    replay->size += length;
    replay->entries[replay->count++] = *entry;
    return 0;
}

int replay_fd(const struct replay *replay)
{
    return replay->fd;
}

/* A failed fsync is final: the kernel may have dropped the pages. */
int replay_synced(struct replay *replay, int result, struct error *error)
{
    if (result == 0)
        return 0;
    replay->is_broken = true;
    return error_errno(error, -result, "replay memory: can't make it durable");
}
