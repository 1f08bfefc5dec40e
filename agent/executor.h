/*
 * The executor: the privileged process of a host. It has no network socket; courier, prober and root talk to
 * it on one local socket. It verifies, decides, starts holders, keeps the journal and signs.
 */
#pragma once

#include "common/error.h"

/**
 * struct executor_config - where things are, and who hears what happens
 * @say: words for the log; @level as in common/log.h
 * @say_fault: start and end of a fault, for a journal message of its own
 */
struct executor_config {
    const char *policy, *roots, *key, *replay, *events, *run;
    void (*say)(int level, const char *text);
    void (*say_fault)(const char *kind, const char *run, const char *order, const char *fault);
};

struct executor;

/** executor_new() - read everything, end what an earlier life left, listen. Refuses a configuration that is
 * not whole */
int executor_new(struct executor **ret, const struct executor_config *config, struct error *error);
/** executor_run() - until SIGTERM and the last fault's end. Return: 0 or -errno */
int executor_run(struct executor *executor, struct error *error);
struct executor *executor_free(struct executor *executor);
DEFINE_CLEANUP(struct executor *, executor_free)
