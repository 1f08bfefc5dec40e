/* Users by name. */
#pragma once

#include <sys/types.h>

#include "error.h"

/**
 * passwd_find() - the numbers of a user that /etc/passwd names (passwd(5))
 * Of that file alone: what getpwnam() loads and asks besides (sssd, LDAP, systemd's own users) has no place
 * in a process with rights, nor among its system calls.
 * Return: 0, -ESRCH = it names no such user, -errno
 */
int passwd_find(const char *name, uid_t *ret_user, gid_t *ret_group, struct error *error);
