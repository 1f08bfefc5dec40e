/* Results of the sweep: what was written is read again, and nothing that differs from it. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "agent/sweep-result.h"
#include "common/io.h"

#define ORDER "01900000-0000-7000-8000-000000000001"

static char folder[] = "/tmp/grivet-unit-XXXXXX";

static int folder_open(void)
{
    int fd;

    strcpy(folder + strlen(folder) - 6, "XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    return fd;
}

static void folder_close(int fd)
{
    unlinkat(fd, ORDER, 0);
    close(fd);
    ck_assert_int_eq(rmdir(folder), 0); /* also says that no temporary file was left */
}

START_TEST(results_come_back)
{
    const struct sweep_result result = {.order = ORDER,
                                        .fault = "zone.block",
                                        .is_reverted = true,
                                        .at_usec = 1700000000000001,
                                        .revert_error_nsec = -2003000123,
                                        .reason = "deadline and grace were past"};
    struct sweep_result again;
    struct error error;
    int fd = folder_open();

    ck_assert_int_eq(sweep_result_write(&result, fd, &error), 0);
    ck_assert_int_eq(sweep_result_read(&again, fd, ORDER, &error), 0);
    ck_assert_int_eq(memcmp(&again, &result, sizeof(result)), 0);
    folder_close(fd);
}
END_TEST

START_TEST(others_are_refused)
{
    static const char good[] = "order " ORDER "\nfault zone.block\nis_reverted 1\nat_usec 1\n"
                               "revert_error_nsec 2\nreason because\nend\n";
    static const char *const bad[] = {
        "",
        "order " ORDER "\nfault zone.block\nis_reverted 1\n",
        "order " ORDER "\nfault zone.block\nis_reverted 1\nat_usec 1\nrevert_error_nsec 2\nreason x\nen",
        "order " ORDER "\nfault zone.block\nis_reverted 7\nat_usec 1\nrevert_error_nsec 2\nreason x\nend\n",
        "order " ORDER
        "\nfault zone.block\nis_reverted 1\nat_usec 1\nrevert_error_nsec 2\nreason x\nend\nmore",
        "order 01900000-0000-7000-8000-000000000002\nfault zone.block\nis_reverted 1\nat_usec 1\n"
        "revert_error_nsec 2\nreason x\nend\n",
    };
    struct sweep_result result;
    struct error error;
    char path[128];
    int fd = folder_open();

    snprintf(path, sizeof(path), "%s/%s", folder, ORDER);
    ck_assert_int_eq(sweep_result_read(&result, fd, ORDER, &error), -ENOENT);
    ck_assert_int_eq(io_write_file(path, good, strlen(good), 0600, &error), 0);
    ck_assert_int_eq(sweep_result_read(&result, fd, ORDER, &error), 0);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ck_assert_int_eq(io_write_file(path, bad[i], strlen(bad[i]), 0600, &error), 0);
        ck_assert_msg(sweep_result_read(&result, fd, ORDER, &error) == -EINVAL, "%s", bad[i]);
        assert_error(error, ORDER);
    }
    folder_close(fd);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {results_come_back, others_are_refused, NULL};

    return unit_run("sweep-result", tests);
}
