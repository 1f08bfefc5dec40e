/* See syncer.h. One message asks for each file, one answers. */
#include "syncer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel.h"
#include "sandbox.h"

#define SYNCER_NAME "grivetd-syncer"

/* ---- the process */

static int on_sync(void *context, struct message *message, struct error *error)
{
    int result = fdatasync(message->fd) < 0 ? -errno : 0;

    return channel_send(*(const int *)context, CHANNEL_SYNCED, &result, sizeof(result), -1);
}

/* Until the executor is gone. */
static void syncer_live(int fd)
{
    static const struct channel_row rows[] = {{CHANNEL_SYNC, "sync", CHANNEL_EXECUTOR, 0, 0, true, on_sync},
                                              {0}};
    struct pollfd readable = {.fd = fd, .events = POLLIN};

    while (poll(&readable, 1, -1) >= 0 || errno == EINTR)
        if (channel_receive(fd, CHANNEL_EXECUTOR, rows, &fd, NULL) < 0)
            return;
}

/* The executor's signals are not ours: it has things to write after it was told to end. */
static _Noreturn void syncer_main(int fd)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP};
    cap_t none = cap_init();

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    prctl(PR_SET_NAME, SYNCER_NAME);
    if (none && cap_set_proc(none) == 0 && sandbox_enter(SANDBOX_SYNCER, NULL) == 0 &&
        dup2(fd, STDERR_FILENO + 1) >= 0 && close_range(STDERR_FILENO + 2, ~0U, 0) == 0)
        syncer_live(STDERR_FILENO + 1);
    _exit(0);
}

/* ---- in the executor */

static int on_synced(void *context, struct message *message, struct error *error)
{
    struct syncer *syncer = context;
    int result;

    memcpy(&result, message->body, sizeof(result));
    if (syncer->result == 0)
        syncer->result = result;
    if (syncer->n_asked && --syncer->n_asked == 0)
        syncer->done(syncer->context, syncer->result);
    return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    static const struct channel_row rows[] = {
        {CHANNEL_SYNCED, "synced", CHANNEL_SYNCER, sizeof(int), sizeof(int), false, on_synced}, {0}};
    struct syncer *syncer = context;

    if (channel_receive(fd, CHANNEL_SYNCER, rows, syncer, NULL) >= 0)
        return;
    event_del(syncer->readable);
    close(TAKE_FD(syncer->fd));
    syncer->done(syncer->context, -EPIPE);
}

int syncer_open(struct syncer *syncer, struct event_base *base, struct error *error)
{
    int pair[2];
    pid_t pid;

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
    return syncer->readable && event_add(syncer->readable, NULL) == 0 ? 0 : error_oom(error);
}

void syncer_close(struct syncer *syncer)
{
    if (!syncer->readable)
        return;
    event_free(syncer->readable);
    cleanup_close(&syncer->fd);
}

int syncer_request(struct syncer *syncer, const int *fds, size_t count, struct error *error)
{
    int r = syncer->fd < 0 ? -EPIPE : 0;

    for (size_t i = 0; i < count && r == 0; i++)
        r = channel_send(syncer->fd, CHANNEL_SYNC, "", 0, fds[i]);
    if (r < 0)
        return error_errno(error, -r, "can't reach the process that waits for the disk");
    syncer->n_asked = count;
    syncer->result = 0;
    return 0;
}
