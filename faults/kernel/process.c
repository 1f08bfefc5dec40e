/* Finding processes in /proc: see process.h. */
#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "cgroup.h"
#include "common/io.h"
#include "common/own-process.h"
#include "listener.h"

#define TEXT_MAX_BYTES 4096
#define ANCESTORS_MAX  64

/* Without these a host can be neither reached nor managed, and we could not end what we began. */
static const char *const always_protected[] = {"init",  "sshd*",   "systemd*", "(sd-*",
                                               "dbus*", "grivet*", NULL};

struct finder {
    const struct process_query *query;
    struct process_list *list;
    struct listeners listeners;
    size_t size;
    size_t n_ancestors;
    pid_t ancestors[ANCESTORS_MAX];
};

/* At most TEXT_MAX_BYTES - 1 of a file of @pid, NUL-ended. Return: how many, or -errno */
static ssize_t read_proc(pid_t pid, const char *name, char text[TEXT_MAX_BYTES])
{
    char path[64];
    _cleanup_close_ int fd = -1;
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    do
        length = read(fd, text, TEXT_MAX_BYTES - 1);
    while (length < 0 && errno == EINTR);
    text[length < 0 ? 0 : length] = '\0';
    return length < 0 ? -errno : length;
}

/* The program's path, without what the kernel appends when the file was replaced by an upgrade. */
static int read_exe(pid_t pid, char ret[PROCESS_EXE_MAX])
{
    static const char deleted[] = " (deleted)";
    char path[64];
    ssize_t length;

    snprintf(path, sizeof(path), "/proc/%d/exe", pid);
    length = readlink(path, ret, PROCESS_EXE_MAX - 1);
    ret[length < 0 ? 0 : length] = '\0';
    if (length < 0)
        return -errno;
    if (length > (ssize_t)strlen(deleted) && strcmp(ret + length - strlen(deleted), deleted) == 0)
        ret[length - strlen(deleted)] = '\0';
    return 0;
}

static pid_t parent_of(pid_t pid)
{
    char text[TEXT_MAX_BYTES];
    const char *bracket;
    pid_t parent = 0;

    if (read_proc(pid, "stat", text) < 0 || !(bracket = strrchr(text, ')')) ||
        sscanf(bracket, ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

static bool name_matches(const char *const *patterns, const char *name)
{
    for (; patterns && *patterns; patterns++)
        if (fnmatch(*patterns, name, 0) == 0)
            return true;
    return false;
}

static bool is_protected(const struct finder *finder, const struct process *process)
{
    const char *base = strrchr(process->exe, '/');
    char comm[TEXT_MAX_BYTES];
    const char *names[] = {base ? base + 1 : "", comm};

    if (read_proc(process->pid, "comm", comm) < 0)
        return true;
    comm[strcspn(comm, "\n")] = '\0';
    for (size_t i = 0; i < finder->n_ancestors; i++)
        if (finder->ancestors[i] == process->pid)
            return true;
    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (name_matches(always_protected, names[i]) || name_matches(finder->query->protected, names[i]))
            return true;
    return false;
}

/* In any hierarchy: the lines are like `0::/a/b`. What @suffix ends in is a whole part of the path. */
static bool cgroup_matches(pid_t pid, const char *suffix)
{
    char text[TEXT_MAX_BYTES], *rest = text, *line;

    if (read_proc(pid, "cgroup", text) < 0)
        return false;
    while ((line = strsep(&rest, "\n")))
        if (cgroup_path_ends(line, suffix))
            return true;
    return false;
}

static bool cmdline_matches(pid_t pid, const regex_t *regex)
{
    char text[TEXT_MAX_BYTES];
    ssize_t length = read_proc(pid, "cmdline", text);

    for (ssize_t i = 0; i + 1 < length; i++)
        if (!text[i])
            text[i] = ' ';
    return length > 0 && regexec(regex, text, 0, NULL, 0) == 0;
}

/* "Uid:" has the real and the effective one; the owner of the folder would be root where no core may be
 * dumped. */
static bool user_matches(pid_t pid, uid_t user)
{
    char text[TEXT_MAX_BYTES];
    const char *line;
    uid_t effective;

    return read_proc(pid, "status", text) > 0 && (line = strstr(text, "\nUid:")) &&
           sscanf(line, "\nUid: %*u %u", &effective) == 1 && effective == user;
}

/* What anybody may ask of a process. */
static bool finder_matches(const struct finder *finder, pid_t pid)
{
    const struct process_query *query = finder->query;

    return (!query->cgroup || cgroup_matches(pid, query->cgroup)) &&
           (!query->unit || cgroup_matches(pid, query->unit)) &&
           (!query->user || user_matches(pid, *query->user)) &&
           (!query->cmdline || cmdline_matches(pid, query->cmdline));
}

static int finder_add(struct finder *finder, const struct process *process)
{
    struct process_list *list = finder->list;

    if (list->count == finder->size) {
        size_t size = finder->size ? 2 * finder->size : 16;
        struct process *grown = reallocarray(list->processes, size, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        list->processes = grown;
        finder->size = size;
    }
    list->processes[list->count++] = *process;
    return 0;
}

/* A kernel thread has no program (ENOENT); one that ended meanwhile has no start time. */
static int finder_look(struct finder *finder, pid_t pid)
{
    const struct process_query *query = finder->query;
    struct process process = {.pid = pid, .start_ticks = process_start_ticks(pid)};
    int r = read_exe(pid, process.exe);

    if (pid == 1 || !process.start_ticks || r == -ENOENT || r == -ESRCH)
        return 0;
    if (!finder_matches(finder, pid) || (r == 0 && query->exe && fnmatch(query->exe, process.exe, 0) != 0))
        return 0;
    if (r == 0 && query->port) {
        r = listeners_are_of(&finder->listeners, pid);
        if (r == 0)
            return 0;
    }
    if (r < 0) {
        finder->list->n_unreadable += r != -ENOENT && r != -ESRCH;
        return 0;
    }
    if (is_protected(finder, &process)) {
        finder->list->n_protected++;
        return 0;
    }
    return finder_add(finder, &process);
}

void process_list_clear(struct process_list *list)
{
    free(list->processes);
    *list = (struct process_list){0};
}

static int finder_walk(struct finder *finder, struct error *error)
{
    DIR *folder = opendir("/proc");
    struct dirent *entry;
    int r = 0, more = 0;

    if (!folder)
        return error_errno(error, errno, "can't list /proc");
    while (r == 0 && (more = io_next_entry(folder, &entry)) > 0)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9')
            r = finder_look(finder, strtol(entry->d_name, NULL, 10));
    closedir(folder);
    if (r < 0)
        return error_oom(error);
    return more < 0 ? error_errno(error, -more, "can't list all of /proc") : 0;
}

int process_find(const struct process_query *query, struct process_list *ret, struct error *error)
{
    _cleanup_(process_list_clear) struct process_list list = {0};
    struct finder finder = {.query = query, .list = &list};
    int r = 0;

    for (pid_t pid = getpid(); pid > 0 && finder.n_ancestors < ANCESTORS_MAX; pid = parent_of(pid))
        finder.ancestors[finder.n_ancestors++] = pid;
    if (query->port)
        r = listeners_find(&finder.listeners, query->port, error);
    if (r == 0)
        r = finder_walk(&finder, error);
    listeners_clear(&finder.listeners);
    if (r < 0)
        return r;
    *ret = list;
    list = (struct process_list){0};
    return 0;
}

const char *process_exe_text(const struct process *process, char ret[PROCESS_EXE_MAX])
{
    json_t *text = json_string(process->exe);

    snprintf(ret, PROCESS_EXE_MAX, "%s", process->exe);
    for (char *byte = ret; !text && *byte; byte++)
        if (*byte & 0x80)
            *byte = '?';
    json_decref(text);
    return ret;
}

/* The pidfd first, then the second look: from then on the pid can't be reused unseen. */
int process_open(const struct process *process, struct error *error)
{
    _cleanup_close_ int fd = syscall(SYS_pidfd_open, process->pid, 0);
    char exe[PROCESS_EXE_MAX], text[PROCESS_EXE_MAX];

    if (fd < 0)
        return error_errno(error, errno, "process %d (%s)", process->pid, process_exe_text(process, text));
    if (process_start_ticks(process->pid) != process->start_ticks || read_exe(process->pid, exe) < 0 ||
        strcmp(exe, process->exe) != 0)
        return error_set(error, ESRCH, "process %d (%s) has ended and another one has its pid", process->pid,
                         process_exe_text(process, text));
    return TAKE_FD(fd);
}

int process_signal(int pidfd, int signal)
{
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) < 0 ? -errno : 0;
}

bool process_is_gone(int pidfd)
{
    struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

    return poll(&poll_fd, 1, 0) == 1;
}
