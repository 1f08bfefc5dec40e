/* Segments of the journal on disk: for journal.c alone. */
#pragma once

#include "journal.h"

#define SEGMENT_NAME_MAX 24 /* 20 digits */

/** struct segment - @first: sequence of its first line; @count: lines; @bytes: up to the end of the last one
 */
struct segment {
    int64_t first, count;
    size_t bytes, cut_bytes;
};

/** struct chain - the end of the chain so far: number of the last line and its hash, 64 zeros before the
 * first */
struct chain {
    int64_t sequence;
    char hash[HASH_TEXT_MAX];
};

const char *segment_name(int64_t first, char ret[SEGMENT_NAME_MAX]);
/** segment_list() - ordered by @first. Return: their number, or -errno; -EBADMSG for a file that is none of
 * ours */
int segment_list(int folder, struct segment ret[JOURNAL_SEGMENTS_MAX], struct error *error);
int segment_read(int folder, const struct segment *segment, char **ret, size_t *ret_length,
                 struct error *error);
/**
 * segment_check() - follow the chain through one segment, and count its lines
 * @chain: where it stands; for the oldest segment @chain->sequence is set by it, and its first `previous` is
 * believed
 * @is_newest: an unfinished last line is cut off
 */
int segment_check(int folder, struct segment *segment, struct chain *chain, bool is_oldest, bool is_newest,
                  const struct journal_reader *reader, struct error *error);
/** segment_skip() - the line after the first @count ones in @text */
const char *segment_skip(const char *text, const char *end, int64_t count);
