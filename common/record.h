/*
 * The undo record of one fault, /run/grivet/active/<order>: what a stranger needs to end it without the code
 * that made it. Lines of `key value`, no JSON, so that the sweep links nothing. The head is written whole;
 * undo steps are appended, each before what it names is made, so that a line cut short by a kill names
 * nothing. A folder in /run needs no fsync: all of it dies with the boot, as does what it describes.
 *
 * In /run/grivet/results the sweep, which has no key, leaves the record of what it ended, and how, for the
 * executor to make a signed event of.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"
#include "times.h"

#define RUN_FOLDER    "/run/grivet"
#define HALT_FILE     RUN_FOLDER "/halt" /* root's: as long as it is there, every fault ends and none begins */
#define RECORD_FOLDER RUN_FOLDER "/active"
#define RESULT_FOLDER RUN_FOLDER "/results"
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

/**
 * struct record - see above
 * @holder_pid: as seen in the agent's pid namespace; @holder_start_ticks: field 22 of /proc/PID/stat, so that
 * a reused pid is not killed
 * @reverted_usec, @revert_error_nsec, @reason: only in a result: when (REALTIME), how long after the deadline
 * (BOOTTIME; negative = before it), and why
 */
struct record {
    char order[UUID_TEXT_MAX];
    char boot[BOOT_ID_MAX];
    char fault[64];
    pid_t holder_pid;
    uint64_t holder_start_ticks;
    int64_t deadline_boot_nsec;
    int64_t deadline_real_usec;
    size_t n_undos;
    struct undo undos[RECORD_UNDO_MAX];
    int64_t reverted_usec, revert_error_nsec;
    char reason[160];
};

/** record_write() - replace the whole file (temporary name + rename) in @folder_fd */
int record_write(const struct record *record, int folder_fd, struct error *error);
/**
 * record_read() - refuses what is not whole, but for an undo step that is being appended
 * @ret: empty after an error, or, where only what a holder has appended is damaged, with the head that the
 * executor wrote (@holder_pid is not 0)
 */
int record_read(struct record *ret, int folder_fd, const char *name, struct error *error);
/**
 * record_is_hidden() - could record_read() not even look, because of something that passes (no memory, no
 * descriptor, a disk's error)? That says nothing about the record. @r: what it returned
 */
bool record_is_hidden(int r);
int record_remove(const char *order, int folder_fd, struct error *error);
/** record_add_undo() - call it before making what it names. @fd: the record's file, opened to append, -1 =
 * none
 */
int record_add_undo(struct record *record, int fd, const char *kind, const char *argument,
                    struct error *error);

/**
 * record_open_holder() - the holder that @record names, as a pidfd, so that what it names can't change any
 * more. A pid alone proves nothing: it may be of an earlier boot, or of somebody else by now. Holders can
 * write their own records, so what these name must also be one.
 * Return: pidfd, -ESRCH when it is gone, -errno when that can't be told
 */
int record_open_holder(const struct record *record);
