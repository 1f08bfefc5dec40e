/* Results of the sweep, as files: see sweep-result.h. */
#include "sweep-result.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"

static int write_whole(int folder_fd, const char *name, const char *text, size_t length)
{
    _cleanup_close_ int fd =
        openat(folder_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);

    return fd < 0 ? -errno : io_write_all(fd, text, length);
}

int sweep_result_write(const struct sweep_result *result, int folder_fd, struct error *error)
{
    char text[SWEEP_RESULT_BYTES_MAX], temporary[UUID_TEXT_MAX + 1];
    int r, length;

    length = snprintf(text, sizeof(text),
                      "order %s\nfault %s\nis_reverted %d\nat_usec %" PRId64 "\nrevert_error_nsec %" PRId64
                      "\nreason %s\nend\n",
                      result->order, result->fault, result->is_reverted, result->at_usec,
                      result->revert_error_nsec, result->reason);
    snprintf(temporary, sizeof(temporary), ".%s", result->order);
    r = write_whole(folder_fd, temporary, text, length);
    if (r == 0 && renameat(folder_fd, temporary, folder_fd, result->order) < 0)
        r = -errno;
    return r < 0 ? error_errno(error, -r, "%s/%s: can't write", SWEEP_RESULT_FOLDER, result->order) : 0;
}

/* Every line has to be there, in order: the file has one writer. */
static bool parse(struct sweep_result *ret, const char *text)
{
    int is_reverted, end = -1;

    if (sscanf(text,
               "order %36s\nfault %63s\nis_reverted %d\nat_usec %" SCNd64 "\nrevert_error_nsec %" SCNd64
               "\nreason %255[^\n]\nend\n%n",
               ret->order, ret->fault, &is_reverted, &ret->at_usec, &ret->revert_error_nsec, ret->reason,
               &end) != 6)
        return false;
    ret->is_reverted = is_reverted == 1;
    return end >= 0 && !text[end] && (is_reverted == 0 || is_reverted == 1) && uuid_is_valid(ret->order);
}

int sweep_result_read(struct sweep_result *ret, int folder_fd, const char *name, struct error *error)
{
    _cleanup_close_ int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct sweep_result result = {0};
    _cleanup_free_ char *text = NULL;
    int r;

    if (fd < 0)
        return error_errno(error, errno, "%s/%s: can't open", SWEEP_RESULT_FOLDER, name);
    r = io_read_fd(fd, name, SWEEP_RESULT_BYTES_MAX, &text, NULL, error);
    if (r < 0)
        return r;
    if (!parse(&result, text) || strcmp(result.order, name) != 0)
        return error_set(error, EINVAL, "%s/%s: not a result of the sweep", SWEEP_RESULT_FOLDER, name);
    *ret = result;
    return 0;
}
