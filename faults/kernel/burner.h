/* A process that keeps one CPU busy for a given share of the time. */
#pragma once

#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "burner-progress.h"
#include "common/error.h"

/**
 * struct burner_order - what a burner shall do
 * @cpu: the one it stays on
 * @load_percent: 1..100 of that CPU's time
 * @is_yielding: takes only what nobody else wants (SCHED_IDLE, sched(7))
 * @end_boot_nsec: the kernel kills it then, whoever else is dead
 * @name: its name in /proc/PID/comm, at most 15 characters
 */
struct burner_order {
    int cpu;
    int load_percent;
    bool is_yielding;
    int64_t end_boot_nsec;
    const char *name;
};

/** struct burner - @pid: our child, 0 once it was reaped; @idle_nsec: what its CPU had left over when it was
 * last read */
struct burner {
    int cpu;
    pid_t pid;
    int64_t born_boot_nsec, idle_nsec;
    struct burner_progress progress;
};

enum burner_state {
    BURNER_RUNS,
    BURNER_STOPPED, /* by a signal, now or for a while since it started */
    BURNER_GONE,
};

/**
 * burner_start() - fork one; it dies with the caller's thread (PR_SET_PDEATHSIG), at its deadline, or by
 * burner_kill()
 * The caller has one thread; what it has open is closed in the child.
 */
int burner_start(const struct burner_order *order, struct burner *ret, struct error *error);

/** burner_state() - nothing of /proc is asked */
enum burner_state burner_state(const struct burner *burner);

/** burner_cpu_nsec() - CPU time that it has used so far, or -errno when it is gone */
int64_t burner_cpu_nsec(const struct burner *burner);

/** burner_kill(), burner_reap() - apart, so that many die side by side; neither allocates, both accept one
 * that is gone. A process being killed may hang in the kernel: only its end lets burner_reap() return */
void burner_kill(const struct burner *burner);
void burner_reap(struct burner *burner);

/** burner_are_left() - has this process a child that it has not reaped? */
bool burner_are_left(void);
