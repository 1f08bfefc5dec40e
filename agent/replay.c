/* See replay.h. Plain text: whose memory it is and until when it is in quarantine, then a line for each
 * order.
 */
#include "replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define REPLAY_BYTES_MAX ((size_t)REPLAY_ENTRIES_MAX * 512)
#define HEADER_FORMAT    "grivet-replay/1 %s %" PRId64
#define HEADER_SCAN      "grivet-replay/1 %64s %" SCNd64 "%n"
#define ENTRY_FORMAT     "%s %s %s %s %s %" PRId64 " %" PRId64
#define ENTRY_SCAN       "%64s %64s %36s %63s %63s %" SCNd64 " %" SCNd64 "%n"

struct replay {
    struct lines lines;
    char key[HASH_TEXT_MAX];
    bool has_header;
    int64_t quarantine_usec;
    size_t count;
    struct replay_entry *entries;
};

static char *entry_format(const struct replay_entry *entry)
{
    char *line = NULL;

    return asprintf(&line, ENTRY_FORMAT, entry->mandate, entry->order, entry->run, entry->step, entry->class,
                    entry->end_usec, entry->until_usec) < 0
               ? NULL
               : line;
}

/* The whole memory, anew, with what waits. */
static int write_all(struct replay *replay, const char *path, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;
    FILE *file = open_memstream(&text, &length);
    bool is_whole = file != NULL;

    if (file)
        fprintf(file, HEADER_FORMAT "\n", replay->key, replay->quarantine_usec);
    for (size_t i = 0; is_whole && i < replay->count; i++) {
        _cleanup_free_ char *line = entry_format(&replay->entries[i]);

        is_whole = line && fprintf(file, "%s\n", line) > 0;
    }
    if (!file || fclose(file) == EOF || !is_whole)
        return error_oom(error);
    r = io_write_file(path, text, length, 0600, error);
    if (r < 0)
        return r;
    replay->lines.bytes = (int64_t)length;
    replay->lines.n_waiting = 0;
    return 0;
}

int replay_replace(const char *path, const struct public_key *key, int64_t quarantine_usec,
                   struct error *error)
{
    struct replay empty = {.quarantine_usec = quarantine_usec};

    hash_text(key->bytes, sizeof(key->bytes), empty.key);
    return write_all(&empty, path, error);
}

static int take_line(void *context, const char *line, size_t length, struct error *error)
{
    struct replay *replay = context;
    struct replay_entry *entry = &replay->entries[replay->count];
    char key[HASH_TEXT_MAX];
    int end = -1;

    if (!replay->has_header) {
        if (sscanf(line, HEADER_SCAN, key, &replay->quarantine_usec, &end) != 2 || end != (int)length)
            return error_set(error, EBADMSG, "not a replay memory");
        if (strcmp(key, replay->key))
            return error_set(error, EBADMSG, "belongs to another host key");
        replay->has_header = true;
        return 0;
    }
    if (replay->count == REPLAY_ENTRIES_MAX)
        return error_set(error, EBADMSG, "more than %d orders", REPLAY_ENTRIES_MAX);
    if (sscanf(line, ENTRY_SCAN, entry->mandate, entry->order, entry->run, entry->step, entry->class,
               &entry->end_usec, &entry->until_usec, &end) != 7 ||
        end != (int)length)
        return error_set(error, EBADMSG, "not an order");
    replay->count++;
    return 0;
}

int replay_forget(struct replay *replay, const char *path, int64_t now_usec, struct error *error)
{
    size_t kept = 0;

    for (size_t i = 0; i < replay->count; i++)
        if (replay->entries[i].until_usec >= now_usec)
            replay->entries[kept++] = replay->entries[i];
        else if (replay->entries[i].until_usec >= replay->quarantine_usec)
            replay->quarantine_usec = replay->entries[i].until_usec + 1;
    if (kept == replay->count)
        return 0;
    replay->count = kept;
    return write_all(replay, path, error);
}

int replay_open(struct replay **ret, const char *path, const struct public_key *key, struct error *error)
{
    _cleanup_(replay_freep) struct replay *replay = calloc(1, sizeof(*replay));
    int r;

    if (!replay)
        return error_oom(error);
    hash_text(key->bytes, sizeof(key->bytes), replay->key);
    replay->entries = calloc(REPLAY_ENTRIES_MAX + 1, sizeof(*replay->entries));
    if (!replay->entries)
        return error_oom(error);
    r = lines_read(&replay->lines, path, path, REPLAY_BYTES_MAX, true, take_line, replay, error);
    if (r == 0 && !replay->has_header)
        r = error_set(error, EBADMSG, "%s:1: empty", path);
    if (r == 0)
        *ret = TAKE_PTR(replay);
    return r;
}

struct replay *replay_free(struct replay *replay)
{
    if (!replay)
        return NULL;
    lines_clear(&replay->lines);
    free(replay->entries);
    free(replay);
    return NULL;
}

int replay_remember(struct replay *replay, const struct replay_entry *entry, struct error *error)
{
    _cleanup_free_ char *line = entry_format(entry);

    if (!line)
        return error_oom(error);
    if (replay->count == REPLAY_ENTRIES_MAX)
        return error_set(error, ENOSPC, "replay memory: full (%d orders)", REPLAY_ENTRIES_MAX);
    if (lines_append(&replay->lines, line, error) < 0)
        return error_wrap(error, "replay memory");
    replay->entries[replay->count++] = *entry;
    return 0;
}

struct lines *replay_lines(struct replay *replay)
{
    return &replay->lines;
}

int64_t replay_quarantine_usec(const struct replay *replay)
{
    return replay->quarantine_usec;
}

const struct replay_entry *replay_find(const struct replay *replay, const char *run, const char *step)
{
    for (size_t i = 0; i < replay->count; i++)
        if (!strcmp(replay->entries[i].run, run) && !strcmp(replay->entries[i].step, step))
            return &replay->entries[i];
    return NULL;
}

static bool is_of_run(const struct replay_entry *entry, const char *mandate, const char *run)
{
    return !strcmp(entry->mandate, mandate) && !strcmp(entry->run, run);
}

size_t replay_count_runs(const struct replay *replay, const char *mandate, const char *except_run)
{
    size_t count = 0;

    for (size_t i = 0, before; i < replay->count; i++) {
        const struct replay_entry *entry = &replay->entries[i];

        if (strcmp(entry->mandate, mandate) || !strcmp(entry->run, except_run))
            continue;
        for (before = 0; !is_of_run(&replay->entries[before], mandate, entry->run); before++) {
        }
        count += before == i; /* the first one of its run */
    }
    return count;
}

int64_t replay_last_end_usec(const struct replay *replay, const char *class, const char *mandate,
                             const char *except_run)
{
    int64_t last = 0;

    for (size_t i = 0; i < replay->count; i++) {
        const struct replay_entry *entry = &replay->entries[i];

        if (!strcmp(entry->class, class) && entry->end_usec > last && !is_of_run(entry, mandate, except_run))
            last = entry->end_usec;
    }
    return last;
}
