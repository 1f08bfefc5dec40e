/* See forwarding.h. */
#include "forwarding.h"

#include <linux/netconf.h>
#include <netlink/cache.h>
#include <netlink/netlink.h>
#include <netlink/route/netconf.h>

#include "common/cleanup.h"

static void free_socket(struct nl_sock **socket)
{
    nl_socket_free(*socket);
}

static void free_cache(struct nl_cache **cache)
{
    nl_cache_free(*cache);
}

/* The one for all of IPv6, since no device's own has a say (ip6_forward() in net/ipv6/ip6_output.c). */
static bool is_on(struct rtnl_netconf *conf, sa_family_t asked)
{
    int family = 0, index = 0, value = 0;

    rtnl_netconf_get_family(conf, &family);
    rtnl_netconf_get_ifindex(conf, &index);
    rtnl_netconf_get_forwarding(conf, &value);
    return family == asked && value > 0 && (asked == AF_INET || index == NETCONFA_IFINDEX_ALL);
}

bool forwarding_is_on(sa_family_t family)
{
    _cleanup_(free_socket) struct nl_sock *socket = nl_socket_alloc();
    _cleanup_(free_cache) struct nl_cache *cache = NULL;
    bool found = false;

    if (!socket || nl_connect(socket, NETLINK_ROUTE) < 0 || rtnl_netconf_alloc_cache(socket, &cache) < 0)
        return false;
    for (struct nl_object *conf = nl_cache_get_first(cache); conf; conf = nl_cache_get_next(conf))
        found |= is_on((struct rtnl_netconf *)conf, family);
    return found;
}
