/* Giving up what a process may do, for good. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/** struct account - who to become; all zero = stay who we are */
struct account {
    uid_t uid;
    gid_t gid;
};

/** privileges_find() - the account of @user, if we are root. Return: 0, -ESRCH when the host has none, -errno
 */
int privileges_find(const char *user, struct account *ret, struct error *error);

/** privileges_bound() - whatever is executed later has no more than @capabilities, bits (1ULL << CAP_...) */
int privileges_bound(uint64_t capabilities, struct error *error);

/**
 * privileges_drop() - become @account and keep only @capabilities, whatever is executed later
 * A change of user clears PR_SET_PDEATHSIG: set that afterwards.
 */
int privileges_drop(const struct account *account, uint64_t capabilities, struct error *error);
