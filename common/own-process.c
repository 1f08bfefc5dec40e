/* See own-process.h. Allocates nothing but what listing a folder takes. */
#include "own-process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "io.h"
#include "passwd.h"

#define BURNER_DIGITS    10
#define STATUS_MAX_BYTES 1024 /* up to what we look for; the rest has no limit */

const char *own_burner_name(const char *order, char ret[OWN_NAME_MAX])
{
    snprintf(ret, OWN_NAME_MAX, OWN_BURNER_PREFIX "%s", order + strlen(order) - BURNER_DIGITS);
    return ret;
}

bool own_is_burner_name(const char *name)
{
    const char *digits = name + strlen(OWN_BURNER_PREFIX);

    return !strncmp(name, OWN_BURNER_PREFIX, strlen(OWN_BURNER_PREFIX)) &&
           strspn(digits, "0123456789abcdef") == BURNER_DIGITS && !digits[BURNER_DIGITS];
}

/* Return: 1, 0 = it is gone, -errno */
static int read_of_process(pid_t pid, const char *what, char *text, size_t size)
{
    char path[32];
    _cleanup_close_ int fd = -1;
    ssize_t length = -1;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, what);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        length = TEMP_FAILURE_RETRY(read(fd, text, size - 1));
    text[length < 0 ? 0 : length] = '\0';
    return length >= 0 ? 1 : errno == ENOENT || errno == ESRCH ? 0 : -errno;
}

int process_read_start_ticks(pid_t pid, uint64_t *ret)
{
    char text[STATUS_MAX_BYTES];
    const char *field;
    int r = read_of_process(pid, "stat", text, sizeof(text));

    if (r <= 0)
        return r;
    /* The name in brackets may hold brackets and blanks: field 3 comes after the last bracket. */
    field = strrchr(text, ')');
    for (int number = 2; field && number < 22; number++)
        field = strchr(field + 1, ' ');
    return field && sscanf(field, " %" SCNu64, ret) == 1 ? 1 : -EBADMSG;
}

uint64_t process_start_ticks(pid_t pid)
{
    uint64_t ticks;

    return process_read_start_ticks(pid, &ticks) > 0 ? ticks : 0;
}

static int is_own_user(uid_t user)
{
    uid_t holders = 0;
    gid_t group;
    int r = user == 0 ? 0 : passwd_find(OWN_USER, &holders, &group, NULL);

    return r == 0 ? user == holders : r == -ESRCH ? 0 : r;
}

/* One that is dead and waits for its parent holds and burns nothing. One of a container has a number there as
 * well. Source of the lines: proc_pid_status(5). */
static int is_own_status(const char *text)
{
    const char *state = strstr(text, "\nState:"), *uid = strstr(text, "\nUid:"),
               *inside = strstr(text, "\nNSpid:");
    int length = 0;
    uid_t user;
    char letter;

    if (!state || sscanf(state, " State: %c", &letter) != 1 || !uid || sscanf(uid, " Uid: %u", &user) != 1)
        return -EBADMSG;
    if (letter == 'Z' || letter == 'X')
        return 0;
    if (inside)
        sscanf(inside, " NSpid: %*d%n", &length);
    return length && inside[length] != '\n' ? 0 : is_own_user(user);
}

/* The name first: few get further. */
int own_process_read(pid_t pid, char ret[OWN_NAME_MAX])
{
    char name[OWN_NAME_MAX + 1] /* and a new line */, status[STATUS_MAX_BYTES];
    int r = read_of_process(pid, "comm", name, sizeof(name));

    name[strcspn(name, "\n")] = '\0';
    if (r <= 0 || (strcmp(name, OWN_HOLDER_NAME) && !own_is_burner_name(name)))
        return r < 0 ? r : 0;
    memcpy(ret, name, OWN_NAME_MAX);
    r = read_of_process(pid, "status", status, sizeof(status));
    return r <= 0 ? r : is_own_status(status);
}

struct walk {
    void (*each)(void *context, pid_t pid, const char *name);
    void *context;
    int first;
};

static void look_at_process(void *context, const char *entry)
{
    struct walk *walk = context;
    char *end, name[OWN_NAME_MAX];
    pid_t pid = strtol(entry, &end, 10);
    int r = *end ? 0 : own_process_read(pid, name);

    if (r > 0)
        walk->each(walk->context, pid, name);
    else if (walk->first == 0)
        walk->first = r;
}

int own_process_list(void (*each)(void *context, pid_t pid, const char *name), void *context,
                     struct error *error)
{
    struct walk walk = {each, context, 0};
    int r = io_list(AT_FDCWD, "/proc", look_at_process, &walk, error);

    if (r == 0 && walk.first < 0)
        r = error_errno(error, -walk.first, "can't look at all processes");
    return r;
}

/* The second look is at one that has the pidfd's number for sure, if it is still there to be killed. */
int own_process_kill(pid_t pid)
{
    _cleanup_close_ int pidfd = pidfd_open(pid, 0);
    char name[OWN_NAME_MAX];
    int r = pidfd < 0 ? -errno : own_process_read(pid, name);

    if (r > 0 && pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0)
        r = -errno;
    return r > 0 || r == -ESRCH ? 0 : r;
}

/* @r: the first error */
struct burners {
    const char *name;
    bool is_to_kill;
    int count, r;
};

static void look_at_burner(void *context, pid_t pid, const char *name)
{
    struct burners *burners = context;
    int r;

    if (strcmp(name, burners->name))
        return;
    burners->count++;
    r = burners->is_to_kill ? own_process_kill(pid) : 0;
    if (burners->r == 0)
        burners->r = r;
}

int own_burners_count(const char *name, struct error *error)
{
    struct burners burners = {name, false, 0, 0};
    int r = own_process_list(look_at_burner, &burners, error);

    return r < 0 ? r : burners.count;
}

int own_burners_kill(const char *name, struct error *error)
{
    struct burners burners = {name, true, 0, 0};
    int r = own_process_list(look_at_burner, &burners, error);

    if (r == 0 && burners.r < 0)
        r = error_errno(error, -burners.r, "can't kill a burner called %s", name);
    return r;
}
