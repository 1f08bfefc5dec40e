/* Finding the cgroup of one service in the unified hierarchy. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

#define CGROUP_PATH_MAX 512

/**
 * struct cgroup - one cgroup
 * @id: the kernel's: the inode of its folder. A cgroup that was made anew under the same name has another.
 * @level: how many steps below the root of the hierarchy; 0 = this is none
 * @path: below that root, "/system.slice/nginx.service"
 */
struct cgroup {
    uint64_t id;
    unsigned int level;
    char path[CGROUP_PATH_MAX];
};

/** cgroup_path_ends() - `/a/b` ends in `b` and in `/a/b`; `/ab` does not end in `b` */
bool cgroup_path_ends(const char *path, const char *suffix);

/**
 * cgroup_find() - the one cgroup whose path ends in @suffix
 * Return: 0, -ESRCH when there is none, -EEXIST when there are several, -EOPNOTSUPP without cgroup v2
 */
int cgroup_find(const char *suffix, struct cgroup *ret, struct error *error);

/** cgroup_is_there() - is @cgroup still the one that has its path? */
bool cgroup_is_there(const struct cgroup *cgroup);
