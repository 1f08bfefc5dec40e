/* Who talks to the executor: accepted on one socket, known by the user id that the kernel reports, heard by
 * one table. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "common/io.h"
#include "executor.h"

#define BODY_MAX 256

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

/* ---- what is said and heard */

static void peer_close(struct peer *peer)
{
    if (!peer->role)
        return;
    event_free(peer->readable);
    close(peer->fd);
    *peer = (struct peer){.fd = -1};
}

void peer_send(struct peer *peer, enum channel_type type, const char *format, ...)
{
    char body[BODY_MAX];
    va_list arguments;

    if (!peer)
        return;
    va_start(arguments, format);
    vsnprintf(body, sizeof(body), format, arguments);
    va_end(arguments);
    if (channel_send(peer->fd, type, body, strlen(body), -1) < 0)
        peer_close(peer);
}

void peer_send_large(struct peer *peer, enum channel_type type, const void *data, size_t length)
{
    struct error error = {0};
    _cleanup_close_ int fd = peer ? io_memfd("message", data, length, &error) : -1;

    if (fd >= 0 && channel_send(peer->fd, type, "", 0, fd) < 0)
        peer_close(peer);
    if (error.code)
        executor_say(LOG_LEVEL_ERROR, "can't answer a peer: %s", error.text);
}

void peer_send_signed(struct peer *peer, enum channel_type type, enum envelope_kind kind, json_t *json)
{
    _cleanup_free_ char *payload = json_dumps(json, JSON_COMPACT), *text = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;

    json_decref(json);
    if (!peer || !payload || envelope_new(&envelope, kind, payload, strlen(payload), NULL) < 0 ||
        envelope_sign(envelope, peer->executor->key, NULL) < 0)
        return;
    text = envelope_format(envelope);
    if (text)
        peer_send_large(peer, type, text, strlen(text));
}

json_t *message_unpack(const struct message *message, struct error *error, const char *format, ...)
{
    json_error_t why;
    json_t *body = json_loadb(message->body, message->length, JSON_REJECT_DUPLICATES, &why);
    va_list arguments;
    int r;

    va_start(arguments, format);
    r = body ? json_vunpack_ex(body, &why, JSON_STRICT, format, arguments) : -1;
    va_end(arguments);
    if (r == 0)
        return body;
    error_set(error, EINVAL, "message: %s", why.text);
    json_decref(body);
    return NULL;
}

int message_verify(struct executor *executor, const struct message *message, enum envelope_kind kind,
                   enum roots_role role, struct bundle *ret, struct error *error)
{
    int r = bundle_from_memfd(ret, message->fd, &kind, 1, error);

    return r < 0 ? r : roots_require(executor->roots, ret->documents[0], role, 1, time_now_usec(), error);
}

/* ---- who comes */

struct peer *executor_peer(struct executor *executor, enum channel_role role)
{
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        if (executor->peers[i].role == role)
            return &executor->peers[i];
    return NULL;
}

/* The first before the next: see drop_spare(). */
static void keep_spares(struct executor *executor)
{
    for (size_t i = 0; i < EXECUTOR_SPARE_FDS; i++)
        if (executor->spare_fds[i] < 0)
            executor->spare_fds[i] = fcntl(executor->listen_fd, F_DUPFD_CLOEXEC, 0);
}

/* Gives one up, the last that there is, but for the first @kept. */
static void drop_spare(struct executor *executor, size_t kept)
{
    size_t i = EXECUTOR_SPARE_FDS;

    while (i > kept && executor->spare_fds[i - 1] < 0)
        i--;
    if (i > kept)
        close(TAKE_FD(executor->spare_fds[i - 1]));
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct peer *peer = context;
    struct executor *executor = peer->executor;
    struct error error = {0};
    int r;

    drop_spare(executor, 0);
    r = channel_receive(fd, peer->role, rows, peer, &error);
    if (r < 0 && peer->role) {
        if (r != -EPIPE)
            executor_say(LOG_LEVEL_WARNING, "closed a peer: %s", error.text);
        peer_close(peer);
    }
    keep_spares(executor);
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

/* There is one courier and one prober, whoever comes later has been started later; their places stay free
 * however many ask for the status. */
static struct peer *find_place(struct executor *executor, enum channel_role role)
{
    size_t first = role == CHANNEL_COURIER ? 0 : role == CHANNEL_PROBER ? 1 : 2;
    size_t end = role == CHANNEL_ROOT ? EXECUTOR_PEERS_MAX : first + 1;

    if (role != CHANNEL_ROOT)
        peer_close(&executor->peers[first]);
    for (size_t i = first; i < end; i++)
        if (!executor->peers[i].role)
            return &executor->peers[i];
    return NULL;
}

static void take_peer(struct executor *executor, int accepted_fd)
{
    _cleanup_close_ int fd = accepted_fd;
    enum channel_role role = role_of(executor, fd);
    struct peer *peer = role ? find_place(executor, role) : NULL;
    struct event *readable =
        peer ? event_new(executor->base, fd, EV_READ | EV_PERSIST, on_readable, peer) : NULL;

    if (!readable)
        return;
    *peer = (struct peer){.executor = executor, .role = role, .fd = TAKE_FD(fd), .readable = readable};
    if (event_add(readable, NULL) < 0)
        peer_close(peer);
    else if (role == CHANNEL_PROBER)
        executor_watch_resend(executor);
    else if (role == CHANNEL_COURIER)
        executor_tell_courier(executor);
}

/* Who comes may have the last spare descriptor but one: a halt that a peer brings needs that. Where even so
 * none is free, whoever waits would wake us again and again. */
static void on_listen(evutil_socket_t listen_fd, short what, void *context)
{
    static const struct timeval pause = {.tv_usec = 100 * USEC_PER_MSEC};
    struct executor *executor = context;
    int fd;

    drop_spare(executor, 1);
    fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        take_peer(executor, fd);
    } else if (errno != EAGAIN) {
        event_del(executor->on_listen);
        event_add(executor->on_listen_again, &pause);
    }
    keep_spares(executor);
}

static void on_listen_again(evutil_socket_t fd, short what, void *context)
{
    struct executor *executor = context;

    event_add(executor->on_listen, NULL);
}

int executor_open_peers(struct executor *executor, struct error *error)
{
    executor->listen_fd = channel_listen(EXECUTOR_SOCKET, 0666, error);
    if (executor->listen_fd < 0)
        return executor->listen_fd;
    executor->on_listen_again = executor_event(executor, -1, 0, on_listen_again, NULL);
    executor->on_listen =
        executor_event(executor, executor->listen_fd, EV_READ | EV_PERSIST, on_listen, NULL);
    if (!executor->on_listen || !executor->on_listen_again)
        return error_oom(error);
    keep_spares(executor);
    return 0;
}

void executor_close_peers(struct executor *executor)
{
    for (size_t i = 0; i < EXECUTOR_PEERS_MAX; i++)
        peer_close(&executor->peers[i]);
    for (size_t i = 0; i < EXECUTOR_SPARE_FDS; i++)
        drop_spare(executor, 0);
}
