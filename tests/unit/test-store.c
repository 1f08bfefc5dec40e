/* The store: one commit per turn, uniqueness, a schema that stays, and one owner at a time. */
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/envelope.h"
#include "coordinator/store.h"
#include "unit.h"

static char folder[] = "/tmp/grivet-store-XXXXXX", path[64];
static struct event_base *base;
static struct store *store;

static void setup(void)
{
    strcpy(folder, "/tmp/grivet-store-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/store.db", folder);
    base = event_base_new();
    ck_assert_int_eq(store_open(&store, path, base, NULL), 0);
}

static void teardown(void)
{
    char command[128];

    store = store_close(store);
    event_base_free(base);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static int insert_token(const char *id, const char *hash, int64_t uses)
{
    return store_write(store, NULL,
                       "INSERT INTO tokens (id, hash, labels, uses_left, created, expires, by)"
                       " VALUES (?, ?, '{}', ?, 1, 2, ?)",
                       "ssis", id, hash, uses, "me");
}

static int64_t count_tokens(void)
{
    _cleanup_(store_row_freep) struct store_row *row =
        store_select(store, NULL, "SELECT count(*) FROM tokens", "");

    ck_assert_int_eq(store_next(row, NULL), 1);
    return store_integer(row, 0);
}

static void note(void *context)
{
    ++*(int *)context;
}

START_TEST(test_commit_at_the_end_of_the_turn)
{
    int commits = 0;

    store_on_commit(store, note, &commits);
    ck_assert(!store_is_pending(store));
    ck_assert_int_eq(insert_token("a", "ha", 1), 0);
    ck_assert_int_eq(insert_token("b", "hb", 1), 0);
    ck_assert(store_is_pending(store));
    ck_assert_int_eq(commits, 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(commits, 1);
    ck_assert(!store_is_pending(store));
    ck_assert_ptr_null(store_failure(store));
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(commits, 1); /* nothing was written */
}
END_TEST

START_TEST(test_refusals_leave_the_turn_alone)
{
    struct error error;

    ck_assert_int_eq(insert_token("a", "ha", 1), 0);
    ck_assert_int_eq(insert_token("b", "ha", 1), -EEXIST);
    ck_assert_int_eq(insert_token("c", "hc", -1), -EEXIST);
    ck_assert_int_eq(store_write(store, &error, "UPDATE nowhere SET a = 1", ""), -EIO);
    ck_assert_ptr_nonnull(strstr(error.text, "no such table"));
    ck_assert_int_eq(store_write(store, NULL, "UPDATE tokens SET by = ? WHERE id = 'z'", "s", "x"), 0);
    ck_assert_int_eq(store_changes(store), 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_ptr_null(store_failure(store));
    ck_assert_int_eq(count_tokens(), 1);
}
END_TEST

START_TEST(test_reopens_with_what_was_committed)
{
    ck_assert_int_eq(insert_token("a", "ha", 7), 0);
    store = store_close(store);
    ck_assert_int_eq(store_open(&store, path, base, NULL), 0);
    ck_assert_int_eq(count_tokens(), 1);
}
END_TEST

/* A process that is killed between write and commit leaves nothing of that turn, and all of those before. */
START_TEST(test_killed_before_commit)
{
    pid_t child;
    int status;

    store = store_close(store);
    child = fork();
    if (child == 0) {
        if (store_open(&store, path, base, NULL) < 0 || insert_token("a", "ha", 1) != 0 ||
            event_base_loop(base, EVLOOP_NONBLOCK) < 0 || insert_token("b", "hb", 1) != 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFSIGNALED(status));
    ck_assert_int_eq(store_open(&store, path, base, NULL), 0);
    ck_assert_int_eq(count_tokens(), 1);
}
END_TEST

START_TEST(test_one_owner)
{
    struct store *second = NULL;
    struct error error;

    ck_assert_int_eq(insert_token("a", "ha", 1), 0);
    event_base_loop(base, EVLOOP_NONBLOCK);
    ck_assert_int_eq(store_open(&second, path, base, &error), -EBUSY);
    ck_assert_ptr_nonnull(strstr(error.text, "another process has it"));
}
END_TEST

static void check_refused(int version, const char *words)
{
    char command[160];
    struct error error;

    store = store_close(store);
    snprintf(command, sizeof(command), "sqlite3 %s 'PRAGMA user_version = %d'", path, version);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(store_open(&store, path, base, &error), -EPROTONOSUPPORT);
    ck_assert_msg(strstr(error.text, words) && strstr(error.text, path), "%s", error.text);
}

START_TEST(test_other_schemas_are_refused)
{
    check_refused(99, "of a newer grivet-coordinator (schema 99, this one has 2): install that one again");
    check_refused(
        1, "of an older grivet-coordinator (schema 1, this one has 2): install that one again, or move");
}
END_TEST

/* Whoever changes the tables: raise STORE_SCHEMA_VERSION, and write its number and the new hash here. */
START_TEST(test_the_version_changes_with_the_tables)
{
    char hash[HASH_TEXT_MAX];

    ck_assert_str_eq(STORE_SCHEMA_VERSION, "2");
    ck_assert_str_eq(hash_text(store_schema, strlen(store_schema), hash),
                     "9a82728e84f1247272162b59729c71e928484550bfd2c87e0d307dba680ad777");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_commit_at_the_end_of_the_turn,
                                  test_refusals_leave_the_turn_alone,
                                  test_reopens_with_what_was_committed,
                                  test_killed_before_commit,
                                  test_one_owner,
                                  test_other_schemas_are_refused,
                                  test_the_version_changes_with_the_tables,
                                  NULL};

    return unit_run_within("store", tests, setup, teardown);
}
