/*
 * What has been done already (/var/lib/grivet/replay): one line per order, durable before its holder starts.
 * It is bound to the host's key; a memory that is lost while the key is there could let an order in twice, so
 * the executor then refuses all of them for as long as an order may wait to be started (quarantine).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/times.h"
#include "lines.h"

#define REPLAY_PATH        "/var/lib/grivet/replay"
#define REPLAY_ENTRIES_MAX 20000

/** struct replay_entry - @order: hash of its payload; @end_usec: when its fault ends at the latest;
 * @until_usec: forget it no sooner */
struct replay_entry {
    char mandate[HASH_TEXT_MAX], order[HASH_TEXT_MAX], run[UUID_TEXT_MAX], step[64], class[64];
    int64_t end_usec, until_usec;
};

struct replay;

/**
 * replay_open() - read the memory; a last line without an end is cut off (it never was durable)
 * Return: 0, -ENOENT, or -EBADMSG for a memory of another key or one that does not read: see replay_replace()
 */
int replay_open(struct replay **ret, const char *path, const struct public_key *key, struct error *error);
/** replay_forget() - the clock is right: drop what is past its time at @now_usec. Should it have been wrong
 * after all, then until what was forgotten is over again the memory counts as lost. After an error it is as
 * whole as before. Not while a group of it is being written */
int replay_forget(struct replay *replay, const char *path, int64_t now_usec, struct error *error);
/** replay_replace() - start anew beside a new host key, or, quarantined until @quarantine_usec and across
 * restarts, where the memory is lost */
int replay_replace(const char *path, const struct public_key *key, int64_t quarantine_usec,
                   struct error *error);
struct replay *replay_free(struct replay *replay);
DEFINE_CLEANUP(struct replay *, replay_free)

/** replay_quarantine_usec() - REALTIME until which no order is taken; 0 = none */
int64_t replay_quarantine_usec(const struct replay *replay);
/** replay_find() - the order for @step of @run that was let in; borrowed until replay_remember(); NULL = none
 */
const struct replay_entry *replay_find(const struct replay *replay, const char *run, const char *step);
/** replay_count_runs() - runs of @mandate that were seen here, not counting @except_run */
size_t replay_count_runs(const struct replay *replay, const char *mandate, const char *except_run);
/** replay_last_end_usec() - when the last fault of @class ends or ended, not counting those of @mandate in
 * @except_run: the steps of one run do not cool each other down; 0 = none is remembered */
int64_t replay_last_end_usec(const struct replay *replay, const char *class, const char *mandate,
                             const char *except_run);
/** replay_remember() - known from now on; durable once a group of replay_lines() was written */
int replay_remember(struct replay *replay, const struct replay_entry *entry, struct error *error);
struct lines *replay_lines(struct replay *replay);
