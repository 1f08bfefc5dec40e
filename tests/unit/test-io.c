/* Whole files, sealed memfds, and who may write what we trust. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "common/io.h"

static char *folder_make(void)
{
    static const char pattern[] = "/tmp/grivet-unit-XXXXXX";
    char *folder = strdup(pattern);

    ck_assert_ptr_nonnull(mkdtemp(folder));
    return folder;
}

static void folder_remove(char *folder, const char *file)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", folder, file);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* also says that no temporary file was left */
    free(folder);
}

START_TEST(files_whole)
{
    char *folder = folder_make(), path[128], *text;
    struct error error;
    struct stat stat_is;
    size_t length;

    snprintf(path, sizeof(path), "%s/a", folder);
    ck_assert_int_eq(io_read_file(path, 10, &text, &length, &error), -ENOENT);
    assert_error(error, path);
    ck_assert_int_eq(io_write_file(path, "0123456789", 10, 0600, &error), 0);
    ck_assert_int_eq(io_write_file(path, "abcdefghij", 10, 0640, &error), 0);
    ck_assert_int_eq(stat(path, &stat_is), 0);
    ck_assert_int_eq(stat_is.st_mode & 07777, 0640);
    ck_assert_int_eq(io_read_file(path, 10, &text, &length, &error), 0);
    ck_assert_uint_eq(length, 10);
    ck_assert_str_eq(text, "abcdefghij");
    free(text);
    ck_assert_int_eq(io_read_file(path, 9, &text, &length, &error), -EFBIG);
    folder_remove(folder, "a");
}
END_TEST

/* A disk that is full is played by a limit on the length of files. */
START_TEST(new_files_whole_or_none)
{
    char *folder = folder_make(), path[128];
    const struct rlimit small = {4, RLIM_INFINITY}, none = {RLIM_INFINITY, RLIM_INFINITY};
    struct error error;
    struct stat stat_is;
    int r;

    snprintf(path, sizeof(path), "%s/a", folder);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    r = io_write_new(path, "0123456789", 10, 0600, &error);
    setrlimit(RLIMIT_FSIZE, &none); /* check writes files, too */
    ck_assert_int_eq(r, -EFBIG);
    assert_error(error, path);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(io_write_new(path, "0123", 4, 0640, &error), 0);
    ck_assert_int_eq(stat(path, &stat_is), 0);
    ck_assert_int_eq(stat_is.st_mode & 07777, 0640);
    ck_assert_int_eq(io_write_new(path, "4567", 4, 0640, &error), -EEXIST);
    ck_assert_int_eq(access(path, F_OK), 0);
    folder_remove(folder, "a");
}
END_TEST

/* The second line crosses the end of the buffer, the last one has no end of its own. */
START_TEST(lines_one_by_one)
{
    _cleanup_close_ int fd = memfd_create("lines", MFD_CLOEXEC);
    struct io_lines lines = {.fd = fd};
    char longest[IO_LINE_MAX - 1] = {0}, *line; /* with its end it fills the buffer */

    memset(longest, 'x', sizeof(longest) - 1);
    dprintf(fd, "first\n%s\n\nlast", longest);
    lseek(fd, 0, SEEK_SET);
    ck_assert_int_eq(io_next_line(&lines, &line), 1);
    ck_assert_str_eq(line, "first");
    ck_assert_int_eq(io_next_line(&lines, &line), 1);
    ck_assert_str_eq(line, longest);
    ck_assert_int_eq(io_next_line(&lines, &line), 1);
    ck_assert_str_eq(line, "");
    ck_assert_int_eq(io_next_line(&lines, &line), 1);
    ck_assert_str_eq(line, "last");
    ck_assert_int_eq(io_next_line(&lines, &line), 0);
    ck_assert_int_eq(io_next_line(&lines, &line), 0);
}
END_TEST

START_TEST(lines_too_long)
{
    _cleanup_close_ int fd = memfd_create("lines", MFD_CLOEXEC);
    struct io_lines lines = {.fd = fd};
    char *line;

    dprintf(fd, "%*s\n", IO_LINE_MAX - 1, "x");
    lseek(fd, 0, SEEK_SET);
    ck_assert_int_eq(io_next_line(&lines, &line), -E2BIG);
}
END_TEST

START_TEST(large_files)
{
    _cleanup_free_ char *data = calloc(1, 100000);
    char *folder = folder_make(), path[128], *text;
    struct error error;
    size_t length;

    snprintf(path, sizeof(path), "%s/a", folder);
    memset(data, 'x', 100000);
    ck_assert_int_eq(io_write_file(path, data, 100000, 0600, &error), 0);
    ck_assert_int_eq(io_read_file(path, 100000, &text, &length, &error), 0);
    ck_assert_uint_eq(length, 100000);
    ck_assert_int_eq(memcmp(text, data, length), 0);
    free(text);
    ck_assert_int_eq(io_read_file(path, 99999, &text, &length, &error), -EFBIG);
    folder_remove(folder, "a");
}
END_TEST

START_TEST(memfds_are_sealed)
{
    _cleanup_close_ int fd = io_memfd("test", "hello", 5, NULL), open_fd = -1;
    struct error error;
    size_t length;
    char *text;

    ck_assert_int_ge(fd, 0);
    ck_assert_int_lt(pwrite(fd, "x", 1, 0), 0);
    ck_assert_int_lt(ftruncate(fd, 1), 0);
    ck_assert_int_eq(io_memfd_read(fd, 5, &text, &length, &error), 0);
    ck_assert_str_eq(text, "hello");
    free(text);
    ck_assert_int_eq(io_memfd_read(fd, 4, &text, &length, &error), -EFBIG);

    open_fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    ck_assert_int_eq(io_memfd_read(open_fd, 5, &text, &length, &error), -EPERM);
    ck_assert_int_eq(fcntl(open_fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    ck_assert_int_eq(io_memfd_read(open_fd, 5, &text, &length, &error), -EPERM);
}
END_TEST

START_TEST(trusts_what_only_root_writes)
{
    char *folder = folder_make(), path[128], link_path[128];
    struct error error;

    snprintf(path, sizeof(path), "%s/a", folder);
    snprintf(link_path, sizeof(link_path), "%s/b", folder);
    ck_assert_int_eq(io_write_file(path, "x", 1, 0644, &error), 0);
    ck_assert_int_eq(io_check_root_only(path, &error), 0);
    ck_assert_int_eq(chmod(path, 0664), 0);
    ck_assert_int_eq(io_check_root_only(path, &error), -EPERM);
    assert_error(error, "chmod go-w");
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_eq(chmod(folder, 0777), 0);
    ck_assert_int_eq(io_check_root_only(path, &error), -EPERM);
    assert_error(error, "its folder");
    ck_assert_int_eq(chmod(folder, 0700), 0);
    ck_assert_int_eq(symlink(path, link_path), 0);
    ck_assert_int_eq(io_check_root_only(link_path, &error), -EPERM);
    assert_error(error, "not a plain file");
    unlink(link_path);
    if (geteuid() == 0) {
        ck_assert_int_eq(chown(path, 12345, 12345), 0);
        ck_assert_int_eq(io_check_root_only(path, &error), -EPERM);
        assert_error(error, "belongs to uid 12345");
    }
    folder_remove(folder, "a");
}
END_TEST

START_TEST(folders)
{
    char *folder = folder_make(), path[128];
    struct error error;
    struct stat stat_is;

    snprintf(path, sizeof(path), "%s/a", folder);
    ck_assert_int_eq(io_mkdir(path, 0755, &error), 0);
    ck_assert_int_eq(io_mkdir(path, 0700, &error), 0);
    ck_assert_int_eq(stat(path, &stat_is), 0);
    ck_assert_int_eq(stat_is.st_mode & 07777, 0755);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(io_write_file(path, "x", 1, 0644, &error), 0);
    ck_assert_int_eq(io_mkdir(path, 0700, &error), -ENOTDIR);
    folder_remove(folder, "a");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {files_whole,
                                  lines_one_by_one,
                                  lines_too_long,
                                  new_files_whole_or_none,
                                  large_files,
                                  memfds_are_sealed,
                                  trusts_what_only_root_writes,
                                  folders,
                                  NULL};

    return unit_run("io", tests);
}
