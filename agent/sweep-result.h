/* What the sweep leaves for the executor, which has the key: /run/grivet/results/<order>, lines of `key
 * value`, to be turned into a signed event and then removed. */
#pragma once

#include <stdbool.h>

#include "common/record.h"

#define SWEEP_RESULT_FOLDER    "/run/grivet/results"
#define SWEEP_RESULT_BYTES_MAX 4096

/**
 * struct sweep_result - how one fault was ended
 * @fault: name from the record, or "unknown" when that could not be read
 * @is_reverted: the kernel was read back and shows nothing of it
 * @at_usec: REALTIME of that; @revert_error_nsec: the same against the deadline (BOOTTIME), negative = before
 * it
 * @reason: one line
 */
struct sweep_result {
    char order[UUID_TEXT_MAX];
    char fault[64];
    bool is_reverted;
    int64_t at_usec, revert_error_nsec;
    char reason[256];
};

int sweep_result_write(const struct sweep_result *result, int folder_fd, struct error *error);
/** sweep_result_read() - refuses whatever does not parse to the last line (`end`) */
int sweep_result_read(struct sweep_result *ret, int folder_fd, const char *name, struct error *error);
