/* See syncer.h. One message asks, with the files attached; one answers, with 0 or -errno. */
#include "syncer.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"

#define SYNCER_NAME "grivetd-syncer"

struct syncer {
    int fd;
    struct event *readable;
    void (*done)(void *context, int result);
    void *context;
};

/* ---- the process */

static int sync_all(struct msghdr *message)
{
    int r = 0, fds[SYNCER_FDS_MAX];
    struct cmsghdr *header = CMSG_FIRSTHDR(message);
    size_t count = header ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

    if (!count)
        return -EBADF;
    memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    for (size_t i = 0; i < count; i++) {
        if (r == 0 && fdatasync(fds[i]) < 0)
            r = -errno;
        close(fds[i]);
    }
    return r;
}

/* Until the executor is gone. */
static void syncer_live(int fd)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(SYNCER_FDS_MAX * sizeof(int))];
    char byte;

    for (;;) {
        struct iovec part = {&byte, 1};
        struct msghdr message = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
        ssize_t length = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
        int result;

        if (length < 0 && errno == EINTR)
            continue;
        if (length <= 0)
            return;
        result = sync_all(&message);
        if (send(fd, &result, sizeof(result), MSG_NOSIGNAL) < 0)
            return;
    }
}

/* The executor's signals are not ours: it has things to write after it was told to end. */
static _Noreturn void syncer_main(int fd)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP};
    cap_t none = cap_init();

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    prctl(PR_SET_NAME, SYNCER_NAME);
    if (none && cap_set_proc(none) == 0 && dup2(fd, STDERR_FILENO + 1) >= 0 &&
        close_range(STDERR_FILENO + 2, ~0U, 0) == 0)
        syncer_live(STDERR_FILENO + 1);
    _exit(0);
}

/* ---- in the executor */

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct syncer *syncer = context;
    int result = -EPIPE;
    ssize_t length = recv(fd, &result, sizeof(result), MSG_DONTWAIT);

    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length != sizeof(result)) {
        event_del(syncer->readable);
        close(TAKE_FD(syncer->fd));
    }
    syncer->done(syncer->context, result);
}

int syncer_new(struct syncer **ret, struct event_base *base, void (*done)(void *context, int result),
               void *context, struct error *error)
{
    _cleanup_(syncer_freep) struct syncer *syncer = calloc(1, sizeof(*syncer));
    int pair[2];
    pid_t pid;

    if (!syncer)
        return error_oom(error);
    *syncer = (struct syncer){.fd = -1, .done = done, .context = context};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(error, errno, "can't make the channel to the process that waits for the disk");
    pid = fork();
    if (pid == 0)
        syncer_main(pair[1]);
    close(pair[1]);
    syncer->fd = pair[0];
    if (pid < 0)
        return error_errno(error, errno, "can't start the process that waits for the disk");
    syncer->readable = event_new(base, syncer->fd, EV_READ | EV_PERSIST, on_readable, syncer);
    if (!syncer->readable || event_add(syncer->readable, NULL) < 0)
        return error_oom(error);
    *ret = TAKE_PTR(syncer);
    return 0;
}

struct syncer *syncer_free(struct syncer *syncer)
{
    if (!syncer)
        return NULL;
    if (syncer->readable)
        event_free(syncer->readable);
    cleanup_close(&syncer->fd);
    free(syncer);
    return NULL;
}

int syncer_request(struct syncer *syncer, const int *fds, size_t count, struct error *error)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(SYNCER_FDS_MAX * sizeof(int))] = {0};
    struct iovec part = {(char[1]){0}, 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    if (syncer->fd < 0)
        return error_set(error, EPIPE, "the process that waits for the disk is gone: restart grivetd");
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    if (sendmsg(syncer->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        return error_errno(error, errno, "can't reach the process that waits for the disk");
    return 0;
}
