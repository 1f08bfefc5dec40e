/*
 * The store: SQLite, one file, one connection, WAL with synchronous=FULL. Whatever is written in one turn of
 * the event loop is committed together at the end of that turn; no answer leaves before
 * (http_server_flush()). A commit that fails is final (an fsync that failed must not be tried again):
 * from then on everything can be read and nothing written, until store_retry() finds the disk well.
 */
#pragma once

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

struct store;
struct store_row;

int store_open(struct store **ret, const char *path, struct event_base *base, struct error *error);
/** store_close() - commits what is open */
struct store *store_close(struct store *store);
DEFINE_CLEANUP(struct store *, store_close)

/**
 * store_write() - one INSERT, UPDATE or DELETE
 * @format: a letter for each `?`: s = const char * (NULL = SQL null), i = int64_t
 * Return: 0 or -errno (-EEXIST for a broken uniqueness, -EROFS once a commit failed)
 */
int store_write(struct store *store, struct error *error, const char *sql, const char *format, ...);
/** store_changes() - rows that the last store_write() changed */
int store_changes(const struct store *store);

/** store_select() - for store_next(), and then to be freed; NULL = it failed, which store_next() repeats */
struct store_row *store_select(struct store *store, struct error *error, const char *sql, const char *format,
                               ...);
/** store_next() - Return: 1 = @row is the next one, 0 = there are no more, -errno */
int store_next(struct store_row *row, struct error *error);
struct store_row *store_row_free(struct store_row *row);
DEFINE_CLEANUP(struct store_row *, store_row_free)
const char *store_text(const struct store_row *row, int column); /* "" for null */
int64_t store_integer(const struct store_row *row, int column);

/** STORE_TIME() - SQL: the RFC 3339 text of a column of microseconds */
#define STORE_TIME(column)                                                                                   \
    "strftime('%Y-%m-%dT%H:%M:%S', " column " / 1000000, 'unixepoch')"                                       \
    " || printf('.%06dZ', " column " % 1000000)"

/** store_is_pending() - something was written in this turn, and is not durable yet */
bool store_is_pending(const struct store *store);
/** store_on_commit() - call @done after each turn that wrote something, which is durable then or never will
 * be: see store_failure() */
void store_on_commit(struct store *store, void (*done)(void *context), void *context);
/** store_failure() - why nothing can be written, NULL = it can */
const char *store_failure(const struct store *store);
/**
 * store_retry() - may be written again, with room to spare? What was rolled back is lost: whoever had gone by
 * it has to read anew
 * @write: what has to be written first; its errors don't matter
 */
int store_retry(struct store *store, void (*write)(void *context), void *context);

/** store_schema - the statements that make an empty database (store-schema.c). Whoever changes them raises
 * the version: a database of another one is refused */
extern const char store_schema[];
#define STORE_SCHEMA_VERSION "2"
