/* Who talks to the executor: accepted on one socket, known by the user id that the kernel reports, heard by
 * one table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/io.h"
#include "common/log.h"
#include "executor-state.h"

#define SOCKET_NAME "agent.sock"
#define BODY_MAX    256
#define PEER_BURST  16

static const struct channel_row rows[] = {
    {CHANNEL_ORDER, "order", CHANNEL_COURIER, 0, 0, true, executor_on_order},
    {CHANNEL_ASK, "ask", CHANNEL_COURIER, 0, 0, true, executor_on_ask},
    {CHANNEL_HALT, "halt", CHANNEL_COURIER, 0, 0, true, executor_on_halt},
    {CHANNEL_ACK, "ack", CHANNEL_COURIER, 0, 0, true, executor_on_ack},
    {CHANNEL_NONCE, "nonce", CHANNEL_COURIER, 2, BODY_MAX, false, executor_on_nonce},
    {CHANNEL_CLOCK, "clock", CHANNEL_COURIER, 2, BODY_MAX, false, executor_on_clock},
    {CHANNEL_CONTACT, "contact", CHANNEL_COURIER, 2, BODY_MAX, false, executor_on_contact},
    {CHANNEL_FETCH, "fetch", CHANNEL_COURIER, 2, BODY_MAX, false, executor_on_fetch},
    {CHANNEL_SAMPLES, "samples", CHANNEL_PROBER, 2, CHANNEL_BODY_MAX, false, executor_on_samples},
    {CHANNEL_STATUS, "status", CHANNEL_ROOT, 0, BODY_MAX, false, executor_on_status},
    {CHANNEL_HALT_LOCAL, "halt-local", CHANNEL_ROOT, 0, BODY_MAX, false, executor_on_halt_local},
    {CHANNEL_WAIT_READY, "wait-ready", CHANNEL_ROOT, 0, BODY_MAX, false, executor_on_wait_ready},
    {0},
};

void peer_close(struct peer *peer)
{
    if (!peer->role)
        return;
    event_free(peer->readable);
    close(peer->fd);
    *peer = (struct peer){.fd = -1};
}

void peer_send(struct peer *peer, enum channel_type type, const char *body, int fd)
{
    if (channel_send(peer->fd, type, body, strlen(body), fd) < 0)
        peer_close(peer);
}

void peer_send_large(struct peer *peer, enum channel_type type, const void *data, size_t length)
{
    struct error error = {0};
    _cleanup_close_ int fd = io_memfd("message", data, length, &error);

    if (fd < 0)
        executor_say(peer->executor, LOG_LEVEL_ERROR, "can't answer a peer: %s", error.text);
    else
        peer_send(peer, type, "", fd);
}

struct peer *executor_peer(struct executor *executor, enum channel_role role)
{
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        if (executor->peers[i].role == role)
            return &executor->peers[i];
    return NULL;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct peer *peer = context;
    struct error error = {0};
    int r = 1;

    for (int i = 0; i < PEER_BURST && r == 1 && peer->role; i++)
        r = channel_receive(fd, peer->role, rows, peer, &error);
    if (r >= 0 || !peer->role)
        return;
    if (r != -EPIPE)
        executor_say(peer->executor, LOG_LEVEL_WARNING, "closed a peer: %s", error.text);
    peer_close(peer);
}

static enum channel_role role_of(const struct executor *executor, int fd)
{
    struct ucred credentials;
    socklen_t length = sizeof(credentials);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0)
        return 0;
    if (credentials.uid == 0)
        return CHANNEL_ROOT;
    if (credentials.uid == executor->courier_uid)
        return CHANNEL_COURIER;
    return credentials.uid == executor->prober_uid ? CHANNEL_PROBER : 0;
}

/* There is one courier and one prober: who comes later has been started later. */
static struct peer *find_place(struct executor *executor, enum channel_role role)
{
    struct peer *old = role == CHANNEL_ROOT ? NULL : executor_peer(executor, role);

    if (old) {
        peer_close(old);
        return old;
    }
    /* Two places stay free for those two, however many ask for the status. */
    for (size_t i = role == CHANNEL_ROOT ? 2 : 0; i < EXECUTOR_PEERS_MAX; i++)
        if (!executor->peers[i].role)
            return &executor->peers[i];
    return NULL;
}

static void greet(struct executor *executor, struct peer *peer)
{
    if (peer->role == CHANNEL_PROBER)
        executor_watch_resend(executor);
    if (peer->role == CHANNEL_COURIER)
        executor_greet_courier(executor);
}

static void on_listen(evutil_socket_t listen_fd, short what, void *context)
{
    struct executor *executor = context;
    _cleanup_close_ int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    enum channel_role role = fd < 0 ? 0 : role_of(executor, fd);
    struct peer *peer = role ? find_place(executor, role) : NULL;

    if (!peer)
        return;
    *peer = (struct peer){.executor = executor, .role = role, .fd = fd};
    peer->readable = event_new(executor->base, fd, EV_READ | EV_PERSIST, on_readable, peer);
    if (!peer->readable || event_add(peer->readable, NULL) < 0) {
        if (peer->readable)
            event_free(peer->readable);
        *peer = (struct peer){.fd = -1};
        return;
    }
    TAKE_FD(fd);
    greet(executor, peer);
}

int executor_open_peers(struct executor *executor, struct error *error)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/" SOCKET_NAME, executor->config->run);
    executor->listen_fd = channel_listen(path, 0666, error);
    if (executor->listen_fd < 0)
        return executor->listen_fd;
    executor->on_listen =
        event_new(executor->base, executor->listen_fd, EV_READ | EV_PERSIST, on_listen, executor);
    if (!executor->on_listen || event_add(executor->on_listen, NULL) < 0)
        return error_oom(error);
    return 0;
}

void executor_close_peers(struct executor *executor)
{
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        peer_close(&executor->peers[i]);
    if (executor->on_listen)
        event_free(executor->on_listen);
    cleanup_close(&executor->listen_fd);
}
