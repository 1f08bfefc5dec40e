/* Subcommands of grivet-coordinator: rows of the table in main.c. */
#pragma once

#include "common/error.h"

/** struct place - where the coordinator lives; @notice logs one line */
struct place {
    const char *config, *folder;
    void (*notice)(const char *text);
};

/* Each gets its own name as argv[0]. -EINVAL = wrong usage, with the words in @error */
int serve_run(const struct place *place, int argc, char **argv, struct error *error);
int init_run(const struct place *place, int argc, char **argv, struct error *error);
int operator_run(const struct place *place, int argc, char **argv, struct error *error);
