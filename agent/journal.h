/*
 * The event journal (/var/lib/grivet/events): what happened here, one line of JSON an event, each with the
 * hash of the line before. An event is on disk before anybody is told of it, and goes only when the other
 * side has acknowledged it under its own key. Files are segments, named by the sequence of their first line;
 * lines are consecutive, so a line's place is its number. The newest segment always stays: it holds the end
 * of the chain.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "common/document.h"
#include "common/envelope.h"
#include "common/times.h"
#include "lines.h"

#define JOURNAL_FOLDER        "/var/lib/grivet/events"
#define JOURNAL_SEGMENT_BYTES (1024 * 1024)
#define JOURNAL_SEGMENT_MAX   (JOURNAL_SEGMENT_BYTES + LINES_WAITING_MAX) /* if the disk does not keep up */
#define JOURNAL_SEGMENTS_MAX  256 /* when so many wait for their acknowledgement, the journal is full */
#define JOURNAL_LINE_MAX      (128 * 1024)

struct journal;

/**
 * journal_open() - check the whole chain
 * @host: the name that events bear
 * @read: hears of every event that is there, oldest first; NULL = nobody
 * An unfinished last line (a crash in mid write) is cut off. Return: 0, -EBADMSG for any other damage, -errno
 */
int journal_open(struct journal **ret, const char *folder, const char *host,
                 void (*read)(void *context, const struct node *event), void *context, struct error *error);
/** journal_free() - what waits is lost */
struct journal *journal_free(struct journal *journal);
DEFINE_CLEANUP(struct journal *, journal_free)

/**
 * journal_append() - it waits for its group
 * @event: `at` and all that follows it in docs/protocol.md; borrowed
 * Return: 0, -EBUSY when too much waits for the disk, -errno: nothing was added
 */
int journal_append(struct journal *journal, json_t *event, struct error *error);
/** journal_waiting_bytes() - of events that are not durable yet */
size_t journal_waiting_bytes(const struct journal *journal);
/**
 * journal_group_begin() - what is to be written so that everything appended so far may be fetched
 * @ret: for lines_group_write()
 * Return: 1, 0 when nothing is to be done, -ENOSPC the journal is full. One at a time, ended by
 * journal_group_end()
 */
int journal_group_begin(struct journal *journal, struct lines_group *ret, struct error *error);
/** journal_group_end() - harmless when there was nothing to be done. Return: 0 or the error of @result */
int journal_group_end(struct journal *journal, struct lines_result result, struct error *error);

/** journal_cut_bytes() - how much of an unfinished last line was cut off when it was opened, 0 = nothing */
size_t journal_cut_bytes(const struct journal *journal);
/** journal_last() - sequence of the last durable event, 0 = none; @ret_hash: its line's hash, may be NULL */
int64_t journal_last(const struct journal *journal, char ret_hash[HASH_TEXT_MAX]);
/** journal_acknowledged() - everything up to here may have been deleted */
int64_t journal_acknowledged(const struct journal *journal);

/** journal_fetch() - whole durable lines after @after, about @limit_bytes; @ret owned by the caller, maybe
 * empty */
int journal_fetch(struct journal *journal, int64_t after, size_t limit_bytes, char **ret, size_t *ret_length,
                  struct error *error);
/** journal_acknowledge() - events up to @sequence are safe elsewhere. Return: 0, -EKEYREJECTED when @hash is
 * not that of our event */
int journal_acknowledge(struct journal *journal, int64_t sequence, const char *hash, struct error *error);
/** journal_drop() - forget the oldest segment, if all of it is safe elsewhere. Return: its path, for the
 * caller to remove the file (one that stays is found again at the next start); NULL = there is none */
const char *journal_drop(struct journal *journal, char ret[LINES_PATH_MAX]);
