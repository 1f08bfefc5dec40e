/*
 * rtnetlink by hand, because a device must go without allocating: one message in one struct, one answer.
 * Source of the formats: rtnetlink(7), linux/if_link.h.
 */
#include "link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "undo.h"

#define ANSWER_MAX 8192       /* RTM_GETLINK tells a lot about a device */
#define GROUP_OURS 0x60000000 /* that of no order is 0, in which is whatever nobody put into another */

struct request {
    struct nlmsghdr header;
    uint8_t body[240] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* Return: where it stands in the request */
static void *put(struct request *request, const void *data, size_t length)
{
    void *at = (uint8_t *)request + request->header.nlmsg_len;

    memcpy(at, data, length);
    request->header.nlmsg_len += NLMSG_ALIGN(length);
    return at;
}

static void put_attribute(struct request *request, uint16_t type, const void *data, size_t length)
{
    put(request, &(struct rtattr){RTA_LENGTH(length), type}, sizeof(struct rtattr));
    put(request, data, length);
}

static void put_string(struct request *request, uint16_t type, const char *text)
{
    put_attribute(request, type, text, strlen(text) + 1);
}

static struct rtattr *nest(struct request *request, uint16_t type)
{
    return put(request, &(struct rtattr){.rta_type = type | NLA_F_NESTED}, sizeof(struct rtattr));
}

static void nest_end(struct request *request, struct rtattr *begin)
{
    begin->rta_len = (uint8_t *)request + request->header.nlmsg_len - (uint8_t *)begin;
}

/* That of an order's devices, by the digits in their names, so that one request can remove them all. 0 = none
 */
static void put_group(struct request *request, const char *name)
{
    uint32_t digits, group;

    if (sscanf(name, UNDO_NAME_PREFIX "%7x", &digits) != 1)
        return;
    group = GROUP_OURS | digits;
    put_attribute(request, IFLA_GROUP, &group, sizeof(group));
}

/* About a device, which is up once it is made or changed. */
static void request_begin(struct request *request, uint16_t type, uint16_t flags)
{
    bool is_change = type == RTM_NEWLINK || type == RTM_SETLINK;
    const struct ifinfomsg info = {
        .ifi_flags = is_change ? IFF_UP : 0,
        .ifi_change = is_change ? IFF_UP : 0,
    };

    *request = (struct request){
        .header = {.nlmsg_len = NLMSG_HDRLEN, .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | flags},
    };
    put(request, &info, sizeof(info));
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

int link_add_undo(struct record *record, int fd, const char *name, struct error *error)
{
    int r = link_find(name, error);

    if (r > 0)
        return error_set(error, EEXIST, "the device %s is there already: another order's", name);
    return r < 0 ? r : record_add_undo(record, fd, "link", name, error);
}

/* Return: the new device's index or -errno */
static int add_link(const char *name, const char *kind, const struct request *request, struct error *error)
{
    int r = ask_kernel(request);

    if (r == -EOPNOTSUPP)
        return error_set(error, EOPNOTSUPP, "this kernel has no %s devices (module %s)", kind, kind);
    return r < 0 ? error_errno(error, -r, "can't make the device %s", name) : link_find(name, error);
}

int link_add_ifb(const char *name, struct error *error)
{
    struct request request;
    struct rtattr *info;
    int r = check_name(name, error);

    if (r < 0)
        return r;
    request_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
    put_string(&request, IFLA_IFNAME, name);
    put_group(&request, name);
    info = nest(&request, IFLA_LINKINFO);
    put_string(&request, IFLA_INFO_KIND, "ifb");
    nest_end(&request, info);
    return add_link(name, "ifb", &request, error);
}

/* A veth can't be up before it has its peer. */
static int open_far_end(const char *name, bool forwards_ipv4, struct error *error)
{
    const uint32_t yes = 1;
    struct rtattr *families, *family, *settings;
    struct request request;
    int r;

    request_begin(&request, RTM_SETLINK, NLM_F_ACK);
    put_string(&request, IFLA_IFNAME, name);
    if (forwards_ipv4) {
        families = nest(&request, IFLA_AF_SPEC);
        family = nest(&request, AF_INET);
        settings = nest(&request, IFLA_INET_CONF);
        put_attribute(&request, IPV4_DEVCONF_FORWARDING, &yes, sizeof(yes));
        nest_end(&request, settings);
        nest_end(&request, family);
        nest_end(&request, families);
    }
    r = ask_kernel(&request);
    return r < 0 ? error_errno(error, -r, "can't bring up the device %s", name) : 0;
}

int link_add_wire(const struct link_wire *wire, struct error *error)
{
    struct rtattr *info, *data, *peer;
    struct request request;
    int r = check_name(wire->near, error), index;

    if (r == 0)
        r = check_name(wire->far, error);
    if (r < 0)
        return r;
    request_begin(&request, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK);
    put_string(&request, IFLA_IFNAME, wire->near);
    put_group(&request, wire->near);
    info = nest(&request, IFLA_LINKINFO);
    put_string(&request, IFLA_INFO_KIND, "veth");
    data = nest(&request, IFLA_INFO_DATA);
    peer = nest(&request, VETH_INFO_PEER);
    put(&request, &(struct ifinfomsg){0}, sizeof(struct ifinfomsg));
    put_string(&request, IFLA_IFNAME, wire->far);
    put_attribute(&request, IFLA_ADDRESS, wire->address, sizeof(wire->address));
    nest_end(&request, peer);
    nest_end(&request, data);
    nest_end(&request, info);
    index = add_link(wire->near, "veth", &request, error);
    r = index < 0 ? index : open_far_end(wire->far, wire->forwards_ipv4, error);
    if (r < 0 && index > 0)
        link_remove(wire->near, NULL);
    return r < 0 ? r : index;
}

int link_add_route(const char *name, const struct cidr *to, struct error *error)
{
    const struct rtmsg route = {
        .rtm_family = to->family,
        .rtm_dst_len = to->prefix,
        .rtm_table = RT_TABLE_MAIN,
        .rtm_protocol = RTPROT_STATIC,
        .rtm_scope = RT_SCOPE_LINK,
        .rtm_type = RTN_UNICAST,
    };
    int index = link_find(name, error), r;
    struct request request = {
        .header = {.nlmsg_len = NLMSG_HDRLEN,
                   .nlmsg_type = RTM_NEWROUTE,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK}};

    if (index <= 0)
        return index < 0 ? index : error_set(error, ENODEV, "the device %s is gone", name);
    put(&request, &route, sizeof(route));
    put_attribute(&request, RTA_DST, to->address, to->family == AF_INET ? 4 : 16);
    put_attribute(&request, RTA_OIF, &index, sizeof(index));
    r = ask_kernel(&request);
    return r < 0 ? error_errno(error, -r, "can't add a route to the device %s", name) : 0;
}

/* First by group, since what waits is the kernel, as long for all as for one: until nobody can be using them
 * any more (17 ms). What is in another group goes by its name. */
int link_remove(const char *name, struct error *error)
{
    struct request request;
    int r = check_name(name, error);

    if (r < 0)
        return r;
    request_begin(&request, RTM_DELLINK, NLM_F_ACK);
    put_group(&request, name);
    ask_kernel(&request);
    request_begin(&request, RTM_DELLINK, NLM_F_ACK);
    put_string(&request, IFLA_IFNAME, name);
    r = ask_kernel(&request);
    return r < 0 && r != -ENODEV ? error_errno(error, -r, "can't remove the device %s", name) : 0;
}
