/* Which system calls a program may make from now on: see docs/decisions/0007-system-calls.md. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/error.h"

/* Who makes a call; below these the bits of enum fault_mechanism. A program's list is every row that has one
 * of its bits. */
enum sandbox_part {
    SANDBOX_SWEEP = 1 << 8,
    SANDBOX_PROBER = 1 << 9,
    SANDBOX_COURIER = 1 << 10,
    SANDBOX_EXECUTOR = 1 << 11,
    SANDBOX_SYNCER = 1 << 12,
    SANDBOX_START = 1 << 13,  /* a holder, until it has its own filter on top of the executor's */
    SANDBOX_HOLDER = 1 << 14, /* from then on */
    SANDBOX_ANSWER = 1 << 15, /* what works out the answer to an ask, on top of the executor's */
    SANDBOX_ANY_HOLDER = SANDBOX_START | SANDBOX_HOLDER | (SANDBOX_SWEEP - 1), /* whatever its fault */
};

/**
 * struct sandbox_row - one system call, and who may make it
 * @call: its number, as of SCMP_SYS(), negative where this architecture has no such call
 * @parts: bits of enum sandbox_part and enum fault_mechanism
 * @limit: on its arguments; a row without a limit outweighs one with
 * @spare: why it is here though no test can make it happen; NULL = tests do (tests/crash/test_sandbox.py)
 */
struct sandbox_row {
    int call;
    unsigned int parts;
    const struct sandbox_limit *limit;
    const char *spare;
};

/** sandbox_rows() - all of them, for the test that looks for what is not needed */
const struct sandbox_row *sandbox_rows(size_t *ret_count);

/** struct sandbox_filter - a list that was made, and can be entered at once; all zero = none */
struct sandbox_filter {
    unsigned short count;
    struct sock_filter *code;
};

/** sandbox_filter_make() - of sandbox_enter() all that takes time and memory; before an other list is entered
 * that does not allow it. Return: 0 or -errno */
int sandbox_filter_make(struct sandbox_filter *ret, unsigned int parts, struct error *error);
int sandbox_filter_enter(const struct sandbox_filter *filter, struct error *error);
void sandbox_filter_clear(struct sandbox_filter *filter);

/**
 * sandbox_enter() - from now on this process and its children are killed at any call that is not listed
 * @parts: bits of enum sandbox_part and enum fault_mechanism
 * Sets no_new_privs. Allocates. Return: 0, -errno where the kernel has no such filters
 */
int sandbox_enter(unsigned int parts, struct error *error);

/** sandbox_limit_files() - a write that would make a file longer than @most_bytes kills (SIGXFSZ), children
 * as well. Before a filter is on */
int sandbox_limit_files(size_t most_bytes, struct error *error);
