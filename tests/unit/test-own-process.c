/* Which processes are of a fault: what can't be told is not the same as none. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/own-process.h"
#include "common/record.h"
#include "unit.h"

static struct rlimit before;

/* Leaves room for @count more descriptors: they are given lowest first. */
static void leave_descriptors(int count)
{
    struct rlimit less;
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);

    ck_assert_int_ge(lowest, 0);
    close(lowest);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    less = (struct rlimit){(rlim_t)(lowest + count), before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &less), 0);
}

static void give_descriptors(void)
{
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}

START_TEST(names_of_burners)
{
    char name[OWN_NAME_MAX];

    ck_assert_str_eq(own_burner_name("0190abcd-0000-7000-8000-000123456789", name), "burn-0123456789");
}
END_TEST

START_TEST(others_are_not_ours)
{
    char name[OWN_NAME_MAX];

    ck_assert_int_eq(own_process_read(getpid(), name), 0);
    ck_assert_int_eq(own_process_read(0x7ffffff0, name), 0);
    ck_assert_int_eq(own_burners_count("burn-0123456789", NULL), 0);
}
END_TEST

/* With one that runs and none to look with, "none runs" would be a false proof of its end. */
START_TEST(without_descriptors)
{
    struct error error = {0};
    char name[OWN_NAME_MAX];
    uint64_t ticks;
    int counted, found, read;

    leave_descriptors(1); /* for the list */
    counted = own_burners_count("burn-0123456789", &error);
    give_descriptors();
    leave_descriptors(0);
    found = own_process_read(getpid(), name);
    read = process_read_start_ticks(getpid(), &ticks);
    give_descriptors();
    ck_assert_int_eq(counted, -EMFILE);
    ck_assert_ptr_nonnull(strstr(error.text, "can't look at all processes"));
    ck_assert_int_eq(found, -EMFILE);
    ck_assert_int_eq(read, -EMFILE);
}
END_TEST

START_TEST(start_of_a_process)
{
    uint64_t ticks;

    ck_assert_uint_ne(process_start_ticks(getpid()), 0);
    ck_assert_uint_eq(process_start_ticks(getpid()), process_start_ticks(getpid()));
    ck_assert_int_eq(process_read_start_ticks(0x7ffffff0, &ticks), 0);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {names_of_burners, others_are_not_ours, without_descriptors,
                                  start_of_a_process, NULL};

    return unit_run("own-process", tests);
}
