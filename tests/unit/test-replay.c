/* The memory of earlier orders: bound to a key, whole or lost, never half. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "agent/replay.h"
#include "common/io.h"

#define ORDER   "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define MANDATE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define RUN(n)  "0190abcd-0000-7000-8000-00000000000" #n

static const struct public_key key = {{1, 2, 3}}, other_key = {{9}};
static struct error error;
static char path[64];

static void setup(void)
{
    snprintf(path, sizeof(path), "/tmp/grivet-unit-replay-%d", getpid());
    unlink(path);
    ck_assert_int_eq(replay_replace(path, &key, 0, &error), 0);
}

static struct replay *reopen(struct replay *old, int64_t now_usec, bool may_forget)
{
    struct replay *replay = NULL;

    replay_free(old);
    ck_assert_msg(replay_open(&replay, path, &key, &error) == 0, "%s", error.text);
    if (may_forget)
        ck_assert_msg(replay_forget(replay, path, now_usec, &error) == 0, "%s", error.text);
    return replay;
}

static void remember(struct replay *replay, const char *run, int64_t end_usec)
{
    struct replay_entry entry = {.mandate = MANDATE,
                                 .order = ORDER,
                                 .step = "cut",
                                 .class = "network",
                                 .end_usec = end_usec,
                                 .until_usec = end_usec + 10};
    struct lines_group group;

    snprintf(entry.run, sizeof(entry.run), "%s", run);
    ck_assert_msg(replay_remember(replay, &entry, &error) == 0, "%s", error.text);
    ck_assert(lines_group_begin(replay_lines(replay), &group));
    ck_assert_uint_gt(lines_group_end(replay_lines(replay), lines_group_write(&group)), 0);
}

static void append(const char *text)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_APPEND);

    ck_assert_int_eq(io_write_all(fd, text, strlen(text)), 0);
}

START_TEST(remembers_across_a_restart)
{
    struct replay *replay;

    setup();
    replay = reopen(NULL, 0, true);
    remember(replay, RUN(1), 100);
    remember(replay, RUN(2), 200);
    replay = reopen(replay, 0, true);
    ck_assert_str_eq(replay_find(replay, RUN(1), "cut")->order, ORDER);
    ck_assert_ptr_null(replay_find(replay, RUN(1), "other"));
    ck_assert_uint_eq(replay_count_runs(replay, MANDATE, RUN(3)), 2);
    ck_assert_uint_eq(replay_count_runs(replay, MANDATE, RUN(2)), 1);
    ck_assert_int_eq(replay_last_end_usec(replay, "network", MANDATE, RUN(3)), 200);
    ck_assert_int_eq(replay_last_end_usec(replay, "network", MANDATE, RUN(2)), 100); /* not its own run's */
    ck_assert_int_eq(replay_last_end_usec(replay, "network", "another", RUN(2)), 200);
    ck_assert_int_eq(replay_last_end_usec(replay, "process", MANDATE, RUN(3)), 0);
    ck_assert_int_eq(replay_quarantine_usec(replay), 0);
    replay_free(replay);
}
END_TEST

START_TEST(forgets_only_by_a_right_clock)
{
    struct replay *replay;

    setup();
    replay = reopen(NULL, 0, true);
    remember(replay, RUN(1), 100);
    remember(replay, RUN(2), 1000);
    replay = reopen(replay, 500, false);
    ck_assert_ptr_nonnull(replay_find(replay, RUN(1), "cut"));
    ck_assert_int_eq(replay_quarantine_usec(replay), 0);
    replay = reopen(replay, 500, true);
    ck_assert_ptr_null(replay_find(replay, RUN(1), "cut"));
    ck_assert_int_eq(replay_quarantine_usec(replay), 111); /* should the clock have been wrong */
    replay = reopen(replay, 0, true);
    ck_assert_ptr_null(replay_find(replay, RUN(1), "cut"));
    ck_assert_int_eq(replay_quarantine_usec(replay), 111);
    ck_assert_ptr_nonnull(replay_find(replay, RUN(2), "cut"));
    replay_free(replay);
}
END_TEST

START_TEST(unfinished_line_is_cut)
{
    struct replay *replay;

    setup();
    replay = reopen(NULL, 0, true);
    remember(replay, RUN(1), 100);
    append(MANDATE " " RUN(2) " cu");
    replay = reopen(replay, 0, true);
    ck_assert_ptr_nonnull(replay_find(replay, RUN(1), "cut"));
    remember(replay, RUN(3), 100);
    replay = reopen(replay, 0, true);
    ck_assert_ptr_nonnull(replay_find(replay, RUN(3), "cut"));
    ck_assert_ptr_null(replay_find(replay, RUN(2), "cu"));
    replay_free(replay);
}
END_TEST

START_TEST(damage_and_other_keys_are_lost_memory)
{
    struct replay *replay = NULL;

    setup();
    ck_assert_int_eq(replay_open(&replay, path, &other_key, &error), -EBADMSG);
    assert_error(error, "belongs to another host key");
    append("garbage\n");
    ck_assert_int_eq(replay_open(&replay, path, &key, &error), -EBADMSG);
    assert_error(error, ":2: damaged");
    unlink(path);
    ck_assert_int_eq(replay_open(&replay, path, &key, &error), -ENOENT);
    ck_assert_int_eq(replay_replace(path, &key, 777, &error), 0);
    replay = reopen(NULL, 0, true);
    ck_assert_int_eq(replay_quarantine_usec(replay), 777);
    replay_free(replay);
    unlink(path);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {remembers_across_a_restart, forgets_only_by_a_right_clock,
                                  unfinished_line_is_cut, damage_and_other_keys_are_lost_memory, NULL};

    return unit_run("replay", tests);
}
