/* Finding processes, and being sure that one is still the same when it is signalled. */
#pragma once

#include <regex.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

#define PROCESS_EXE_MAX 256

/** struct process - identity: a reused pid has another start time, an exec another @exe */
struct process {
    pid_t pid;
    uint64_t start_ticks;
    char exe[PROCESS_EXE_MAX]; /* "" when it may not be read */
};

/** process_exe_text() - @process->exe in @ret for people and JSON: where it is no UTF-8, with a ? for each
 * byte beyond ASCII. Return: @ret */
const char *process_exe_text(const struct process *process, char ret[PROCESS_EXE_MAX]);

/**
 * struct process_query - whom to find; all that is given must match
 * @exe: glob over the whole path; @cmdline: over the arguments with blanks between; @cgroup: end of the path
 * @unit: last part of that path; @user: effective; @port: a socket that listens there is open
 * @protected: NULL-ended names, never found; nor are pid 1, kernel threads, our ancestors, and what manages a
 * host
 */
struct process_query {
    const char *exe, *cgroup, *unit;
    const uid_t *user;
    uint16_t port; /* 0 = any, or none */
    const regex_t *cmdline;
    const char *const *protected;
};

/** struct process_list - @n_unreadable: matching ones whose program or descriptors could not be seen */
struct process_list {
    size_t count, n_unreadable, n_protected;
    struct process *processes;
};
void process_list_clear(struct process_list *list);

int process_find(const struct process_query *query, struct process_list *ret, struct error *error);

/** process_open() - Return: a pidfd of exactly this process, -ESRCH if it is gone or another has its pid */
int process_open(const struct process *process, struct error *error);
int process_signal(int pidfd, int signal);
/** process_is_gone() - has the process of @pidfd exited? */
bool process_is_gone(int pidfd);
