/* SQLite on the loop: docs/decisions/0001-store-on-the-loop.md says why without a thread. */
#include "store.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define ROOM_BYTES (1024 * 1024) /* less than this is free: a commit that works now fails soon */

struct store {
    sqlite3 *database;
    struct event *end; /* of a turn: made active by its first write, runs after what is active now */
    bool is_open;      /* a transaction is */
    char failure[ERROR_TEXT_MAX];
    void (*done)(void *context);
    void *context;
};

static sqlite3_stmt *statement_of(const struct store_row *row)
{
    return (sqlite3_stmt *)row;
}

static int store_error(sqlite3 *database, struct error *error, const char *what)
{
    int code = sqlite3_errcode(database);
    int number = code == SQLITE_CONSTRAINT ? EEXIST
                 : code == SQLITE_BUSY     ? EBUSY
                 : code == SQLITE_FULL     ? ENOSPC
                                           : EIO;

    return error_set(error, number, "store: %s: %s", what, sqlite3_errmsg(database));
}

static int store_run(struct store *store, const char *sql, struct error *error)
{
    if (sqlite3_exec(store->database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_error(store->database, error, sql);
    return 0;
}

/* Final: SQLite may have rolled back what others believe written. */
static int store_fail(struct store *store, struct error *error)
{
    if (!sqlite3_get_autocommit(store->database))
        (void)store_run(store, "ROLLBACK", NULL);
    store->is_open = false;
    if (!store->failure[0])
        snprintf(store->failure, sizeof(store->failure), "%s", error->text);
    error->code = EROFS;
    return -EROFS;
}

static int store_commit(struct store *store)
{
    struct error error;

    if (store->failure[0])
        return -EROFS;
    if (store->is_open && store_run(store, "COMMIT", &error) < 0)
        return store_fail(store, &error);
    store->is_open = false;
    return 0;
}

static void on_turn_end(evutil_socket_t fd, short what, void *context)
{
    struct store *store = context;

    (void)store_commit(store);
    if (store->done)
        store->done(store->context);
}

/* There is no way from one to another as long as no version was released. */
static int store_check_version(const struct store *store, int64_t version, struct error *error)
{
    const char *path = sqlite3_db_filename(store->database, "main");
    const int ours = atoi(STORE_SCHEMA_VERSION);

    if (version == ours)
        return 0;
    if (version > ours)
        return error_set(error, EPROTONOSUPPORT,
                         "store: %s: of a newer grivet-coordinator (schema %" PRId64
                         ", this one has %d): install that one again",
                         path, version, ours);
    return error_set(
        error, EPROTONOSUPPORT,
        "store: %s: of an older grivet-coordinator (schema %" PRId64
        ", this one has %d): install that one again, or move the file away and let the hosts join "
        "anew",
        path, version, ours);
}

static int store_make_tables(struct store *store, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(store, error, "PRAGMA user_version", "");
    int r = store_next(row, error);

    if (r < 0 || store_integer(row, 0) != 0)
        return r < 0 ? r : store_check_version(store, store_integer(row, 0), error);
    row = store_row_free(row); /* no transaction ends while a row is held */
    return store_run(store, store_schema, error);
}

int store_open(struct store **ret, const char *path, struct event_base *base, struct error *error)
{
    static const char pragmas[] = "PRAGMA locking_mode = EXCLUSIVE;" /* one connection, whoever tries */
                                  "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                                  "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;";
    _cleanup_(store_closep) struct store *store = calloc(1, sizeof(*store));
    int r;

    if (!store)
        return error_oom(error);
    store->end = event_new(base, -1, 0, on_turn_end, store);
    if (!store->end)
        return error_oom(error);
    if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK)
        return error_set(error, EIO, "store: %s: %s", path, sqlite3_errmsg(store->database));
    r = store_run(store, pragmas, error);
    if (r == 0)
        r = store_make_tables(store, error);
    if (r == -EBUSY)
        return error_set(error, EBUSY, "store: %s: another process has it, the running coordinator?", path);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(store);
    return 0;
}

struct store *store_close(struct store *store)
{
    if (!store)
        return NULL;
    (void)store_commit(store);
    sqlite3_close(store->database);
    if (store->end)
        event_free(store->end);
    free(store);
    return NULL;
}

void store_on_commit(struct store *store, void (*done)(void *context), void *context)
{
    store->done = done;
    store->context = context;
}

bool store_is_pending(const struct store *store)
{
    return store->is_open;
}

static bool has_room(struct store *store)
{
    struct statvfs room;

    return statvfs(sqlite3_db_filename(store->database, "main"), &room) == 0 &&
           room.f_bavail * room.f_frsize >= ROOM_BYTES;
}

int store_retry(struct store *store, void (*write)(void *context), void *context)
{
    char why[ERROR_TEXT_MAX];
    int r;

    if (!has_room(store))
        return -EROFS;
    memcpy(why, store->failure, sizeof(why));
    store->failure[0] = '\0';
    write(context);
    r = store_write(store, NULL, "PRAGMA user_version = " STORE_SCHEMA_VERSION, ""); /* as it was */
    if (r == 0)
        r = store_commit(store);
    if (r < 0 && !store->failure[0])
        memcpy(store->failure, why, sizeof(why));
    return r;
}

const char *store_failure(const struct store *store)
{
    return store->failure[0] ? store->failure : NULL;
}

static int bind_all(sqlite3_stmt *statement, const char *format, va_list arguments)
{
    int r = SQLITE_OK;

    for (int i = 1; r == SQLITE_OK && *format; i++, format++) {
        if (*format == 's')
            r = sqlite3_bind_text(statement, i, va_arg(arguments, const char *), -1, SQLITE_TRANSIENT);
        else
            r = sqlite3_bind_int64(statement, i, va_arg(arguments, int64_t));
    }
    return r;
}

/* NULL = it failed */
static struct store_row *store_prepare(struct store *store, struct error *error, const char *sql,
                                       const char *format, va_list arguments)
{
    _cleanup_(store_row_freep) struct store_row *row = NULL;

    if (sqlite3_prepare_v2(store->database, sql, -1, (sqlite3_stmt **)&row, NULL) != SQLITE_OK ||
        bind_all(statement_of(row), format, arguments) != SQLITE_OK) {
        store_error(store->database, error, sql);
        return NULL;
    }
    return TAKE_PTR(row);
}

static int store_begin(struct store *store, struct error *error)
{
    int r;

    if (store->is_open)
        return 0;
    r = store_run(store, "BEGIN IMMEDIATE", error);
    if (r < 0)
        return r;
    store->is_open = true;
    event_active(store->end, EV_TIMEOUT, 0);
    return 0;
}

int store_write(struct store *store, struct error *error, const char *sql, const char *format, ...)
{
    _cleanup_(store_row_freep) struct store_row *row = NULL;
    struct error local;
    va_list arguments;
    int r;

    if (!error)
        error = &local;
    if (store->failure[0])
        return error_set(error, EROFS, "%s", store->failure);
    va_start(arguments, format);
    row = store_prepare(store, error, sql, format, arguments);
    va_end(arguments);
    r = row ? store_begin(store, error) : -error->code;
    if (r < 0)
        return r;
    r = store_next(row, error);
    if (r == -ENOSPC || (r < 0 && sqlite3_get_autocommit(store->database)))
        return store_fail(store, error);
    return r;
}

int store_changes(const struct store *store)
{
    return sqlite3_changes(store->database);
}

struct store_row *store_select(struct store *store, struct error *error, const char *sql, const char *format,
                               ...)
{
    struct store_row *row;
    va_list arguments;

    va_start(arguments, format);
    row = store_prepare(store, error, sql, format, arguments);
    va_end(arguments);
    return row;
}

int store_next(struct store_row *row, struct error *error)
{
    int step = row ? sqlite3_step(statement_of(row)) : SQLITE_ERROR;

    if (step == SQLITE_ROW || step == SQLITE_DONE)
        return step == SQLITE_ROW;
    return row ? store_error(sqlite3_db_handle(statement_of(row)), error, sqlite3_sql(statement_of(row)))
               : -EIO; /* store_select() has said why */
}

struct store_row *store_row_free(struct store_row *row)
{
    sqlite3_finalize(statement_of(row));
    return NULL;
}

const char *store_text(const struct store_row *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(statement_of(row), column);

    return text ? text : "";
}

int64_t store_integer(const struct store_row *row, int column)
{
    return sqlite3_column_int64(statement_of(row), column);
}
