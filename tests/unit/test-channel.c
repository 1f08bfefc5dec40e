/* Messages between processes: what fits a row is handled, everything else closes the channel. */
#include "unit.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#include "common/channel.h"
#include "common/io.h"

struct seen {
    enum channel_type type;
    char body[64];
    size_t length;
    int fd, answer;
};

static int handle(void *context, struct message *message, struct error *error)
{
    struct seen *seen = context;

    seen->type = message->type;
    seen->length = message->length;
    snprintf(seen->body, sizeof(seen->body), "%s", message->body);
    seen->fd = message->fd;
    return seen->answer;
}

static const struct channel_row rows[] = {
    {CHANNEL_ORDER, "order", CHANNEL_COURIER, 0, 0, true, handle},
    {CHANNEL_NONCE, "nonce", CHANNEL_COURIER, 2, 16, false, handle},
    {CHANNEL_STATUS, "status", CHANNEL_ROOT | CHANNEL_PROBER, 0, CHANNEL_BODY_MAX, false, handle},
    {},
};

static int pair[2];

static void setup(void)
{
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static void teardown(void)
{
    close(pair[0]);
    close(pair[1]);
}

static size_t count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    size_t count = 0;

    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

START_TEST(delivers)
{
    struct seen seen = {0};
    struct error error;
    int fd, before;

    setup();
    ck_assert_int_eq(channel_receive(pair[1], CHANNEL_COURIER, rows, &seen, &error), 0);
    ck_assert_int_eq(channel_send(pair[0], CHANNEL_NONCE, "{\"a\":1}", 7, -1), 0);
    ck_assert_int_eq(channel_receive(pair[1], CHANNEL_COURIER, rows, &seen, &error), 1);
    ck_assert_int_eq(seen.type, CHANNEL_NONCE);
    ck_assert_str_eq(seen.body, "{\"a\":1}");
    fd = io_memfd("x", "hello", 5, NULL);
    before = count_fds();
    ck_assert_int_eq(channel_send(pair[0], CHANNEL_ORDER, NULL, 0, fd), 0);
    ck_assert_int_eq(channel_receive(pair[1], CHANNEL_COURIER, rows, &seen, &error), 1);
    ck_assert_int_ge(seen.fd, 0);
    ck_assert_int_eq(count_fds(), before); /* the handler did not take the fd, so it is closed */
    close(fd);
    seen.answer = -ENOMEM;
    channel_send(pair[0], CHANNEL_NONCE, "{}", 2, -1);
    ck_assert_int_eq(channel_receive(pair[1], CHANNEL_COURIER, rows, &seen, &error), -ENOMEM);
    close(pair[0]);
    pair[0] = -1;
    ck_assert_int_eq(channel_receive(pair[1], CHANNEL_COURIER, rows, &seen, &error), -EPIPE);
    teardown();
}
END_TEST

/* The kernel tells first that it died with something unread. */
START_TEST(last_words_are_heard)
{
    struct seen seen = {0};
    struct error error = {0};

    setup();
    ck_assert_int_eq(channel_send(pair[0], CHANNEL_STATUS, "unread", 6, -1), 0);
    ck_assert_int_eq(channel_send(pair[1], CHANNEL_NONCE, "words", 5, -1), 0);
    close(pair[1]);
    ck_assert_int_eq(channel_receive(pair[0], CHANNEL_COURIER, rows, &seen, &error), 1);
    ck_assert_str_eq(seen.body, "words");
    ck_assert_int_eq(channel_receive(pair[0], CHANNEL_COURIER, rows, &seen, &error), -EPIPE);
    close(pair[0]);
}
END_TEST

START_TEST(largest_body)
{
    _cleanup_free_ char *body = calloc(1, CHANNEL_BODY_MAX + 1);
    struct seen seen = {0};
    struct error error;

    setup();
    memset(body, 'x', CHANNEL_BODY_MAX + 1);
    ck_assert_int_eq(channel_send(pair[0], CHANNEL_STATUS, body, CHANNEL_BODY_MAX + 1, -1), -EMSGSIZE);
    ck_assert_int_eq(channel_send(pair[0], CHANNEL_STATUS, body, CHANNEL_BODY_MAX, -1), 0);
    ck_assert_int_eq(channel_receive(pair[1], CHANNEL_PROBER, rows, &seen, &error), 1);
    ck_assert_uint_eq(seen.length, CHANNEL_BODY_MAX);
    teardown();
}
END_TEST

static void assert_refused(enum channel_role role, const char *part)
{
    struct seen seen = {0};
    struct error error = {0};

    ck_assert_int_eq(channel_receive(pair[1], role, rows, &seen, &error), -EPROTO);
    assert_error(error, part);
    ck_assert_int_eq(seen.type, 0);
}

START_TEST(refuses_what_fits_no_row)
{
    int fd = io_memfd("x", "hello", 5, NULL), before;

    setup();
    before = count_fds();
    channel_send(pair[0], CHANNEL_STATUS, NULL, 0, -1);
    assert_refused(CHANNEL_COURIER, "'status' from a peer that may not send it");
    channel_send(pair[0], CHANNEL_END, NULL, 0, -1);
    assert_refused(CHANNEL_COURIER, "unknown message 113");
    channel_send(pair[0], CHANNEL_NONCE, "x", 1, -1);
    assert_refused(CHANNEL_COURIER, "'nonce' of 1 bytes; expected 2 to 16");
    channel_send(pair[0], CHANNEL_NONCE, "12345678901234567", 17, -1);
    assert_refused(CHANNEL_COURIER, "of 17 bytes");
    channel_send(pair[0], CHANNEL_NONCE, "{}", 2, fd);
    assert_refused(CHANNEL_COURIER, "with a file descriptor");
    channel_send(pair[0], CHANNEL_ORDER, NULL, 0, -1);
    assert_refused(CHANNEL_COURIER, "without a file descriptor");
    ck_assert_int_eq(count_fds(), before);
    close(fd);
    teardown();
}
END_TEST

/* Raw packets: cut heads, another version, a wrong length, more than fits, several fds at once. */
START_TEST(refuses_raw_packets)
{
    static char huge[CHANNEL_BODY_MAX + 64];
    struct {
        uint16_t version, type;
        uint32_t length;
    } head = {CHANNEL_VERSION, CHANNEL_STATUS, 0};
    struct iovec part = {&head, sizeof(head)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(2 * sizeof(int))];
    } control = {.header = {CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
    struct msghdr message = {&(struct sockaddr){0}, 0, &part, 1, &control, sizeof(control), 0};
    int fds[2] = {0, 1}, before;

    setup();
    before = count_fds();
    send(pair[0], &head, sizeof(head) - 1, 0);
    assert_refused(CHANNEL_ROOT, "not a message of version 1");
    head.version++;
    send(pair[0], &head, sizeof(head), 0);
    assert_refused(CHANNEL_ROOT, "not a message of version 1");
    head.version--;
    head.length = 1;
    send(pair[0], &head, sizeof(head), 0);
    assert_refused(CHANNEL_ROOT, "not a message of version 1");
    send(pair[0], huge, sizeof(huge), 0);
    assert_refused(CHANNEL_ROOT, "over the limits");
    head.length = 0;
    memcpy(CMSG_DATA(&control.header), fds, sizeof(fds));
    message.msg_name = NULL;
    ck_assert_int_gt(sendmsg(pair[0], &message, 0), 0);
    assert_refused(CHANNEL_ROOT, "over the limits");
    ck_assert_int_eq(count_fds(), before);
    teardown();
}
END_TEST

START_TEST(listens_and_connects)
{
    char folder[] = "/tmp/grivet-unit-XXXXXX", path[64], long_path[200] = "";
    struct error error;
    int listener, client;

    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
    ck_assert_int_eq(channel_connect(path, &error), -ENOENT);
    listener = channel_listen(path, 0666, &error);
    ck_assert_int_ge(listener, 0);
    close(listener);
    listener = channel_listen(path, 0666, &error); /* over what a killed one left */
    ck_assert_int_ge(listener, 0);
    client = channel_connect(path, &error);
    ck_assert_int_ge(client, 0);
    ck_assert_int_eq(fcntl(client, F_GETFD), FD_CLOEXEC);
    memset(long_path, 'x', sizeof(long_path) - 1);
    ck_assert_int_eq(channel_listen(long_path, 0666, &error), -ENAMETOOLONG);
    close(client);
    close(listener);
    unlink(path);
    rmdir(folder);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {delivers,
                                  last_words_are_heard,
                                  largest_body,
                                  refuses_what_fits_no_row,
                                  refuses_raw_packets,
                                  listens_and_connects,
                                  NULL};

    return unit_run("channel", tests);
}
