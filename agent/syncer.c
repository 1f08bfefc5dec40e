/* See syncer.h. One message asks for each group, one answers. What is to be written stands in memory that
 * both have since the fork, at the same address. */
#include "syncer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/channel.h"
#include "sandbox.h"

#define SYNCER_NAME "grivetd-syncer"
#define TEXT_BYTES  (SYNCER_GROUPS_MAX * LINES_WAITING_MAX)

/* ---- the process: the lock is beside its channel, which are its only files */

enum { LOCK_FD = STDERR_FILENO + 1, CHANNEL_FD };

static int on_sync(void *context, struct message *message, struct error *error)
{
    struct lines_group group;
    struct lines_result result;

    memcpy(&group, message->body, sizeof(group));
    result = lines_group_write(&group);
    return channel_send(*(const int *)context, CHANNEL_SYNCED, &result, sizeof(result), -1);
}

static int on_remove(void *context, struct message *message, struct error *error)
{
    char path[LINES_PATH_MAX] = "";

    memcpy(path, message->body, message->length);
    unlinkat(AT_FDCWD, path, 0);
    return 0;
}

/* Until the executor is gone. */
static void syncer_live(int fd)
{
    static const struct channel_row rows[] = {
        {CHANNEL_SYNC, "sync", CHANNEL_EXECUTOR, sizeof(struct lines_group), sizeof(struct lines_group),
         false, on_sync},
        {CHANNEL_REMOVE, "remove", CHANNEL_EXECUTOR, 1, LINES_PATH_MAX - 1, false, on_remove},
        {0}};
    struct pollfd readable = {.fd = fd, .events = POLLIN};

    while (poll(&readable, 1, -1) >= 0 || errno == EINTR)
        if (channel_receive(fd, CHANNEL_EXECUTOR, rows, &fd, NULL) < 0)
            return;
}

/* The executor's signals are not ours: it has things to write after it was told to end. */
static _Noreturn void syncer_main(int lock, int fd)
{
    static const int ignored[] = {SIGTERM, SIGINT, SIGHUP};
    cap_t none = cap_init();

    for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
        signal(ignored[i], SIG_IGN);
    prctl(PR_SET_NAME, SYNCER_NAME);
    if (none && cap_set_proc(none) == 0 && sandbox_enter(SANDBOX_SYNCER, NULL) == 0 &&
        dup2(lock, LOCK_FD) >= 0 && dup2(fd, CHANNEL_FD) >= 0 && close_range(CHANNEL_FD + 1, ~0U, 0) == 0)
        syncer_live(CHANNEL_FD);
    _exit(0);
}

/* ---- in the executor */

static int on_synced(void *context, struct message *message, struct error *error)
{
    struct syncer *syncer = context;

    if (syncer->result.error == 0)
        memcpy(&syncer->result, message->body, sizeof(syncer->result));
    if (syncer->n_asked && --syncer->n_asked == 0)
        syncer->done(syncer->context, syncer->result);
    return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    static const struct channel_row rows[] = {{CHANNEL_SYNCED, "synced", CHANNEL_SYNCER,
                                               sizeof(struct lines_result), sizeof(struct lines_result),
                                               false, on_synced},
                                              {0}};
    struct syncer *syncer = context;

    if (channel_receive(fd, CHANNEL_SYNCER, rows, syncer, NULL) >= 0)
        return;
    event_del(syncer->readable);
    close(TAKE_FD(syncer->fd));
    syncer->done(syncer->context, (struct lines_result){.error = -EPIPE});
}

/* Of an earlier life a syncer may still be at its last group: nobody reads those files before it is gone. The
 * lock is let go by the death of the one that is ours. */
static int lock_folder(const char *folder, struct error *error)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    if (fd < 0)
        return error_errno(error, errno, "%s: can't open", folder);
    do
        r = flock(fd, LOCK_EX);
    while (r < 0 && errno == EINTR);
    if (r == 0)
        return fd;
    r = error_errno(error, errno, "%s: can't lock", folder);
    close(fd);
    return r;
}

static int share_memory(struct syncer *syncer, struct error *error)
{
    void *text =
        mmap(NULL, TEXT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (text == MAP_FAILED)
        return error_oom(error);
    syncer->text = text;
    return 0;
}

static int start(struct syncer *syncer, int lock, struct error *error)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(error, errno, "can't make the channel to the process that waits for the disk");
    syncer->pid = fork();
    if (syncer->pid == 0)
        syncer_main(lock, pair[1]);
    close(pair[1]);
    syncer->fd = pair[0];
    return syncer->pid < 0 ? error_errno(error, errno, "can't start the process that waits for the disk") : 0;
}

int syncer_open(struct syncer *syncer, const char *folder, struct event_base *base, struct error *error)
{
    _cleanup_close_ int lock = lock_folder(folder, error);
    int r = lock < 0 ? lock : share_memory(syncer, error);

    if (r == 0)
        r = start(syncer, lock, error);
    if (r < 0)
        return r;
    if (madvise(syncer->text, TEXT_BYTES, MADV_DONTFORK) < 0) /* not for what else we fork */
        return error_errno(error, errno, "can't keep memory to ourselves");
    syncer->readable = event_new(base, syncer->fd, EV_READ | EV_PERSIST, on_readable, syncer);
    return syncer->readable && event_add(syncer->readable, NULL) == 0 ? 0 : error_oom(error);
}

void syncer_close(struct syncer *syncer)
{
    if (!syncer->readable)
        return;
    event_free(syncer->readable);
    cleanup_close(&syncer->fd);
    waitpid(syncer->pid, NULL, 0);
    munmap(syncer->text, TEXT_BYTES);
}

void syncer_remove(struct syncer *syncer, const char *path)
{
    if (syncer->fd >= 0)
        channel_send(syncer->fd, CHANNEL_REMOVE, path, strlen(path), -1);
}

int syncer_request(struct syncer *syncer, const struct lines_group *groups, size_t count, struct error *error)
{
    int r = syncer->fd < 0 ? -EPIPE : 0;
    char *text = syncer->text;

    for (size_t i = 0; i < count && r == 0; i++) {
        struct lines_group group = groups[i];

        group.text = memcpy(text, groups[i].text, group.length);
        text += group.length;
        r = channel_send(syncer->fd, CHANNEL_SYNC, &group, sizeof(group), -1);
    }
    if (r < 0)
        return error_errno(error, -r, "can't reach the process that waits for the disk");
    syncer->n_asked = count;
    syncer->result = (struct lines_result){0};
    return 0;
}
