/* The folders of the unified hierarchy: see cgroup.h. */
#include "cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"

#define DEPTH_MAX 64

/* @path: of the folder that is being looked at; @count: how many matched */
struct walk {
    const char *suffix;
    char path[CGROUP_PATH_MAX];
    size_t count;
    struct cgroup *found;
};

/* Where systemd mounts it: alone, or beside the older hierarchies. */
static const char *find_root(void)
{
    static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
    struct statfs status;

    for (size_t i = 0; i < ARRAY_SIZE(roots); i++)
        if (statfs(roots[i], &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC)
            return roots[i];
    return NULL;
}

bool cgroup_path_ends(const char *path, const char *suffix)
{
    size_t at = strlen(path), length = strlen(suffix);

    if (at < length || strcmp(path + at - length, suffix) != 0)
        return false;
    return suffix[0] == '/' || (at > length && path[at - length - 1] == '/');
}

static int take(struct walk *walk, int fd, unsigned int level)
{
    struct stat status;

    if (walk->count++)
        return 0;
    if (fstat(fd, &status) < 0)
        return -errno;
    walk->found->id = status.st_ino;
    walk->found->level = level;
    snprintf(walk->found->path, sizeof(walk->found->path), "%s", walk->path);
    return 0;
}

static int look_into(struct walk *walk, int fd, unsigned int level);

/* A folder that vanishes meanwhile was nobody's. */
static int descend(struct walk *walk, int parent, const char *name, unsigned int level)
{
    _cleanup_close_ int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    size_t length = strlen(walk->path);
    int r = 0;

    if (fd < 0)
        return errno == ENOENT || errno == ENODEV ? 0 : -errno;
    if (level > DEPTH_MAX || length + 1 + strlen(name) >= sizeof(walk->path))
        return -ENAMETOOLONG;
    snprintf(walk->path + length, sizeof(walk->path) - length, "/%s", name);
    if (cgroup_path_ends(walk->path, walk->suffix))
        r = take(walk, fd, level);
    if (r == 0)
        r = look_into(walk, TAKE_FD(fd), level);
    walk->path[length] = '\0';
    return r;
}

/* @fd is given up. */
static int look_into(struct walk *walk, int fd, unsigned int level)
{
    DIR *folder = fdopendir(fd);
    struct dirent *entry;
    int r = 0, more;

    if (!folder) {
        r = -errno;
        close(fd);
        return r;
    }
    while (r == 0 && (more = io_next_entry(folder, &entry)) != 0) {
        if (more == -ENOENT)
            break; /* removed meanwhile: nothing is in it */
        if (more < 0)
            r = more;
        else if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
                 strcmp(entry->d_name, "..") != 0)
            r = descend(walk, dirfd(folder), entry->d_name, level + 1);
    }
    closedir(folder);
    return r;
}

int cgroup_find(const char *suffix, struct cgroup *ret, struct error *error)
{
    struct walk walk = {.suffix = suffix, .found = ret};
    const char *root = find_root();
    int r;

    if (!root)
        return error_set(error, EOPNOTSUPP, "no cgroup v2 is mounted at /sys/fs/cgroup");
    r = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = r < 0 ? -errno : look_into(&walk, r, 0);
    if (r < 0)
        return error_errno(error, -r, "can't look for the cgroup %s", suffix);
    if (!walk.count)
        return error_set(error, ESRCH, "no cgroup's path ends in %s: is the service running?", suffix);
    if (walk.count > 1)
        return error_set(error, EEXIST, "the paths of %zu cgroups end in %s, one of them %s: name more of it",
                         walk.count, suffix, ret->path);
    return 0;
}

bool cgroup_is_there(const struct cgroup *cgroup)
{
    char path[CGROUP_PATH_MAX + 32];
    const char *root = find_root();
    struct stat status;

    snprintf(path, sizeof(path), "%s%s", root ? root : "", cgroup->path);
    return root && stat(path, &status) == 0 && status.st_ino == cgroup->id;
}
