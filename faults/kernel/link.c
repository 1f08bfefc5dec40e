/*
 * rtnetlink by hand, because a device must go without allocating: one message in one struct, one answer.
 * Source of the formats: rtnetlink(7), linux/if_link.h.
 */
#include "link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#include "undo.h"

#define ANSWER_MAX 8192 /* RTM_GETLINK tells a lot about a device */

struct request {
    struct nlmsghdr header;
    struct ifinfomsg info;
    uint8_t attributes[128] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static void request_begin(struct request *request, uint16_t type, uint16_t flags)
{
    *request = (struct request){
        .header = {.nlmsg_len = offsetof(struct request, attributes),
                   .nlmsg_type = type,
                   .nlmsg_flags = NLM_F_REQUEST | flags},
    };
}

static void put_string(struct request *request, uint16_t type, const char *text)
{
    struct rtattr *attribute = (struct rtattr *)((uint8_t *)request + request->header.nlmsg_len);

    attribute->rta_type = type;
    attribute->rta_len = RTA_LENGTH(strlen(text) + 1);
    memcpy(RTA_DATA(attribute), text, strlen(text) + 1);
    request->header.nlmsg_len += RTA_ALIGN(attribute->rta_len);
}

/* Return: what the kernel answered, > 0 = the index of the device that it describes */
static int take_answer(int fd)
{
    uint8_t buffer[ANSWER_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
    ssize_t length;

    do
        length = recv(fd, buffer, sizeof(buffer), 0);
    while (length < 0 && errno == EINTR);
    if (length < 0)
        return -errno;
    if (length < (ssize_t)NLMSG_LENGTH(sizeof(struct ifinfomsg)))
        return -EPROTO;
    if (header->nlmsg_type == NLMSG_ERROR)
        return ((const struct nlmsgerr *)NLMSG_DATA(header))->error;
    return ((const struct ifinfomsg *)NLMSG_DATA(header))->ifi_index;
}

static int ask_kernel(const struct request *request)
{
    _cleanup_close_ int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    int one = 1;
    ssize_t sent;

    if (fd < 0)
        return -errno;
    setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof(one));
    do
        sent = sendto(fd, request, request->header.nlmsg_len, 0, (const struct sockaddr *)&kernel,
                      sizeof(kernel));
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : take_answer(fd);
}

static int check_name(const char *name, struct error *error)
{
    if (strncmp(name, UNDO_NAME_PREFIX, strlen(UNDO_NAME_PREFIX)) == 0 && strlen(name) < UNDO_LINK_MAX)
        return 0;
    return error_set(error, EINVAL, "link '%s' is no device of ours (%s...)", name, UNDO_NAME_PREFIX);
}

int link_find(const char *name, struct error *error)
{
    struct request request;
    int r = check_name(name, error);

    if (r < 0)
        return r;
    request_begin(&request, RTM_GETLINK, 0);
    put_string(&request, IFLA_IFNAME, name);
    r = ask_kernel(&request);
    if (r == -ENODEV)
        return 0;
    return r < 0 ? error_errno(error, -r, "can't look for the device %s", name) : r;
}

int link_add_ifb(const char *name, struct error *error)
{
    struct request request;
    struct rtattr *nest;
    int r = check_name(name, error);

    if (r < 0)
        return r;
    request_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
    request.info.ifi_flags = request.info.ifi_change = IFF_UP;
    put_string(&request, IFLA_IFNAME, name);
    nest = (struct rtattr *)((uint8_t *)&request + request.header.nlmsg_len);
    nest->rta_type = IFLA_LINKINFO | NLA_F_NESTED;
    request.header.nlmsg_len += RTA_LENGTH(0);
    put_string(&request, IFLA_INFO_KIND, "ifb");
    nest->rta_len = (uint8_t *)&request + request.header.nlmsg_len - (uint8_t *)nest;
    r = ask_kernel(&request);
    if (r == -EOPNOTSUPP)
        return error_set(error, EOPNOTSUPP, "this kernel has no ifb devices (module ifb)");
    return r < 0 ? error_errno(error, -r, "can't make the device %s", name) : link_find(name, error);
}

int link_remove(const char *name, struct error *error)
{
    struct request request;
    int r = check_name(name, error);

    if (r < 0)
        return r;
    request_begin(&request, RTM_DELLINK, NLM_F_ACK);
    put_string(&request, IFLA_IFNAME, name);
    r = ask_kernel(&request);
    return r < 0 && r != -ENODEV ? error_errno(error, -r, "can't remove the device %s", name) : 0;
}
