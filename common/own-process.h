/*
 * The processes that faults are made of, told from others': holders, and the burners that these fork. By name
 * and user: a name alone is free for all, and whoever takes ours could have himself killed, or keep a fault
 * alive that is not undone as long as its holder may live.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

#define OWN_HOLDER_NAME   "grivet-holder" /* how a holder calls itself (prctl(2), PR_SET_NAME) */
#define OWN_USER          "grivet-holder" /* nobody else's */
#define OWN_BURNER_PREFIX "burn-"
#define OWN_NAME_MAX      16 /* TASK_COMM_LEN in the kernel's include/linux/sched.h */

/** own_burner_name() - what the burners of an order call themselves: the prefix and the order's last 10
 * digits, which are random */
const char *own_burner_name(const char *order, char ret[OWN_NAME_MAX]);
/** own_is_burner_name() - is @name of exactly that shape? */
bool own_is_burner_name(const char *name);

/**
 * own_process_read() - is @pid such a process, and does it live? Its user is that of holders, or root, who a
 * holder is until it has what it needs; an agent in a container has its own
 * @ret: its name
 * Return: 1, 0 = no, or it is gone, -errno = can't tell
 */
int own_process_read(pid_t pid, char ret[OWN_NAME_MAX]);

/** own_process_list() - call @each with every such process; goes on when it can't tell about one. Return: 0
 * or -errno */
int own_process_list(void (*each)(void *context, pid_t pid, const char *name), void *context,
                     struct error *error);

/** own_process_kill() - SIGKILL to @pid, if it is such a process. Return: 0, also when it is not, or -errno
 */
int own_process_kill(pid_t pid);
/** own_burners_count() - running burners called @name. Return: count or -errno */
int own_burners_count(const char *name, struct error *error);
/** own_burners_kill() - SIGKILL to those, who may take a moment to die. Return: 0 or -errno */
int own_burners_kill(const char *name, struct error *error);

/** process_read_start_ticks() - start time of @pid, whoever it is: field 22 of /proc/PID/stat, by which a
 * reused pid is told. Return: 1, 0 = it is gone, -errno */
int process_read_start_ticks(pid_t pid, uint64_t *ret);
/** process_start_ticks() - the same, 0 when that can't be read */
uint64_t process_start_ticks(pid_t pid);
