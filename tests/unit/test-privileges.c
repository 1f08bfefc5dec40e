/* What is given up is gone, what is kept is there, and files of root are only read. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/capability.h>
#include <sys/wait.h>

#include "agent/privileges.h"
#include "common/io.h"

#define KEPT (1ULL << CAP_NET_ADMIN | 1ULL << CAP_KILL)

static unsigned long long status_value(const char *key, int base)
{
    char *text = NULL, *line;
    unsigned long long value;

    if (io_read_file("/proc/self/status", 65536, &text, NULL, NULL) < 0)
        abort();
    line = strstr(text, key);
    value = line ? strtoull(line + strlen(key), NULL, base) : 0;
    free(text);
    return value;
}

/* Each child ends with the number of the check that failed. */
static int drop_and_look(const char *user)
{
    const struct passwd *entry = getpwnam(user);
    struct account account;
    struct error error = {0};

    if (privileges_find(user, &account, &error) < 0 || privileges_drop(&account, KEPT, &error) < 0) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    if (status_value("CapEff:", 16) != KEPT || status_value("CapPrm:", 16) != KEPT)
        return 2;
    if (status_value("CapBnd:", 16) != KEPT || status_value("CapAmb:", 16) != 0)
        return 3;
    if (status_value("NoNewPrivs:", 10) != 1 || getuid() != (entry ? entry->pw_uid : 0))
        return 4;
    if (entry && setuid(0) == 0)
        return 5;
    if (entry && open("/etc/passwd", O_WRONLY | O_CLOEXEC) >= 0)
        return 6;
    return 0;
}

static void check_in_child(const char *user)
{
    int status;
    pid_t pid = fork();

    if (pid == 0)
        _exit(drop_and_look(user));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
}

START_TEST(capabilities_go)
{
    struct account nobody = {0};
    struct error error;

    if (geteuid() == 0) { /* no fault stays root because a user is missing */
        ck_assert_int_eq(privileges_find("nobody-has-this-name", &nobody, &error), -ESRCH);
        return;
    }
    ck_assert_int_eq(privileges_drop(&nobody, KEPT, &error), -EPERM);
    assert_error(error, "CAP_SETPCAP");
}
END_TEST

START_TEST(user_changes)
{
    if (geteuid() == 0)
        check_in_child("nobody");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {capabilities_go, user_changes, NULL};

    return unit_run("privileges", tests);
}
