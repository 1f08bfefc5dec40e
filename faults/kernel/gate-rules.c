/*
 * The gate's rules. Order in each chain: loopback, the lifeline and what is protected are accepted; only then
 * is anything noted, marked or dropped.
 *
 * The lifeline of this host is in output and input. What it forwards can be a lifeline of others, and now and
 * then the way by which its own root comes: so in forward pass, besides what the policy protects, connections
 * to the coordinators (agents of virtual machines behind this host hold their polls through it) and the
 * management's SSH (a bastion in a container, machines behind this host). Not DNS, time, DHCP and metadata:
 * without them a container is as cut off as it should be, and nobody's halt depends on it. Who comes in by
 * something else, say a VPN in a container, names its addresses in the policy's protected CIDRs.
 */
#include "gate-rules.h"

#include <linux/if_ether.h>

const char *const gate_chains[GATE_CHAINS] = {
    [GATE_OUTPUT] = "output",         [GATE_INPUT] = "input",   [GATE_FORWARD_OUT] = "forward-out",
    [GATE_FORWARD_IN] = "forward-in", [GATE_EGRESS] = "egress", [GATE_INGRESS] = "ingress",
    [GATE_DELIVERY] = "delivery",     [GATE_WIRE] = "wire"};

const struct gate_family gate_families[GATE_FAMILIES] = {
    {AF_INET, NFPROTO_IPV4, 4, 12, 16, ETH_P_IP, '4'},
    {AF_INET6, NFPROTO_IPV6, 16, 8, 24, ETH_P_IPV6, '6'},
};

/* What passes even where the lifeline is cut. */
const struct rule gate_isolation_rules[] = {
    {BOTH_WAYS, .is_loopback = true},
    {EVERYWHERE, PEERS_PROTECTED},
    {},
};

/* The lifeline, but for the coordinators and SSH, whose ports are the policy's: DHCP (RFC 2131,
 * RFC 8415), multicast listeners (RFC 2710, RFC 3810), neighbours and routers (RFC 4861). */
const struct rule gate_lifeline_rules[] = {
    {BOTH_WAYS, PEERS_METADATA},
    {BOTH_WAYS, PEERS_RESOLVERS, IPPROTO_UDP, .peer_port = 53},
    {BOTH_WAYS, PEERS_RESOLVERS, IPPROTO_TCP, .peer_port = 53, .guard_in = GUARD_NOT_OPEN},
    {BOTH_WAYS, PEERS_TIME, IPPROTO_UDP, .peer_port = 123},
    {OUTPUT | INBOUND, IPV4, PEERS_ANY, IPPROTO_UDP, .peer_port = 67, .own_port = 68},
    {OUTPUT | INBOUND, IPV6, PEERS_ANY, IPPROTO_UDP, .peer_port = 547, .own_port = 546},
    {OUTPUT | INBOUND, IPV6, PEERS_ANY, IPPROTO_ICMPV6, .icmp = {130, 137}},
    {OUTPUT | INBOUND, IPV6, PEERS_ANY, IPPROTO_ICMPV6, .icmp = {143, 143}},
    {},
};

/* What "other" means as well, UDP and TCP, has been dealt with before it. */
#define TARGETS(protocol)                                                                                    \
    PEERS_TARGETS, IPPROTO_##protocol, .has_ports = true, .if_protocols = GATE_##protocol
#define OTHERS PEERS_TARGETS, .if_protocols = GATE_OTHER
const struct rule gate_drop_rules[] = {
    {OUTPUT | FORWARD | EGRESS, IPV4 | IPV6, .is_others_probe = true},
    {OUTPUT, IPV4 | IPV6, TARGETS(UDP), .action = ACTION_SILENCE},
    {INPUT | FORWARD, IPV4 | IPV6, TARGETS(UDP), .action = ACTION_DROP},
    {OUTPUT | FORWARD_OUT, IPV4 | IPV6, TARGETS(TCP), .action = ACTION_NOTE},
    {OUTPUT | INPUT | FORWARD, IPV4 | IPV6, TARGETS(TCP), .action = ACTION_DROP},
    {OUTPUT | INPUT | FORWARD, IPV4 | IPV6, OTHERS, .action = ACTION_DROP},
    {EGRESS, IPV4 | IPV6, PEERS_TARGETS, IPPROTO_UDP, .is_marked = true, .action = ACTION_DROP},
    {},
};
const struct rule gate_shape_rules[] = {
    {OUTPUT | FORWARD, IPV4 | IPV6, TARGETS(UDP), .action = ACTION_MARK},
    {OUTPUT | FORWARD, IPV4 | IPV6, TARGETS(TCP), .action = ACTION_MARK},
    {OUTPUT | FORWARD, IPV4 | IPV6, OTHERS, .action = ACTION_MARK},
    {EGRESS | DELIVERY, IPV4 | IPV6, PEERS_TARGETS, .is_marked = true, .action = ACTION_SHAPE},
    {INGRESS, IPV4 | IPV6, TARGETS(UDP), .is_unshaped = true, .action = ACTION_SHAPE},
    {INGRESS, IPV4 | IPV6, TARGETS(TCP), .is_unshaped = true, .action = ACTION_SHAPE},
    {INGRESS, IPV4 | IPV6, OTHERS, .is_unshaped = true, .action = ACTION_SHAPE},
    {},
};
