/* Requests of root to the executor: see executor.h. */
#include "executor.h"

#include <errno.h>
#include <poll.h>

#include "common/io.h"
#include "common/times.h"

#define ANSWER_BYTES_MAX (1 << 20)

static int take_answer(void *context, struct message *message, struct error *error)
{
    json_t **ret = context;
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    if (message->fd < 0) {
        *ret = json_loadb(message->body, message->length, JSON_REJECT_DUPLICATES, NULL);
    } else {
        r = io_memfd_read(message->fd, ANSWER_BYTES_MAX, &text, &length, error);
        if (r < 0)
            return r;
        *ret = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    }
    return *ret ? 0 : error_set(error, EBADMSG, "the executor's answer is not JSON");
}

static int wait_for(int fd, int64_t until_nsec, struct error *error)
{
    int64_t left_msec = (until_nsec - time_boot_nsec()) / NSEC_PER_MSEC;
    struct pollfd event = {fd, POLLIN, 0};
    int r = poll(&event, 1, left_msec > 0 ? (int)left_msec : 0);

    if (r < 0 && errno != EINTR)
        return error_errno(error, errno, "can't wait for the executor");
    return r == 0 ? error_set(error, ETIMEDOUT, "the executor did not answer in time") : 0;
}

int executor_ask(enum channel_type request, enum channel_type answer, int64_t timeout_msec, json_t **ret,
                 struct error *error)
{
    const struct channel_row rows[] = {
        {answer, "answer", CHANNEL_EXECUTOR, 0, CHANNEL_BODY_MAX, answer == CHANNEL_STATUS_IS, take_answer},
        {}};
    int64_t until_nsec = time_boot_nsec() + timeout_msec * NSEC_PER_MSEC;
    _cleanup_close_ int fd = channel_connect(EXECUTOR_SOCKET, error);
    int r;

    if (fd < 0)
        return fd;
    r = channel_send(fd, request, "{}", 2, -1);
    if (r < 0)
        return error_errno(error, -r, "can't ask the executor");
    *ret = NULL;
    while (r == 0 && !*ret) {
        r = wait_for(fd, until_nsec, error);
        if (r == 0)
            r = channel_receive(fd, CHANNEL_EXECUTOR, rows, ret, error);
        r = r > 0 ? 0 : r;
    }
    return r;
}
