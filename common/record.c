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

/* A hidden name, so that whoever lists the folder sees whole records only. */
static void temporary_name(const char *order, char ret[UUID_TEXT_MAX + 1])
{
    snprintf(ret, UUID_TEXT_MAX + 1, ".%s", order);
}

static int record_format(const struct record *record, char *text, size_t size)
{
    size_t length;

    length = snprintf(text, size,
                      "order %s\nboot %s\nfault %s\nholder_pid %d\nholder_start_ticks %" PRIu64
                      "\ndeadline_boot_nsec %" PRId64 "\ndeadline_real_usec %" PRId64 "\n",
                      record->order, record->boot, record->fault, record->holder_pid,
                      record->holder_start_ticks, record->deadline_boot_nsec, record->deadline_real_usec);
    for (size_t i = 0; i < record->n_undos && length < size; i++)
        length += snprintf(text + length, size - length, "undo %s %s\n", record->undos[i].kind,
                           record->undos[i].argument);
    if (length < size)
        length += snprintf(text + length, size - length, "end\n");
    return length < size ? (int)length : -E2BIG;
}

int record_write(const struct record *record, int folder_fd, struct error *error)
{
    char text[RECORD_BYTES_MAX], temporary[UUID_TEXT_MAX + 1];
    _cleanup_close_ int fd = -1;
    int r;

    r = record_format(record, text, sizeof(text));
    if (r < 0)
        return error_set(error, -r, "record %s: larger than %d bytes", record->order, RECORD_BYTES_MAX);
    temporary_name(record->order, temporary);
    /* No secret, and the sweep has no capability to read what is another user's alone. */
    fd = openat(folder_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return error_errno(error, errno, "record %s: can't write", record->order);
    r = io_write_all(fd, text, r);
    if (r == 0 && renameat(folder_fd, temporary, folder_fd, record->order) < 0)
        r = -errno;
    if (r < 0) {
        unlinkat(folder_fd, temporary, 0);
        return error_errno(error, -r, "record %s: can't write", record->order);
    }
    return 0;
}

/* Takes the line `key value` off @text. Return: the value, NULL when the line is another one. */
static char *take_line(char **text, const char *key)
{
    size_t length = strlen(key);
    char *value = *text + length + 1, *end;

    if (strncmp(*text, key, length) != 0 || (*text)[length] != ' ' || !(end = strchr(value, '\n')))
        return NULL;
    *end = '\0';
    *text = end + 1;
    return value;
}

static bool take_text(char **text, const char *key, char *ret, size_t size)
{
    const char *value = take_line(text, key);

    return value && *value && snprintf(ret, size, "%s", value) < (int)size;
}

static bool take_integer(char **text, const char *key, int64_t *ret)
{
    const char *value = take_line(text, key);
    char *end;

    if (!value || !*value || strspn(value, "-0123456789") != strlen(value))
        return false;
    errno = 0;
    *ret = strtoll(value, &end, 10);
    return !errno && !*end;
}

static bool take_undo(char **text, struct record *record)
{
    struct undo *undo = &record->undos[record->n_undos];
    char *value, *argument;

    if (record->n_undos == RECORD_UNDO_MAX || !(value = take_line(text, "undo")) ||
        !(argument = strchr(value, ' ')))
        return false;
    *argument++ = '\0';
    record->n_undos++;
    return *value && *argument &&
           snprintf(undo->kind, sizeof(undo->kind), "%s", value) < (int)sizeof(undo->kind) &&
           snprintf(undo->argument, sizeof(undo->argument), "%s", argument) < (int)sizeof(undo->argument);
}

static bool record_parse(struct record *record, char *text)
{
    int64_t pid, ticks;

    if (!take_text(&text, "order", record->order, sizeof(record->order)) || !uuid_is_valid(record->order) ||
        !take_text(&text, "boot", record->boot, sizeof(record->boot)) ||
        !take_text(&text, "fault", record->fault, sizeof(record->fault)) ||
        !take_integer(&text, "holder_pid", &pid) || !take_integer(&text, "holder_start_ticks", &ticks) ||
        !take_integer(&text, "deadline_boot_nsec", &record->deadline_boot_nsec) ||
        !take_integer(&text, "deadline_real_usec", &record->deadline_real_usec))
        return false;
    /* A pid of 1 or below would make the sweep kill what it must not. */
    if (pid < 0 || pid == 1 || pid > INT32_MAX || ticks < 0)
        return false;
    record->holder_pid = pid;
    record->holder_start_ticks = ticks;
    while (strncmp(text, "undo ", 5) == 0)
        if (!take_undo(&text, record))
            return false;
    return strcmp(text, "end\n") == 0;
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
    struct record record = {0};
    int r;

    if (fd < 0)
        return error_errno(error, errno, "record %s: can't open", name);
    r = read_whole(fd, text, sizeof(text));
    if (r < 0)
        return error_errno(error, -r, "record %s: can't read", name);
    if (!record_parse(&record, text) || strcmp(record.order, name) != 0)
        return error_set(error, EINVAL, "record %s: not a whole record", name);
    *ret = record;
    return 0;
}

int record_remove(const struct record *record, int folder_fd, struct error *error)
{
    char temporary[UUID_TEXT_MAX + 1];

    temporary_name(record->order, temporary);
    unlinkat(folder_fd, temporary, 0); /* of a writer that was killed */
    if (unlinkat(folder_fd, record->order, 0) < 0 && errno != ENOENT)
        return error_errno(error, errno, "record %s: can't remove", record->order);
    return 0;
}

int record_add_undo(struct record *record, const char *kind, const char *argument, struct error *error)
{
    struct undo *undo = &record->undos[record->n_undos];

    if (record->n_undos == RECORD_UNDO_MAX)
        return error_set(error, ENOSPC, "record %s: more than %d undo steps", record->order, RECORD_UNDO_MAX);
    if (!*kind || !*argument || strpbrk(kind, " \n") || strchr(argument, '\n') ||
        snprintf(undo->kind, sizeof(undo->kind), "%s", kind) >= (int)sizeof(undo->kind) ||
        snprintf(undo->argument, sizeof(undo->argument), "%s", argument) >= (int)sizeof(undo->argument))
        return error_set(error, EINVAL, "record %s: '%.32s %.120s' can't be an undo step", record->order,
                         kind, argument);
    record->n_undos++;
    return 0;
}

uint64_t process_start_ticks(pid_t pid)
{
    char path[32], text[1024];
    _cleanup_close_ int fd = -1;
    const char *field;
    uint64_t ticks;

    snprintf(path, sizeof(path), "/proc/%d/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read_whole(fd, text, sizeof(text)) < 0)
        return 0;
    /* The name in brackets may hold brackets and blanks: field 3 comes after the last bracket. */
    field = strrchr(text, ')');
    for (int number = 2; field && number < 22; number++) {
        field = strchr(field + 1, ' ');
    }
    return field && sscanf(field, " %" SCNu64, &ticks) == 1 ? ticks : 0;
}

static bool process_is_called(pid_t pid, const char *name)
{
    char path[32], text[32];
    _cleanup_close_ int fd = -1;
    size_t length = strlen(name);

    snprintf(path, sizeof(path), "/proc/%d/comm", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read_whole(fd, text, sizeof(text)) >= 0 && strncmp(text, name, length) == 0 &&
           text[length] == '\n';
}

int record_open_holder(const struct record *record)
{
    _cleanup_close_ int fd = record->holder_pid > 1 ? pidfd_open(record->holder_pid, 0) : -1;
    char boot[BOOT_ID_MAX];

    if (fd < 0 || strcmp(record->boot, time_boot_id(boot)) != 0 ||
        process_start_ticks(record->holder_pid) != record->holder_start_ticks ||
        !process_is_called(record->holder_pid, RECORD_HOLDER_NAME))
        return -1;
    return TAKE_FD(fd);
}
