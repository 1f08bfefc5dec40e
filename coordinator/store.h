/*
 * The store: SQLite, one file, one connection, WAL with synchronous=FULL. Whatever is written in one turn of
 * the event loop is committed together at the end of that turn; what promises durability to a peer replies
 * from store_after_commit(). A commit that fails is final: the process says so and ends (facts section 6).
 */
#pragma once

#include <event2/event.h>
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
 * Return: number of rows changed, or -errno (-EEXIST for a broken uniqueness)
 */
int store_write(struct store *store, struct error *error, const char *sql, const char *format, ...);

/** store_query() - @each is called for each row until it returns other than 0, which is then returned; @each
 * must not write */
int store_query(struct store *store, int (*each)(void *context, const struct store_row *row), void *context,
                struct error *error, const char *sql, const char *format, ...);
const char *store_text(const struct store_row *row, int column); /* "" for null */
int64_t store_integer(const struct store_row *row, int column);

/** store_after_commit() - call @done once all that was written so far is durable; drop it with store_forget()
 */
void store_after_commit(struct store *store, void (*done)(void *context), void *context);
void store_forget(struct store *store, void *context);

/** store_flush() - commit now: for programs without a loop */
int store_flush(struct store *store, struct error *error);
/** store_failure() - why a commit failed (the loop was told to end), NULL = none did */
const char *store_failure(const struct store *store);

/** store_schema - the statements that make an empty database, ended by NULL (store-schema.c) */
extern const char *const store_schema[];
#define STORE_SCHEMA_VERSION 1
