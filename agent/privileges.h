/* Giving up what a process may do, for good. */
#pragma once

#include <stdint.h>

#include "common/error.h"

/**
 * privileges_drop() - keep only @capabilities, whatever is executed later
 * @user: become this user where the host has it and we are root; else the user stays
 * @capabilities: bits (1ULL << CAP_...)
 * A change of user clears PR_SET_PDEATHSIG: set that afterwards.
 */
int privileges_drop(const char *user, uint64_t capabilities, struct error *error);
