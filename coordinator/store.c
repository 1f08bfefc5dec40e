/* SQLite on the loop: docs/decisions/0001-store-on-the-loop.md says why without a thread. */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

#define TEXT_OF(number) #number
#define TEXT(number)    TEXT_OF(number)
#define ROOM_BYTES      (1024 * 1024) /* less than this is free: a commit that works now fails soon */

struct waiter {
    struct waiter *next;
    void (*done)(void *context);
    void *context;
};

struct store {
    sqlite3 *database;
    struct event_base *base;
    struct event *turn; /* made active by the first write of a turn: runs after what is active now */
    bool is_open;       /* a transaction is */
    struct waiter *waiters, **tail;
    struct waiter *due; /* of the commit that has just been made */
    char failure[ERROR_TEXT_MAX];
    void (*failed)(void *context);
    void *failed_context;
};

struct store_row {
    sqlite3_stmt *statement;
};

static void statement_finalize(sqlite3_stmt **statement)
{
    sqlite3_finalize(*statement);
}

static int store_error(struct store *store, struct error *error, const char *what)
{
    int code = sqlite3_errcode(store->database);
    int number = code == SQLITE_CONSTRAINT ? EEXIST
                 : code == SQLITE_BUSY     ? EBUSY
                 : code == SQLITE_FULL     ? ENOSPC
                                           : EIO;

    return error_set(error, number, "store: %s: %s", what, sqlite3_errmsg(store->database));
}

static int store_run(struct store *store, const char *sql, struct error *error)
{
    if (sqlite3_exec(store->database, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_error(store, error, sql);
    return 0;
}

/* Final: SQLite may have rolled back what others believe written. */
static int store_fail(struct store *store, struct error *error)
{
    char why[ERROR_TEXT_MAX];

    snprintf(why, sizeof(why), "%s", error->text);
    if (!sqlite3_get_autocommit(store->database))
        (void)store_run(store, "ROLLBACK", NULL);
    store->is_open = false;
    if (!store->failure[0]) {
        snprintf(store->failure, sizeof(store->failure), "%s", why);
        if (store->failed)
            store->failed(store->failed_context);
    }
    return error_set(error, EROFS, "%s", why);
}

static struct waiter *waiters_free(struct waiter *waiter)
{
    while (waiter) {
        struct waiter *next = waiter->next;

        free(waiter);
        waiter = next;
    }
    return NULL;
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

static void on_turn(evutil_socket_t fd, short what, void *context)
{
    struct store *store = context;

    (void)store_commit(store); /* who waits looks whether it failed */
    store->due = TAKE_PTR(store->waiters);
    store->tail = &store->waiters;
    while (store->due) {
        struct waiter *waiter = store->due;

        store->due = waiter->next;
        if (waiter->done)
            waiter->done(waiter->context);
        free(waiter);
    }
}

static int on_version(void *context, const struct store_row *row)
{
    *(int64_t *)context = store_integer(row, 0);
    return 0;
}

static int store_migrate(struct store *store, struct error *error)
{
    int64_t version = 0;
    char pragma[64];
    int r;

    r = store_query(store, on_version, &version, error, "PRAGMA user_version", "");
    if (r < 0 || version == STORE_SCHEMA_VERSION)
        return r;
    if (version != 0)
        return error_set(error, EPROTONOSUPPORT, "store: schema %lld, this program knows %d: upgrade it",
                         (long long)version, STORE_SCHEMA_VERSION);
    r = store_run(store, "BEGIN IMMEDIATE", error);
    for (size_t i = 0; r == 0 && store_schema[i]; i++)
        r = store_run(store, store_schema[i], error);
    snprintf(pragma, sizeof(pragma), "PRAGMA user_version = %d", STORE_SCHEMA_VERSION);
    if (r == 0)
        r = store_run(store, pragma, error);
    return r < 0 ? r : store_run(store, "COMMIT", error);
}

int store_open(struct store **ret, const char *path, struct event_base *base, struct error *error)
{
    static const char *const pragmas[] = {
        "PRAGMA locking_mode = EXCLUSIVE", /* one connection, whoever tries */
        "PRAGMA journal_mode = WAL",       "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",        "PRAGMA trusted_schema = OFF",
    };
    _cleanup_(store_closep) struct store *store = calloc(1, sizeof(*store));
    int r = 0, fd;

    if (!store)
        return error_oom(error);
    store->base = base;
    store->tail = &store->waiters;
    store->turn = event_new(base, -1, 0, on_turn, store);
    if (!store->turn)
        return error_oom(error);
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(error, errno, "store: %s", path);
    close(fd);
    if (sqlite3_open_v2(path, &store->database, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
        return error_set(error, EIO, "store: %s: %s", path, sqlite3_errmsg(store->database));
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(pragmas); i++)
        r = store_run(store, pragmas[i], error);
    if (r == 0)
        r = store_migrate(store, error);
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
    waiters_free(store->waiters);
    sqlite3_close(store->database);
    if (store->turn)
        event_free(store->turn);
    free(store);
    return NULL;
}

int store_flush(struct store *store, struct error *error)
{
    return store_commit(store) < 0 ? error_set(error, EROFS, "%s", store->failure) : 0;
}

void store_on_failure(struct store *store, void (*failed)(void *context), void *context)
{
    store->failed = failed;
    store->failed_context = context;
}

static bool has_room(struct store *store)
{
    struct statvfs room;

    return statvfs(sqlite3_db_filename(store->database, "main"), &room) == 0 &&
           room.f_bavail * room.f_frsize >= ROOM_BYTES;
}

int store_retry(struct store *store, void (*write)(void *context), void *context, struct error *error)
{
    char why[ERROR_TEXT_MAX];
    int r;

    if (!has_room(store))
        return error_set(error, EROFS, "%s", store->failure);
    memcpy(why, store->failure, sizeof(why));
    store->failure[0] = '\0';
    write(context);
    r = store_write(store, error, "PRAGMA user_version = " TEXT(STORE_SCHEMA_VERSION), ""); /* as it was */
    if (r >= 0)
        r = store_flush(store, error);
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

static int store_prepare(struct store *store, sqlite3_stmt **ret, const char *sql, const char *format,
                         va_list arguments, struct error *error)
{
    if (sqlite3_prepare_v2(store->database, sql, -1, ret, NULL) != SQLITE_OK ||
        bind_all(*ret, format, arguments) != SQLITE_OK)
        return store_error(store, error, sql);
    return 0;
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
    event_active(store->turn, EV_TIMEOUT, 0);
    return 0;
}

int store_write(struct store *store, struct error *error, const char *sql, const char *format, ...)
{
    _cleanup_(statement_finalize) sqlite3_stmt *statement = NULL;
    struct error local;
    va_list arguments;
    int r;

    if (!error)
        error = &local;
    if (store->failure[0])
        return error_set(error, EROFS, "%s", store->failure);
    va_start(arguments, format);
    r = store_prepare(store, &statement, sql, format, arguments, error);
    va_end(arguments);
    if (r == 0)
        r = store_begin(store, error);
    if (r < 0)
        return r;
    if (sqlite3_step(statement) == SQLITE_DONE)
        return sqlite3_changes(store->database);
    r = store_error(store, error, sql);
    return r == -ENOSPC || sqlite3_get_autocommit(store->database) ? store_fail(store, error) : r;
}

int store_query(struct store *store, int (*each)(void *context, const struct store_row *row), void *context,
                struct error *error, const char *sql, const char *format, ...)
{
    _cleanup_(statement_finalize) sqlite3_stmt *statement = NULL;
    va_list arguments;
    int r, step = SQLITE_DONE;

    va_start(arguments, format);
    r = store_prepare(store, &statement, sql, format, arguments, error);
    va_end(arguments);
    while (r == 0 && (step = sqlite3_step(statement)) == SQLITE_ROW)
        r = each(context, &(struct store_row){statement});
    if (r == 0 && step != SQLITE_DONE)
        return store_error(store, error, sql);
    return r;
}

const char *store_text(const struct store_row *row, int column)
{
    const char *text = (const char *)sqlite3_column_text(row->statement, column);

    return text ? text : "";
}

int64_t store_integer(const struct store_row *row, int column)
{
    return sqlite3_column_int64(row->statement, column);
}

void store_after_commit(struct store *store, void (*done)(void *context), void *context)
{
    struct waiter *waiter = malloc(sizeof(*waiter));

    if (!waiter) {
        store_fail(store, &(struct error){.text = "store: out of memory"});
        done(context);
        return;
    }
    *waiter = (struct waiter){.done = done, .context = context};
    *store->tail = waiter;
    store->tail = &waiter->next;
    event_active(store->turn, EV_TIMEOUT, 0);
}

void store_forget(struct store *store, void *context)
{
    struct waiter *lists[] = {store->waiters, store->due};

    for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
        for (struct waiter *waiter = lists[i]; waiter; waiter = waiter->next)
            if (waiter->context == context)
                waiter->done = NULL;
}
