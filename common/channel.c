/* Messages between the processes of one host: see channel.h. */
#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* In host order: both ends are on one machine. */
struct header {
    uint16_t version, type;
    uint32_t length;
};

int channel_send(int socket, enum channel_type type, const void *body, size_t length, int fd)
{
    struct header header = {CHANNEL_VERSION, type, length};
    struct iovec parts[] = {{&header, sizeof(header)}, {(void *)body, length}};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
    ssize_t sent;

    if (length > CHANNEL_BODY_MAX)
        return -EMSGSIZE;
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof(control.space);
        control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
    }
    do
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

static const struct channel_row *find_row(const struct channel_row *rows, unsigned int type)
{
    for (; rows->name; rows++)
        if (rows->type == type)
            return rows;
    return NULL;
}

static int check_message(const struct header *header, size_t got, const struct channel_row *row,
                         enum channel_role role, bool has_fd, struct error *error)
{
    if (got < sizeof(*header) || header->version != CHANNEL_VERSION ||
        header->length != got - sizeof(*header))
        return error_set(error, EPROTO, "channel: not a message of version %d", CHANNEL_VERSION);
    if (!row)
        return error_set(error, EPROTO, "channel: unknown message %u", header->type);
    if (!(row->senders & role))
        return error_set(error, EPROTO, "channel: message '%s' from a peer that may not send it", row->name);
    if (header->length < row->body_min || header->length > row->body_max)
        return error_set(error, EPROTO, "channel: message '%s' of %u bytes; expected %zu to %zu", row->name,
                         header->length, row->body_min, row->body_max);
    if (has_fd != row->has_fd)
        return error_set(error, EPROTO, "channel: message '%s' %s a file descriptor", row->name,
                         has_fd ? "with" : "without");
    return 0;
}

/* There is room for one fd: the kernel closes any more, and says so by MSG_CTRUNC (unix(7)), as it does where
 * there is no descriptor left for the first. ECONNRESET is said once, of a peer that died before it had read
 * everything: its last words come behind it. */
static ssize_t receive_raw(int socket, struct iovec *part, int *ret_fd, int *ret_flags)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = part, .msg_iovlen = 1, .msg_control = &control};
    struct cmsghdr *header;
    ssize_t got;

    message.msg_controllen = CMSG_LEN(sizeof(int));
    do
        got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    header = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS)
        memcpy(ret_fd, CMSG_DATA(header), sizeof(*ret_fd));
    *ret_flags = message.msg_flags;
    return got;
}

int channel_receive(int socket, enum channel_role role, const struct channel_row *rows, void *context,
                    struct error *error)
{
    struct {
        struct header header;
        char body[CHANNEL_BODY_MAX + 1];
    } buffer;
    struct iovec part = {&buffer, sizeof(buffer.header) + CHANNEL_BODY_MAX};
    const struct channel_row *row;
    _cleanup_close_ int fd = -1;
    struct message message;
    ssize_t got;
    int flags, r;

    got = receive_raw(socket, &part, &fd, &flags);
    if (got < 0)
        return errno == EAGAIN ? 0 : error_errno(error, errno, "channel");
    if (got == 0)
        return error_set(error, EPIPE, "channel: the peer is gone");
    if (flags & MSG_CTRUNC && fd < 0)
        return error_set(error, EMFILE, "channel: no descriptor is free for the one that came");
    if (flags & (MSG_TRUNC | MSG_CTRUNC))
        return error_set(error, EPROTO, "channel: a message over the limits");
    row = (size_t)got >= sizeof(buffer.header) ? find_row(rows, buffer.header.type) : NULL;
    r = check_message(&buffer.header, got, row, role, fd >= 0, error);
    if (r < 0)
        return r;
    buffer.body[buffer.header.length] = '\0';
    message = (struct message){row->type, buffer.body, buffer.header.length, TAKE_FD(fd)};
    r = row->handle(context, &message, error);
    if (message.fd >= 0)
        close(message.fd);
    return r < 0 ? r : 1;
}

static int open_socket(const char *path, struct sockaddr_un *address, struct error *error)
{
    int fd;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    if (snprintf(address->sun_path, sizeof(address->sun_path), "%s", path) >= (int)sizeof(address->sun_path))
        return error_set(error, ENAMETOOLONG, "%s: too long for a socket", path);
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? error_errno(error, errno, "%s: can't make a socket", path) : fd;
}

int channel_listen(const char *path, mode_t mode, struct error *error)
{
    struct sockaddr_un address;
    _cleanup_close_ int fd = open_socket(path, &address, error);

    if (fd < 0)
        return fd;
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(error, errno, "%s: can't remove the old socket", path);
    /* Nobody can connect before listen(), so the mode is right in time. */
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, mode) < 0 ||
        listen(fd, 16) < 0)
        return error_errno(error, errno, "%s: can't listen", path);
    return TAKE_FD(fd);
}

int channel_connect(const char *path, struct error *error)
{
    struct sockaddr_un address;
    _cleanup_close_ int fd = open_socket(path, &address, error);

    if (fd < 0)
        return fd;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return error_errno(error, errno, "%s: can't connect", path);
    return TAKE_FD(fd);
}
