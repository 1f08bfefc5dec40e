/* Undo records: written whole or not at all, and nothing half is believed. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>

#include "common/io.h"
#include "common/record.h"

static char folder[64];
static int folder_fd = -1;

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/grivet-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(folder_fd, 0);
}

static void teardown(void)
{
    close(folder_fd);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing is left, hidden files included */
}

static struct record make(void)
{
    struct record record = {.fault = "zone.block",
                            .holder_pid = 1234,
                            .holder_start_ticks = 567,
                            .deadline_boot_nsec = 89,
                            .deadline_real_usec = 1769860800000000};

    uuid_new(record.order);
    time_boot_id(record.boot);
    return record;
}

START_TEST(comes_back_as_it_was)
{
    struct record record = make(), again;
    struct error error;
    int fd;

    setup();
    ck_assert_int_eq(record_add_undo(&record, -1, "nft-table", "inet grivet-0190abcd", &error), 0);
    ck_assert_int_eq(record_write(&record, folder_fd, &error), 0);
    fd = openat(folder_fd, record.order, O_WRONLY | O_APPEND | O_CLOEXEC);
    ck_assert_int_eq(record_add_undo(&record, fd, "link", "grivet-ifb", &error), 0);
    close(fd);
    ck_assert_msg(record_read(&again, folder_fd, record.order, &error) == 0, "%s", error.text);
    ck_assert_str_eq(again.fault, "zone.block");
    ck_assert_str_eq(again.boot, record.boot);
    ck_assert_int_eq(again.holder_pid, 1234);
    ck_assert_uint_eq(again.holder_start_ticks, 567);
    ck_assert_int_eq(again.deadline_boot_nsec, 89);
    ck_assert_int_eq(again.deadline_real_usec, record.deadline_real_usec);
    ck_assert_uint_eq(again.n_undos, 2);
    ck_assert_str_eq(again.undos[0].argument, "inet grivet-0190abcd");
    ck_assert_str_eq(again.undos[1].kind, "link");
    ck_assert_int_eq(again.reverted_usec, 0);
    ck_assert_int_eq(record_remove(record.order, folder_fd, &error), 0);
    ck_assert_int_eq(record_remove(record.order, folder_fd, &error), 0);
    ck_assert_int_eq(record_read(&again, folder_fd, record.order, &error), -ENOENT);
    teardown();
}
END_TEST

START_TEST(full_records)
{
    struct record record = make(), again;
    struct error error;
    char argument[104];

    setup();
    memset(argument, 'x', sizeof(argument));
    argument[103] = '\0';
    for (int i = 0; i < RECORD_UNDO_MAX; i++)
        ck_assert_int_eq(record_add_undo(&record, -1, "nft-table", argument, &error), 0);
    ck_assert_int_eq(record_add_undo(&record, -1, "nft-table", argument, &error), -ENOSPC);
    ck_assert_int_eq(record_write(&record, folder_fd, &error), 0);
    ck_assert_int_eq(record_read(&again, folder_fd, record.order, &error), 0);
    ck_assert_uint_eq(again.n_undos, RECORD_UNDO_MAX);
    record_remove(record.order, folder_fd, &error);
    record.n_undos = 0;
    ck_assert_int_eq(record_add_undo(&record, -1, "a b", "x", &error), -EINVAL);
    ck_assert_int_eq(record_add_undo(&record, -1, "a", "x\nend", &error), -EINVAL);
    ck_assert_int_eq(record_add_undo(&record, -1, "a", "", &error), -EINVAL);
    ck_assert_uint_eq(record.n_undos, 0);
    teardown();
}
END_TEST

static void put(const char *name, const char *text, size_t length)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    ck_assert_int_eq(io_write_file(path, text, length, 0600, NULL), 0);
}

START_TEST(results_come_back)
{
    struct record record = make(), again;
    struct error error;

    setup();
    record.reverted_usec = 1700000000000001;
    record.revert_error_nsec = -2003000123;
    strcpy(record.reason, "deadline and grace were past");
    ck_assert_int_eq(record_write(&record, folder_fd, &error), 0);
    ck_assert_msg(record_read(&again, folder_fd, record.order, &error) == 0, "%s", error.text);
    ck_assert_int_eq(again.reverted_usec, record.reverted_usec);
    ck_assert_int_eq(again.revert_error_nsec, record.revert_error_nsec);
    ck_assert_str_eq(again.reason, record.reason);
    record_remove(record.order, folder_fd, &error);
    teardown();
}
END_TEST

/* Every cut of a record's head, a line too many, pids that must not be killed, another's name. */
START_TEST(hostile_records)
{
    static const char *const changes[][2] = {
        {"holder_pid 1234", "holder_pid 1"},
        {"holder_pid 1234", "holder_pid -1"},
        {"holder_pid 1234", "holder_pid 12x"},
        {"holder_pid 1234", "holder_pid 99999999999"},
        {"deadline_boot_nsec 89", "deadline 9"},
        {"fault zone.block", "fault "},
        {"undo nft", "undone nft"},
        {"undo nft", "\nundo nft"},
        {"undo nft-table inet x\n", "undo nft-table\n"},
    };
    struct record record = make(), again;
    _cleanup_free_ char *text = NULL;
    struct error error;
    char path[128];
    size_t length;

    setup();
    record_add_undo(&record, -1, "nft-table", "inet x", &error);
    record_write(&record, folder_fd, &error);
    snprintf(path, sizeof(path), "%s/%s", folder, record.order);
    ck_assert_int_eq(io_read_file(path, RECORD_BYTES_MAX, &text, &length, &error), 0);
    /* An undo step cut short was not written before the kill, so what it names was not made. */
    for (size_t cut = 0; cut < length; cut++) {
        put(record.order, text, cut);
        ck_assert_int_eq(record_read(&again, folder_fd, record.order, &error),
                         cut <= (size_t)(strstr(text, "undo") - text - 1) ? -EINVAL : 0);
        ck_assert_uint_eq(again.n_undos, 0);
    }
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        const char *at = strstr(text, changes[i][0]);
        char changed[1024];
        bool is_behind;

        ck_assert_ptr_nonnull(at);
        snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, changes[i][1],
                 at + strlen(changes[i][0]));
        put(record.order, changed, strlen(changed));
        ck_assert_msg(record_read(&again, folder_fd, record.order, &error) == -EINVAL, "%s", changes[i][1]);
        /* The head is the executor's; what is wrong behind it does not hide who is to be killed. */
        is_behind = at >= strstr(text, "undo");
        assert_error(error, is_behind ? "damaged behind its head" : "not a whole record");
        ck_assert_int_eq(again.holder_pid, is_behind ? record.holder_pid : 0);
    }
    record_remove(record.order, folder_fd, &error);
    put("0190abcd-0000-7000-8000-000000000001", text, length);
    ck_assert_int_eq(record_read(&again, folder_fd, "0190abcd-0000-7000-8000-000000000001", &error), -EINVAL);
    snprintf(path, sizeof(path), "%s/0190abcd-0000-7000-8000-000000000001", folder);
    unlink(path);
    teardown();
}
END_TEST

/* Nobody is dead, and no record is broken, only because there is no descriptor left to look with. */
START_TEST(without_descriptors)
{
    struct rlimit before, none = {0};
    struct record record = make(), again;
    struct error error;

    setup();
    ck_assert_int_eq(record_write(&record, folder_fd, &error), 0);
    record.holder_pid = getpid();
    ck_assert_int_eq(record_open_holder(&record), -ESRCH); /* its start is another */
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    ck_assert(record_is_hidden(record_read(&again, folder_fd, record.order, &error)));
    ck_assert_int_ne(record_open_holder(&record), -ESRCH);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    record_remove(record.order, folder_fd, &error);
    ck_assert(!record_is_hidden(record_read(&again, folder_fd, record.order, &error)));
    ck_assert(!record_is_hidden(record_read(&again, folder_fd, ".", &error)));
    teardown();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {comes_back_as_it_was, full_records,        results_come_back,
                                  hostile_records,      without_descriptors, NULL};

    return unit_run("record", tests);
}
