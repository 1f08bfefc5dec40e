/*
 * The undo record of one active fault, /run/grivet/active/<order>: what a stranger needs to end it without
 * the code that made it. Lines of `key value`, no JSON, so that the sweep links nothing. A folder in /run
 * needs no fsync: all of it dies with the boot, as does what it describes.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "times.h"

#define RECORD_FOLDER "/run/grivet/active"
#define RECORD_GRACE_NSEC                                                                                    \
    (2 * NSEC_PER_SEC) /* the kernel timer, then the sweep, come this long after the deadline */
#define RECORD_UNDO_MAX  32
#define RECORD_BYTES_MAX 16384

/**
 * struct undo - one thing of ours in the kernel that has to go
 * @kind: a name that faults/kernel/undo.c knows: "nft-table"
 * @argument: how to find it: "inet grivet-0190abcd"
 */
struct undo {
    char kind[24];
    char argument[104];
};

struct record {
    char order[UUID_TEXT_MAX];
    char boot[BOOT_ID_MAX];
    char fault[64];
    pid_t holder_pid;            /* as seen in the agent's pid namespace; 0 until known */
    uint64_t holder_start_ticks; /* field 22 of /proc/PID/stat, so that a reused pid is not killed */
    int64_t deadline_boot_nsec;
    int64_t deadline_real_usec;
    size_t n_undos;
    struct undo undos[RECORD_UNDO_MAX];
};

/** record_write() - replace the whole file (temporary name + rename) in @folder_fd */
int record_write(const struct record *record, int folder_fd, struct error *error);
/** record_read() - refuses whatever does not parse to the last line (`end`) */
int record_read(struct record *ret, int folder_fd, const char *name, struct error *error);
int record_remove(const struct record *record, int folder_fd, struct error *error);
/** record_add_undo() - call record_write() before making what it names */
int record_add_undo(struct record *record, const char *kind, const char *argument, struct error *error);

#define RECORD_HOLDER_NAME "grivet-holder" /* how a holder calls itself (prctl(2), PR_SET_NAME) */

/**
 * record_open_holder() - the holder that @record names, as a pidfd, so that what it names can't change any
 * more A pid alone proves nothing: it may be of an earlier boot, or of somebody else by now. Records are
 * written by holders, so what they name must also be one. Return: pidfd, or -1 when it is gone
 */
int record_open_holder(const struct record *record);

/** process_start_ticks() - start time of @pid, 0 when it is gone */
uint64_t process_start_ticks(pid_t pid);
