/* Who listens on a port: sockets of this network namespace, and the processes that hold them open. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/* Of each process so many descriptors are looked at, from the lowest: one with a million of them would take
 * seconds. */
#define LISTENER_FDS_MAX 65536

/** struct listeners - inode numbers of sockets; @mount_id: which mount's inodes they are */
struct listeners {
    int mount_id;
    size_t count, size;
    unsigned long *inodes;
};
void listeners_clear(struct listeners *listeners);

/** listeners_find() - TCP that listens and UDP that is not connected, IPv4 and IPv6; none is no error */
int listeners_find(struct listeners *ret, uint16_t port, struct error *error);

/**
 * listeners_are_of() - has the process one of them open?
 * Needs CAP_SYS_PTRACE for processes of others. Return: 1, 0, or -errno when its files may not be seen
 */
int listeners_are_of(const struct listeners *listeners, pid_t pid);

/** listeners_supported() - does this kernel tell whose a socket is? Return: 0, or -EOPNOTSUPP with words */
int listeners_supported(struct error *error);
