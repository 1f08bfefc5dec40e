/* Talking to nf_tables: commit a transaction, read something back. Nothing here allocates. See nft.h. */
#include "nft.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_SIZE 32768 /* the largest part of a dump that the kernel makes (net/netlink/af_netlink.c) */

/* What an error of nf_tables means to somebody who has to do something about it. */
static const struct {
    int code;
    const char *words;
} hints[] = {
    {EEXIST, "a table of this name is there already: an older fault was not undone (run grivet-sweep)"},
    {EPERM,
     "needs CAP_NET_ADMIN, and a table with an owner goes only with the process that owns it: end that one"},
    {EOPNOTSUPP, "this kernel lacks a part of nf_tables"},
    {ENOBUFS, "more answers than the socket's buffer holds"},
    {ETIME, "the deadline is less than a millisecond away"},
};

static const char *error_hint(int code)
{
    for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
        if (hints[i].code == code)
            return hints[i].words;
    return strerror(code);
}

static const char *message_name(uint16_t type)
{
    static const char *const names[] = {
        [NFT_MSG_NEWTABLE] = "new table", [NFT_MSG_DELTABLE] = "delete table",
        [NFT_MSG_NEWCHAIN] = "new chain", [NFT_MSG_NEWRULE] = "new rule",
        [NFT_MSG_NEWSET] = "new set",     [NFT_MSG_NEWSETELEM] = "new elements",
    };
    uint8_t index = type & 0xff;

    if (type >> 8 != NFNL_SUBSYS_NFTABLES || index >= ARRAY_SIZE(names) || !names[index])
        return "transaction";
    return names[index];
}

int nft_open(struct error *error)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), one = 1, size = 1 << 20;

    if (fd < 0)
        return error_errno(error, errno, "nftables: no netfilter socket");
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        error_errno(error, errno, "nftables: can't bind the netfilter socket");
        close(fd);
        return -errno;
    }
    return fd;
}

static int send_all(int fd, const void *data, size_t length)
{
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    ssize_t sent;

    do
        sent = sendto(fd, data, length, 0, (struct sockaddr *)&kernel, sizeof(kernel));
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* The kernel works while we send, so whatever it has to say is there by now; nothing more is to be waited
 * for. */
static ssize_t receive(int fd, void *buffer)
{
    ssize_t length;

    do
        length = recv(fd, buffer, ANSWER_SIZE, MSG_DONTWAIT);
    while (length < 0 && errno == EINTR);
    return length < 0 ? -errno : length;
}

/* Takes the answers to one message or batch. Return: 0 = it was done or all was read, else -errno */
static int take_answers(int fd, uint32_t last_sequence, nft_each *each, void *context, uint16_t *ret_type)
{
    uint8_t buffer[ANSWER_SIZE] __attribute__((aligned(NLMSG_ALIGNTO)));
    bool was_changed = false;
    ssize_t length;
    int r = 0;

    while ((length = receive(fd, buffer)) > 0) {
        const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
        int left = length;

        for (; NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
            const struct nlmsgerr *answer = NLMSG_DATA(header);

            was_changed |= header->nlmsg_flags & NLM_F_DUMP_INTR;
            if (header->nlmsg_type == NLMSG_DONE)
                return was_changed ? -EAGAIN : r;
            if (header->nlmsg_type != NLMSG_ERROR) {
                r = r == 0 && each ? each(header, context) : r;
                continue;
            }
            if (answer->error && r == 0) {
                r = answer->error;
                *ret_type = answer->msg.nlmsg_type;
            }
            if (answer->msg.nlmsg_seq == last_sequence)
                return r;
        }
    }
    return r < 0 ? r : length == -EAGAIN || length == 0 ? -EIO : (int)length;
}

/* Nothing of an earlier exchange may be taken for an answer. */
static void drain(int fd)
{
    uint8_t buffer[ANSWER_SIZE];

    while (receive(fd, buffer) > 0)
        ;
}

int nft_commit(int fd, const struct nft_batch *batch, struct error *error)
{
    int size = batch->length + (1 << 16), r = batch->failure;
    uint16_t type = 0;

    if (r < 0)
        return error_set(error, -r, "nftables: table %s: %s", batch->table, error_hint(-r));
    drain(fd);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
    r = send_all(fd, batch->data, batch->length);
    if (r == 0)
        r = take_answers(fd, batch->sequence - 1, NULL, NULL, &type);
    return r < 0 ? error_set(error, -r, "nftables: table %s: %s: %s", batch->table, message_name(type),
                             error_hint(-r))
                 : 0;
}

int nft_read(int fd, uint8_t type, uint16_t flags, uint8_t family, const char *table, const char *name,
             nft_each *each, void *context, struct error *error)
{
    uint8_t bytes[512] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct nft_batch request = {.data = bytes, .size = sizeof(bytes), .is_fixed = true, .family = family};
    uint16_t answer_type = 0;
    int r;

    nft_message(&request, type, flags ? flags : NLM_F_ACK);
    if (table)
        nft_put_string(&request, 1, table); /* NFTA_{TABLE,RULE,SET_ELEM_LIST}_{NAME,TABLE} are all 1 */
    if (name)
        nft_put_string(&request, 2, name); /* NFTA_RULE_CHAIN, NFTA_SET_ELEM_LIST_SET */
    r = request.failure;
    if (r == 0) {
        drain(fd);
        r = send_all(fd, bytes, request.length);
    }
    if (r == 0)
        r = take_answers(fd, request.sequence, each, context, &answer_type);
    if (r < 0)
        return error_set(error, -r, "nftables: can't read %s%s%s: %s", table ? table : "tables",
                         name ? " " : "", name ? name : "",
                         r == -EPERM ? "needs CAP_NET_ADMIN" : strerror(-r));
    return 0;
}
