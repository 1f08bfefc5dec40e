/* Files and memfds, whole: see io.h. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "clock-hook.h"

#define SEALS_ALL (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static ssize_t io_read_once(int fd, void *buffer, size_t length)
{
    ssize_t got;

    do
        got = read(fd, buffer, length);
    while (got < 0 && errno == EINTR);
    return got;
}

int io_next_entry(DIR *folder, struct dirent **ret)
{
    errno = 0;
    *ret = readdir(folder);
    return *ret ? 1 : -errno;
}

int io_list(int folder_fd, const char *path, void (*each)(void *context, const char *name), void *context,
            struct error *error)
{
    int fd = openat(folder_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    int r;

    if (!folder) {
        r = error_errno(error, errno, "%s: can't list the folder", path);
        cleanup_close(&fd);
        return r;
    }
    while ((r = io_next_entry(folder, &entry)) > 0)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            each(context, entry->d_name);
    closedir(folder);
    return r < 0 ? error_errno(error, -r, "%s: can't list all of the folder", path) : 0;
}

int io_read_fd(int fd, const char *name, size_t limit_bytes, char **ret, size_t *ret_length,
               struct error *error)
{
    size_t size = limit_bytes < 4096 ? limit_bytes + 2 : 4096, length = 0;
    _cleanup_free_ char *data = malloc(size);
    ssize_t got;

    if (!data)
        return error_oom(error);
    while ((got = io_read_once(fd, data + length, size - 1 - length)) > 0) {
        length += got;
        if (length > limit_bytes)
            return error_set(error, EFBIG, "%s: larger than %zu bytes", name, limit_bytes);
        if (length == size - 1) {
            char *larger = realloc(data, size * 2);

            if (!larger)
                return error_oom(error);
            data = larger;
            size *= 2;
        }
    }
    if (got < 0)
        return error_errno(error, errno, "%s: can't read", name);
    data[length] = '\0';
    if (ret_length)
        *ret_length = length;
    *ret = TAKE_PTR(data);
    return 0;
}

int io_read_file(const char *path, size_t limit_bytes, char **ret, size_t *ret_length, struct error *error)
{
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return error_errno(error, errno, "%s: can't open", path);
    return io_read_fd(fd, path, limit_bytes, ret, ret_length, error);
}

/* A last line without an end is a line. Return: 1 = there is more to look at, 0 = no more, -errno */
static int fill(struct io_lines *lines)
{
    ssize_t got;

    memmove(lines->text, lines->text + lines->begin, lines->end - lines->begin);
    lines->end -= lines->begin;
    lines->begin = 0;
    if (lines->end == IO_LINE_MAX - 1)
        return -E2BIG;
    got = io_read_once(lines->fd, lines->text + lines->end, IO_LINE_MAX - 1 - lines->end);
    if (got == 0 && lines->end)
        lines->text[lines->end++] = '\n';
    else if (got <= 0)
        return got < 0 ? -errno : 0;
    lines->end += got;
    return 1;
}

int io_next_line(struct io_lines *lines, char **ret)
{
    char *line, *end;
    int r;

    while (!(end = memchr(line = lines->text + lines->begin, '\n', lines->end - lines->begin))) {
        r = fill(lines);
        if (r <= 0)
            return r;
    }
    *end = '\0';
    lines->begin += end + 1 - line;
    *ret = line;
    return 1;
}

int io_write_all(int fd, const void *data, size_t length)
{
    const char *next = data;

    while (length) {
        ssize_t wrote = write(fd, next, length);

        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return -errno;
        next += wrote;
        length -= wrote;
    }
    return 0;
}

/* Length of the folder's part of @path, with its slash; 0 = the current folder. */
static int io_folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? (int)(slash - path + 1) : 0;
}

static int io_sync_folder(const char *path, struct error *error)
{
    _cleanup_close_ int fd = -1;
    char folder[PATH_MAX];
    int length = io_folder_length(path);

    snprintf(folder, sizeof(folder), "%.*s", length ? length : 1, length ? path : ".");
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return error_errno(error, errno, "%s: can't make its folder durable", path);
    return 0;
}

static int io_write_durably(int fd, const void *data, size_t length, mode_t mode)
{
    int r = fchmod(fd, mode) < 0 ? -errno : io_write_all(fd, data, length);

    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    return r;
}

int io_write_file(const char *path, const void *data, size_t length, mode_t mode, struct error *error)
{
    _cleanup_close_ int fd = -1;
    char temporary[PATH_MAX];
    int r, folder = io_folder_length(path);

    r = snprintf(temporary, sizeof(temporary), "%.*s.%s.XXXXXX", folder, path, path + folder);
    if (r >= (int)sizeof(temporary))
        return error_set(error, ENAMETOOLONG, "%s: path too long", path);
    fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0)
        return error_errno(error, errno, "%s: can't write in its folder", path);
    r = io_write_durably(fd, data, length, mode);
    if (r == 0 && rename(temporary, path) < 0)
        r = -errno;
    if (r < 0) {
        unlink(temporary);
        return error_errno(error, -r, "%s: can't write", path);
    }
    return io_sync_folder(path, error);
}

int io_write_new(const char *path, const void *data, size_t length, mode_t mode, struct error *error)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    int r;

    if (fd < 0)
        return error_errno(error, errno, "%s: can't make it", path);
    r = io_write_durably(fd, data, length, mode);
    if (r < 0)
        error_errno(error, -r, "%s: can't write", path);
    else
        r = io_sync_folder(path, error);
    if (r < 0)
        unlink(path);
    return r;
}

int io_memfd(const char *name, const void *data, size_t length, struct error *error)
{
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r;

    if (fd < 0)
        return error_errno(error, errno, "%s: can't make a memfd", name);
    r = io_write_all(fd, data, length);
    if (r < 0)
        return error_errno(error, -r, "%s: can't fill a memfd", name);
    if (lseek(fd, 0, SEEK_SET) < 0 || fcntl(fd, F_ADD_SEALS, SEALS_ALL) < 0)
        return error_errno(error, errno, "%s: can't seal a memfd", name);
    return TAKE_FD(fd);
}

int io_memfd_read(int fd, size_t limit_bytes, char **ret, size_t *ret_length, struct error *error)
{
    _cleanup_free_ char *data = NULL;
    int seals = fcntl(fd, F_GET_SEALS);
    size_t length;
    struct stat stat;

    if (seals < 0 || (seals & SEALS_ALL) != SEALS_ALL)
        return error_set(error, EPERM, "memfd: not sealed against every change");
    if (fstat(fd, &stat) < 0)
        return error_errno(error, errno, "memfd: can't read its size");
    if (stat.st_size < 0 || (size_t)stat.st_size > limit_bytes)
        return error_set(error, EFBIG, "memfd: larger than %zu bytes", limit_bytes);
    data = malloc(stat.st_size + 1);
    if (!data)
        return error_oom(error);
    length = stat.st_size;
    /* A memfd is memory: it comes whole, unless we are being killed. */
    if (pread(fd, data, length, 0) != (ssize_t)length)
        return error_errno(error, EIO, "memfd: can't read");
    data[length] = '\0';
    *ret = TAKE_PTR(data);
    *ret_length = length;
    return 0;
}

int io_mkdir(const char *path, mode_t mode, struct error *error)
{
    struct stat stat_is;

    /* chmod after the making, because the umask has its say in mkdir(). */
    if (mkdir(path, mode) == 0)
        return chmod(path, mode) < 0 ? error_errno(error, errno, "%s: can't set its mode", path) : 0;
    if (errno != EEXIST)
        return error_errno(error, errno, "%s: can't make the folder", path);
    if (stat(path, &stat_is) < 0 || !S_ISDIR(stat_is.st_mode))
        return error_set(error, ENOTDIR, "%s: not a folder", path);
    return 0;
}

static bool io_owner_is_trusted(uid_t uid)
{
    return uid == 0 || (clock_hook_is_test_build() && uid == geteuid());
}

/* In a folder that others may write, the file could be swapped; a sticky one (/tmp) keeps it in place. */
static int io_check_folders(const char *path, struct error *error)
{
    char folder[PATH_MAX];
    struct stat stat;
    char *slash;

    if (!realpath(path, folder))
        return error_errno(error, errno, "%s: can't resolve", path);
    while ((slash = strrchr(folder, '/'))) {
        slash[slash == folder ? 1 : 0] = '\0';
        if (lstat(folder, &stat) < 0)
            return error_errno(error, errno, "%s: can't look at it", folder);
        if (!io_owner_is_trusted(stat.st_uid) ||
            (stat.st_mode & (S_IWGRP | S_IWOTH) && !(stat.st_mode & S_ISVTX)))
            return error_set(error, EPERM,
                             "%s: its folder %s may be written by others; only root may own and write it",
                             path, folder);
        if (slash == folder)
            break;
    }
    return 0;
}

int io_check_root_only(const char *path, struct error *error)
{
    struct stat stat;

    if (lstat(path, &stat) < 0)
        return error_errno(error, errno, "%s: can't look at it", path);
    if (!S_ISREG(stat.st_mode))
        return error_set(error, EPERM, "%s: not a plain file", path);
    if (!io_owner_is_trusted(stat.st_uid))
        return error_set(error, EPERM, "%s: belongs to uid %u; only root may own it", path, stat.st_uid);
    if (stat.st_mode & (S_IWGRP | S_IWOTH))
        return error_set(error, EPERM, "%s: may be written by others (mode %04o); chmod go-w it", path,
                         stat.st_mode & 07777);
    return io_check_folders(path, error);
}
