/* See watch.h. Source of the messages and groups: rtnetlink(7), linux/rtnetlink.h. */
#include "watch.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

#define NEWS_MAX 16384 /* more of one message is of no interest: it begins with the index */

int watch_open(struct error *error)
{
    const struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK | RTMGRP_TC};
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd < 0)
        return error_errno(error, errno, "no route socket");
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0) {
        error_errno(error, errno, "can't hear of changes to devices");
        close(fd);
        return -errno;
    }
    return fd;
}

/* A bridge that loses a port says so with a message of its own family; the device is still there. */
static void tell(const struct nlmsghdr *header, watch_each *each, void *context)
{
    const struct ifinfomsg *link = NLMSG_DATA(header);
    const struct tcmsg *discipline = NLMSG_DATA(header);

    if (header->nlmsg_type == RTM_DELLINK && link->ifi_family == AF_UNSPEC)
        each(link->ifi_index, true, context);
    else if (header->nlmsg_type == RTM_NEWQDISC || header->nlmsg_type == RTM_DELQDISC)
        each(discipline->tcm_ifindex, false, context);
}

void watch_take(int fd, watch_each *each, void *context)
{
    uint8_t buffer[NEWS_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
    ssize_t length;

    /* ENOBUFS: some were lost, others follow. */
    while ((length = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT)) > 0 ||
           (length < 0 && (errno == EINTR || errno == ENOBUFS))) {
        const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;
        int left = length;

        for (; each && left > 0 && NLMSG_OK(header, left); header = NLMSG_NEXT(header, left))
            tell(header, each, context);
    }
}
