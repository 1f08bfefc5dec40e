/* The event journal: chained, durable before it is told, repaired only where a crash explains the damage. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/journal.h"
#include "common/document.h"
#include "common/io.h"

#define FIRST_SEGMENT "00000000000000000001"

static struct error error;
static char folder[64], segment[128];

static void teardown(void)
{
    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", folder);
    ck_assert_int_eq(system(command), 0);
}

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/grivet-unit-journal-%d", getpid());
    snprintf(segment, sizeof(segment), "%s/" FIRST_SEGMENT, folder);
    teardown();
}

static struct journal *reopen(struct journal *old)
{
    struct journal *journal = NULL;

    journal_free(old);
    ck_assert_msg(journal_open(&journal, folder, "i-1", NULL, NULL, &error) == 0, "%s", error.text);
    return journal;
}

static int append(struct journal *journal, size_t bytes)
{
    char *text = calloc(1, bytes + 1);
    json_t *event;
    int r;

    memset(text, 'x', bytes);
    event = json_pack("{s:s s:{s:s}}", "kind", "test.event", "body", "text", text);
    r = journal_append(journal, event, &error);
    json_decref(event);
    free(text);
    return r;
}

static void make_durable(struct journal *journal)
{
    struct lines_group group;
    int count = journal_group_begin(journal, &group, &error);

    ck_assert_int_ge(count, 0);
    ck_assert_int_eq(
        journal_group_end(journal, count ? lines_group_write(&group) : (struct lines_result){0}, &error), 0);
}

static void add(struct journal *journal, int count)
{
    for (int i = 0; i < count; i++)
        ck_assert_msg(append(journal, 10) == 0, "%s", error.text);
    make_durable(journal);
}

static void add_large(struct journal *journal, int count)
{
    for (int i = 0; i < count; i++) {
        ck_assert_int_eq(append(journal, 100000), 0);
        make_durable(journal);
    }
}

static char *fetch(struct journal *journal, int64_t after, size_t limit)
{
    size_t length;
    char *text, *copy;

    ck_assert_int_eq(journal_fetch(journal, after, limit, &text, &length, &error), 0);
    copy = calloc(1, length + 1);
    if (length)
        memcpy(copy, text, length);
    free(text);
    return copy;
}

START_TEST(chain_goes_on_after_a_restart)
{
    struct journal *journal;
    char before[HASH_TEXT_MAX];
    char *line;

    journal = reopen(NULL);
    ck_assert_int_eq(journal_last(journal, NULL), 0);
    add(journal, 3);
    ck_assert_int_eq(journal_last(journal, before), 3);
    journal = reopen(journal);
    add(journal, 1);
    line = fetch(journal, 3, 1000);
    ck_assert_ptr_nonnull(strstr(line, "\"sequence\":4"));
    ck_assert_ptr_nonnull(strstr(line, before));
    ck_assert_ptr_eq(strchr(line, '\n') + 1, line + strlen(line));
    free(line);
    journal_free(journal);
}
END_TEST

START_TEST(only_durable_events_are_told)
{
    struct journal *journal;
    char *text;

    journal = reopen(NULL);
    add(journal, 1);
    ck_assert_int_eq(append(journal, 10), 0);
    ck_assert_int_eq(journal_last(journal, NULL), 1);
    text = fetch(journal, 1, 1000);
    ck_assert_str_eq(text, "");
    free(text);
    journal_free(journal);
}
END_TEST

START_TEST(fetch_gives_whole_lines)
{
    struct journal *journal;
    char *text;

    journal = reopen(NULL);
    add(journal, 4);
    text = fetch(journal, 0, 700);
    ck_assert_uint_gt(strlen(text), 0);
    ck_assert_uint_le(strlen(text), 700);
    ck_assert_int_eq(text[strlen(text) - 1], '\n');
    free(text);
    text = fetch(journal, 0, 1); /* never less than a line, or it would not go on */
    ck_assert_ptr_nonnull(strstr(text, "\"sequence\":1"));
    ck_assert_ptr_null(strstr(text, "\"sequence\":2"));
    free(text);
    journal_free(journal);
}
END_TEST

START_TEST(unfinished_line_is_cut)
{
    struct journal *journal;
    struct stat status;

    journal = reopen(NULL);
    add(journal, 3);
    ck_assert_int_eq(stat(segment, &status), 0);
    ck_assert_int_eq(truncate(segment, status.st_size - 5), 0);
    journal = reopen(journal);
    ck_assert_int_eq(journal_last(journal, NULL), 2);
    add(journal, 1);
    journal = reopen(journal);
    ck_assert_int_eq(journal_last(journal, NULL), 3);
    journal_free(journal);
}
END_TEST

static void damage(const char *find, const char *replace)
{
    char *text, *at;
    size_t length;

    ck_assert_int_eq(io_read_file(segment, 1 << 20, &text, &length, &error), 0);
    at = strstr(text, find);
    ck_assert_ptr_nonnull(at);
    memcpy(at, replace, strlen(replace));
    ck_assert_int_eq(io_write_file(segment, text, length, 0600, &error), 0);
    free(text);
}

START_TEST(other_damage_is_refused)
{
    static const struct {
        const char *find, *replace, *words;
    } kinds[] = {
        {"xxxxxxxxxx", "xxxxyxxxxx", "1:2: damaged: the chain is broken"},
        {"\"sequence\":2", "\"sequence\":3", "1:2: damaged: expected event 2"},
        {"{\"schema\"", "[\"schema\"", "1:1: damaged: not an event"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct journal *journal;

        teardown();
        journal = reopen(NULL);
        add(journal, 3);
        journal_free(journal);
        damage(kinds[i].find, kinds[i].replace);
        ck_assert_int_eq(journal_open(&journal, folder, "i-1", NULL, NULL, &error), -EBADMSG);
        assert_error(error, kinds[i].words);
    }
}
END_TEST

START_TEST(acknowledged_segments_go)
{
    struct journal *journal;
    char wrong[HASH_TEXT_MAX] = "00", hash[HASH_TEXT_MAX], path[LINES_PATH_MAX];

    journal = reopen(NULL);
    add(journal, 1);
    journal_last(journal, hash);
    ck_assert_int_eq(journal_acknowledge(journal, 1, wrong, &error), -EKEYREJECTED);
    assert_error(error, "its hash is not that of our event 1");
    ck_assert_int_eq(journal_acknowledge(journal, 2, hash, &error), -EKEYREJECTED);
    assert_error(error, "event 2 is not in this journal");
    add_large(journal, 12);
    ck_assert_int_eq(journal_acknowledge(journal, 1, hash, &error), 0);
    ck_assert_ptr_null(journal_drop(journal, path)); /* it holds more than event 1 */
    journal_last(journal, hash);
    ck_assert_int_eq(journal_acknowledge(journal, 13, hash, &error), 0);
    ck_assert_str_eq(journal_drop(journal, path), segment);
    ck_assert_ptr_null(journal_drop(journal, path)); /* the newest stays */
    ck_assert_int_eq(unlink(segment), 0);
    ck_assert_int_eq(journal_acknowledged(journal), 13);
    journal = reopen(journal);
    ck_assert_int_eq(journal_last(journal, NULL), 13);
    add(journal, 1);
    journal_free(journal);
}
END_TEST

/* Nothing waits for it, and nothing grows without end. */
START_TEST(slow_disk_makes_a_long_segment)
{
    struct journal *journal;
    struct lines_group group;
    struct lines_result written;
    int r = 0;

    journal = reopen(NULL);
    ck_assert_int_eq(append(journal, 100000), 0);
    ck_assert_int_eq(journal_group_begin(journal, &group, &error), 1);
    ck_assert(group.is_new && group.offset == 0);
    written = lines_group_write(&group);
    for (int i = 0; i < 100 && r == 0; i++)
        r = append(journal, 100000);
    ck_assert_int_eq(r, -EBUSY);
    assert_error(error, "the disk does not keep up");
    ck_assert_int_eq(journal_last(journal, NULL), 0);
    ck_assert_int_eq(journal_group_end(journal, written, &error), 0);
    ck_assert_int_eq(journal_last(journal, NULL), 1); /* what came after the beginning is not */
    make_durable(journal);
    ck_assert_int_eq(append(journal, 100000), 0);
    ck_assert_int_eq(journal_group_begin(journal, &group, &error), 1);
    ck_assert(group.is_new && group.offset == 0); /* the next segment */
    ck_assert_int_eq(journal_group_end(journal, (struct lines_result){-EIO, true}, &error), -EIO);
    ck_assert_int_eq(append(journal, 1), -EIO); /* final */
    journal_free(journal);
}
END_TEST

/* Whatever a try left behind, the next one makes of it what it would have made of nothing. */
START_TEST(failed_group_is_written_again)
{
    struct journal *journal;
    struct lines_group group;
    char *text;

    journal = reopen(NULL);
    add(journal, 1);
    for (size_t left = 0; left < 3; left++) {
        ck_assert_int_eq(append(journal, 10), 0);
        ck_assert_int_eq(journal_group_begin(journal, &group, &error), 1);
        group.length = group.length * left / 2;
        ck_assert_int_eq(lines_group_write(&group).error, 0);
        ck_assert_int_eq(journal_group_end(journal, (struct lines_result){.error = -ENOSPC}, &error),
                         -ENOSPC);
        ck_assert_int_eq(journal_last(journal, NULL), 1);
    }
    make_durable(journal);
    journal = reopen(journal);
    ck_assert_int_eq(journal_last(journal, NULL), 4);
    text = fetch(journal, 3, 1000);
    ck_assert_ptr_nonnull(strstr(text, "\"sequence\":4"));
    free(text);
    journal_free(journal);
}
END_TEST

START_TEST(missing_segment_is_damage)
{
    struct journal *journal;
    char command[200];

    journal = reopen(NULL);
    add_large(journal, 24);
    journal_free(journal);
    snprintf(command, sizeof(command), "cd %s && rm $(ls | sed -n 2p)", folder);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(journal_open(&journal, folder, "i-1", NULL, NULL, &error), -EBADMSG);
    assert_error(error, "are missing");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {chain_goes_on_after_a_restart, only_durable_events_are_told,
                                  fetch_gives_whole_lines,       unfinished_line_is_cut,
                                  other_damage_is_refused,       acknowledged_segments_go,
                                  missing_segment_is_damage,     slow_disk_makes_a_long_segment,
                                  failed_group_is_written_again, NULL};
    return unit_run_within("journal", tests, setup, teardown);
}
