/* Undo records: see record.h. Nothing here allocates: the sweep and the executor need it when memory is
 * short. */
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "io.h"
#include "own-process.h"

#define HEAD                                                                                                 \
    "order %s\nboot %s\nfault %s\nholder_pid %" PRId64 "\nholder_start_ticks %" PRIu64                       \
    "\ndeadline_boot_nsec %" PRId64 "\ndeadline_real_usec %" PRId64 "\n"
#define HEAD_READ                                                                                            \
    "order %36s boot %36s fault %63s holder_pid %" SCNd64 " holder_start_ticks %" SCNu64                     \
    " deadline_boot_nsec %" SCNd64 " deadline_real_usec %" SCNd64 "%n"
#define HEAD_COUNT   7
#define RESULT       "reverted_usec %" PRId64 "\nrevert_error_nsec %" PRId64 "\nreason %s\n"
#define RESULT_READ  "reverted_usec %" SCNd64 " revert_error_nsec %" SCNd64 " reason %159[^\n]%n"
#define RESULT_COUNT 3

/* A hidden name, so that whoever lists the folder sees whole records only. */
static void temporary_name(const char *order, char ret[UUID_TEXT_MAX + 1])
{
    snprintf(ret, UUID_TEXT_MAX + 1, ".%s", order);
}

/* The most that fits into a record is far less than RECORD_BYTES_MAX. */
static size_t record_format(const struct record *record, char text[RECORD_BYTES_MAX])
{
    const size_t size = RECORD_BYTES_MAX;
    size_t length =
        snprintf(text, size, HEAD, record->order, record->boot, record->fault, (int64_t)record->holder_pid,
                 record->holder_start_ticks, record->deadline_boot_nsec, record->deadline_real_usec);

    for (size_t i = 0; i < record->n_undos; i++)
        length += snprintf(text + length, size - length, "undo %s %s\n", record->undos[i].kind,
                           record->undos[i].argument);
    if (record->reverted_usec)
        length += snprintf(text + length, size - length, RESULT, record->reverted_usec,
                           record->revert_error_nsec, record->reason);
    return length;
}

int record_write(const struct record *record, int folder_fd, struct error *error)
{
    char text[RECORD_BYTES_MAX], temporary[UUID_TEXT_MAX + 1];
    _cleanup_close_ int fd = -1;
    int r;

    temporary_name(record->order, temporary);
    /* No secret, and the sweep has no capability to read what is another user's alone. */
    fd = openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return error_errno(error, errno, "record %s: can't write", record->order);
    r = io_write_all(fd, text, record_format(record, text));
    if (r == 0 && renameat(folder_fd, temporary, folder_fd, record->order) < 0)
        r = -errno;
    if (r < 0) {
        unlinkat(folder_fd, temporary, 0);
        return error_errno(error, -r, "record %s: can't write", record->order);
    }
    return 0;
}

static bool parse_head(struct record *record, const char **text)
{
    int64_t pid;
    int length = 0;

    if (sscanf(*text, HEAD_READ, record->order, record->boot, record->fault, &pid,
               &record->holder_start_ticks, &record->deadline_boot_nsec, &record->deadline_real_usec,
               &length) != HEAD_COUNT ||
        (*text)[length] != '\n' || !uuid_is_valid(record->order))
        return false;
    /* A pid of 1 or below would make the sweep kill what it must not. */
    if (pid < 0 || pid == 1 || pid > INT32_MAX)
        return false;
    record->holder_pid = pid;
    *text += length + 1;
    return true;
}

static bool parse_undo(struct record *record, const char *line, const char *end)
{
    struct undo *undo = &record->undos[record->n_undos];
    int length = 0;

    if (record->n_undos == RECORD_UNDO_MAX || strncmp(line, "undo ", 5) != 0 ||
        sscanf(line, "undo %23s %103[^\n]%n", undo->kind, undo->argument, &length) != 2 ||
        line + length != end)
        return false;
    record->n_undos++;
    return true;
}

/* Its three lines are there together or not at all. */
static bool parse_result(struct record *record, const char *text, const char **ret_end)
{
    int length = 0;

    if (sscanf(text, RESULT_READ, &record->reverted_usec, &record->revert_error_nsec, record->reason,
               &length) != RESULT_COUNT ||
        text[length] != '\n')
        return false;
    *ret_end = text + length;
    return true;
}

/* The steps and the result. */
static bool parse_tail(struct record *record, const char *text)
{
    for (const char *end; (end = strchr(text, '\n')); text = end + 1)
        if (!parse_undo(record, text, end) && !parse_result(record, text, &end))
            return false;
    return true;
}

static int read_whole(int fd, char *text, size_t size)
{
    size_t length = 0;
    ssize_t got;

    while ((got = read(fd, text + length, size - 1 - length)) != 0) {
        if (got < 0 && errno != EINTR)
            return -errno;
        length += got > 0 ? got : 0;
        if (length == size - 1)
            return -EFBIG;
    }
    text[length] = '\0';
    return 0;
}

int record_read(struct record *ret, int folder_fd, const char *name, struct error *error)
{
    _cleanup_close_ int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[RECORD_BYTES_MAX + 1];
    const char *tail = text;
    int r;

    *ret = (struct record){0};
    if (fd < 0)
        return error_errno(error, errno, "record %s: can't open", name);
    r = read_whole(fd, text, sizeof(text));
    if (r < 0)
        return error_errno(error, -r, "record %s: can't read", name);
    if (!parse_head(ret, &tail) || strcmp(ret->order, name) != 0) {
        *ret = (struct record){0};
        return error_set(error, EINVAL, "record %s: not a whole record", name);
    }
    return parse_tail(ret, tail) ? 0 : error_set(error, EINVAL, "record %s: damaged behind its head", name);
}

int record_remove(const char *order, int folder_fd, struct error *error)
{
    char temporary[UUID_TEXT_MAX + 1];

    temporary_name(order, temporary);
    unlinkat(folder_fd, temporary, 0); /* of a writer that was killed */
    if (unlinkat(folder_fd, order, 0) < 0 && errno != ENOENT)
        return error_errno(error, errno, "record %s: can't remove", order);
    return 0;
}

int record_add_undo(struct record *record, int fd, const char *kind, const char *argument,
                    struct error *error)
{
    char line[sizeof(struct undo) + 16];
    int r = 0, length;

    if (record->n_undos == RECORD_UNDO_MAX)
        return error_set(error, ENOSPC, "record %s: more than %d undo steps", record->order, RECORD_UNDO_MAX);
    length = snprintf(line, sizeof(line), "undo %s %s\n", kind, argument);
    if (length >= (int)sizeof(line) || strpbrk(kind, " \n") || !parse_undo(record, line, line + length - 1))
        return error_set(error, EINVAL, "record %s: '%.32s %.120s' can't be an undo step", record->order,
                         kind, argument);
    if (fd >= 0)
        r = io_write_all(fd, line, length);
    return r < 0 ? error_errno(error, -r, "record %s: can't write", record->order) : 0;
}

bool record_is_hidden(int r)
{
    /* What record_read() says of a name that is not there, and of one that is no record. */
    static const int known[] = {0, ENOENT, EINVAL, EFBIG, EISDIR, ELOOP, ENXIO};

    for (size_t i = 0; i < ARRAY_SIZE(known); i++)
        if (r == -known[i])
            return false;
    return true;
}

/* Return: 0 = yes, -ESRCH = there is no such holder (any more), -errno = can't tell */
static int check_holder(const struct record *record)
{
    char name[OWN_NAME_MAX];
    uint64_t ticks;
    int r = process_read_start_ticks(record->holder_pid, &ticks);

    if (r > 0 && ticks == record->holder_start_ticks)
        r = own_process_read(record->holder_pid, name);
    else if (r > 0)
        r = 0;
    return r < 0 ? r : r > 0 && !strcmp(name, OWN_HOLDER_NAME) ? 0 : -ESRCH;
}

int record_open_holder(const struct record *record)
{
    _cleanup_close_ int fd = -1;
    char boot[BOOT_ID_MAX];
    int r;

    if (!*time_boot_id(boot))
        return -EIO;
    if (record->holder_pid <= 1 || strcmp(record->boot, boot) != 0)
        return -ESRCH;
    fd = pidfd_open(record->holder_pid, 0);
    if (fd < 0) /* EINVAL, ENOENT: the number is a thread's by now */
        return errno == EINVAL || errno == ENOENT ? -ESRCH : -errno;
    r = check_holder(record);
    return r < 0 ? r : TAKE_FD(fd);
}
