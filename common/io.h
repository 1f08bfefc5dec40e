/* Files, whole: with limits, EINTR and short transfers handled here and nowhere else. */
#pragma once

#include <dirent.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

/** io_read_file() - whole file, at most @limit_bytes (-EFBIG); NUL-ended; owned by the caller */
int io_read_file(const char *path, size_t limit_bytes, char **ret, size_t *ret_length, struct error *error);
int io_read_fd(int fd, const char *name, size_t limit_bytes, char **ret, size_t *ret_length,
               struct error *error);
/** io_next_entry() - readdir(3) which tells an error from the end: 1, 0 at the end, or -errno */
int io_next_entry(DIR *folder, struct dirent **ret);
/** io_list() - call @each with every name in the folder @path, as seen from @folder_fd, but "." and "..".
 * Return: 0 or -errno */
int io_list(int folder_fd, const char *path, void (*each)(void *context, const char *name), void *context,
            struct error *error);

#define IO_LINE_MAX 4096

/** struct io_lines - a file that is read line by line; {.fd = its descriptor} at the start, which stays the
 * caller's */
struct io_lines {
    int fd;
    size_t begin, end;
    char text[IO_LINE_MAX];
};
/**
 * io_next_line() - @ret: the next line, NUL-ended, good until the next call
 * Unlike stdio it never seeks, not even when the rest is not wanted. Return: 1, 0 = there is no more, -E2BIG,
 * -errno
 */
int io_next_line(struct io_lines *lines, char **ret);

int io_write_all(int fd, const void *data, size_t length);

/** io_write_file() - atomically: temporary file in the same folder, fsync, rename, fsync of the folder */
int io_write_file(const char *path, const void *data, size_t length, mode_t mode, struct error *error);

/** io_write_new() - a file that was not there before (-EEXIST), durable when this returns; a failure leaves
 * none */
int io_write_new(const char *path, const void *data, size_t length, mode_t mode, struct error *error);

/** io_memfd() - a sealed memfd (write, shrink, grow, seal) with @data. Return: fd or -errno */
int io_memfd(const char *name, const void *data, size_t length, struct error *error);
/** io_memfd_read() - the content of a memfd that must bear all four seals; owned by the caller, NUL-ended */
int io_memfd_read(int fd, size_t limit_bytes, char **ret, size_t *ret_length, struct error *error);

/** io_mkdir() - make @path with @mode unless it is a folder already */
int io_mkdir(const char *path, mode_t mode, struct error *error);

/** io_check_root_only() - -EPERM unless @path is a plain file of root (or of us, in test builds) that nobody
 * else may write */
int io_check_root_only(const char *path, struct error *error);
