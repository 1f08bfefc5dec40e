/* Who listens on a port: sockets of this network namespace, and the processes that hold them open. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/error.h"

/** struct listeners - inode numbers of sockets */
struct listeners {
    size_t count, size;
    unsigned long *inodes;
};
void listeners_clear(struct listeners *listeners);

/** listeners_find() - TCP that listens and UDP that is not connected, IPv4 and IPv6; none is no error */
int listeners_find(struct listeners *ret, uint16_t port, struct error *error);

/** listeners_are_of() - has the process one of them open? Return: 1, 0, or -errno when its files may not be
 * seen */
int listeners_are_of(const struct listeners *listeners, pid_t pid);
