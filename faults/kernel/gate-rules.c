/*
 * The gate's tables, sets and rules, written into one transaction. Order in each chain: loopback, the
 * lifeline and what is protected are accepted; only then is anything noted, marked or dropped.
 */
#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <stdio.h>
#include <string.h>

#include "gate.h"

#define PRIORITY     (-10) /* before the filters of others, after their destination NAT */
#define SEEN_SIZE    256
#define TCP_FLAGS    13
#define TCP_SYN      0x02
#define TCP_ACK      0x10
#define SET_NAME_MAX 16
#define PORT_DNS     53
#define PORT_NTP     123
#define NET          NFT_PAYLOAD_NETWORK_HEADER
#define TRANSPORT    NFT_PAYLOAD_TRANSPORT_HEADER
#define ND_FIRST                                                                                             \
    130 /* ICMPv6 types 130-137: multicast listeners (RFC 2710), neighbours and routers (RFC 4861) */
#define ND_LAST     137
#define MLD2_REPORT 143

const char *const gate_chains[GATE_CHAINS] = {
    [GATE_OUTPUT] = "output", [GATE_INPUT] = "input", [GATE_EGRESS] = "egress"};

/* Where the addresses of a family stand in its header (RFC 791, RFC 8200). */
static const struct family {
    sa_family_t family;
    uint8_t nfproto, length, source, destination;
    uint16_t ethertype;
    char suffix;
} families[] = {
    {AF_INET, NFPROTO_IPV4, 4, 12, 16, ETH_P_IP, '4'},
    {AF_INET6, NFPROTO_IPV6, 16, 8, 24, ETH_P_IPV6, '6'},
};

/* Sets of peers that are let through. */
enum peers {
    PEERS_ANY,
    PEERS_PROTECTED,
    PEERS_METADATA,
    PEERS_RESOLVERS,
    PEERS_TIME,
    PEERS_MANAGEMENT,
    PEERS_SETS,
};

static const char *const peers_names[PEERS_SETS] = {
    [PEERS_PROTECTED] = "protected", [PEERS_METADATA] = "metadata",     [PEERS_RESOLVERS] = "resolvers",
    [PEERS_TIME] = "time",           [PEERS_MANAGEMENT] = "management",
};

/* @has: which sets were made, by family: no rule may ask for another */
struct writer {
    struct nft_batch *batch;
    struct gate *gate;
    const struct gate_spec *spec;
    enum gate_chain chain;
    bool has[PEERS_SETS][ARRAY_SIZE(families)];
};

enum guard {
    GUARD_NONE,
    GUARD_COURIER,  /* of this user only */
    GUARD_NOT_OPEN, /* TCP that doesn't open a connection: no bare SYN */
};

/**
 * struct pass - one kind of packet that is let through
 * @peer_port, @own_port: 0 = any; @protocol: 0 = any
 */
struct pass {
    enum peers peers;
    uint8_t protocol;
    uint16_t peer_port, own_port;
    enum guard guard_out, guard_in;
};

/* Of the lifeline all but the coordinators, whose ports are their own, and SSH, whose port is the policy's.
 */
static const struct pass passes[] = {
    {PEERS_PROTECTED},
    {PEERS_METADATA},
    {PEERS_RESOLVERS, IPPROTO_UDP, PORT_DNS},
    {PEERS_RESOLVERS, IPPROTO_TCP, PORT_DNS, 0, GUARD_NONE, GUARD_NOT_OPEN},
    {PEERS_TIME, IPPROTO_UDP, PORT_NTP},
};

static const char *set_name(const char *set, const struct family *family, char ret[SET_NAME_MAX])
{
    snprintf(ret, SET_NAME_MAX, "%s%c", set, family->suffix);
    return ret;
}

static void rule_begin(struct writer *writer)
{
    nft_rule_begin(writer->batch, gate_chains[writer->chain]);
    writer->gate->n_rules[writer->chain]++;
}

static void rule_accept(struct writer *writer)
{
    nft_verdict(writer->batch, NF_ACCEPT);
    nft_rule_end(writer->batch);
}

static void match_family(struct writer *writer, const struct family *family)
{
    nft_match_meta(writer->batch, NFT_META_NFPROTO, NFT_CMP_EQ, &family->nfproto, 1);
}

static void match_protocol(struct writer *writer, uint8_t protocol)
{
    nft_match_meta(writer->batch, NFT_META_L4PROTO, NFT_CMP_EQ, &protocol, 1);
}

static uint32_t peer_offset(const struct writer *writer, const struct family *family)
{
    return writer->chain == GATE_INPUT ? family->source : family->destination;
}

/* The port of the peer, or our own: source port at 0, destination port at 2. */
static void match_port(struct writer *writer, uint16_t port, bool is_peer)
{
    uint32_t offset = (writer->chain == GATE_INPUT) == is_peer ? 0 : 2;

    port = htons(port);
    nft_match_payload(writer->batch, TRANSPORT, offset, &port, sizeof(port));
}

static void match_guard(struct writer *writer, enum guard guard)
{
    const uint32_t uid = writer->spec->lifeline->courier_uid;

    if (guard == GUARD_COURIER)
        nft_match_meta(writer->batch, NFT_META_SKUID, NFT_CMP_EQ, &uid, sizeof(uid));
    else if (guard == GUARD_NOT_OPEN)
        nft_match_bits(writer->batch, TRANSPORT, TCP_FLAGS, TCP_SYN | TCP_ACK, NFT_CMP_NEQ, TCP_SYN);
}

/* What of a pass comes after the addresses. */
static void match_rest(struct writer *writer, const struct pass *pass)
{
    if (pass->peer_port)
        match_port(writer, pass->peer_port, true);
    if (pass->own_port)
        match_port(writer, pass->own_port, false);
    match_guard(writer, writer->chain == GATE_INPUT ? pass->guard_in : pass->guard_out);
}

static void write_pass(struct writer *writer, const struct pass *pass, const struct family *family)
{
    char name[SET_NAME_MAX];

    if (pass->peers != PEERS_ANY && !writer->has[pass->peers][family - families])
        return;
    rule_begin(writer);
    match_family(writer, family);
    if (pass->protocol)
        match_protocol(writer, pass->protocol);
    if (pass->peers != PEERS_ANY)
        nft_match_set(writer->batch, NET, peer_offset(writer, family), family->length,
                      set_name(peers_names[pass->peers], family, name));
    match_rest(writer, pass);
    rule_accept(writer);
}

static void write_loopback(struct writer *writer)
{
    const uint16_t loopback = ARPHRD_LOOPBACK;

    rule_begin(writer);
    nft_match_meta(writer->batch, writer->chain == GATE_INPUT ? NFT_META_IIFTYPE : NFT_META_OIFTYPE,
                   NFT_CMP_EQ, &loopback, sizeof(loopback));
    rule_accept(writer);
}

static void write_icmp6(struct writer *writer, uint8_t first, uint8_t last)
{
    rule_begin(writer);
    match_family(writer, &families[1]);
    match_protocol(writer, IPPROTO_ICMPV6);
    nft_match_range(writer->batch, TRANSPORT, 0, first, last);
    rule_accept(writer);
}

static void write_coordinators(struct writer *writer)
{
    const struct lifeline *lifeline = writer->spec->lifeline;

    for (size_t i = 0; i < lifeline->n_coordinators; i++) {
        const struct endpoint *endpoint = &lifeline->coordinators[i];
        const struct family *family = &families[endpoint->address.family == AF_INET6];
        const struct pass pass = {
            .peer_port = endpoint->port, .guard_out = GUARD_COURIER, .guard_in = GUARD_NOT_OPEN};

        rule_begin(writer);
        match_family(writer, family);
        match_protocol(writer, IPPROTO_TCP);
        nft_match_payload(writer->batch, NET, peer_offset(writer, family), endpoint->address.address,
                          family->length);
        match_rest(writer, &pass);
        rule_accept(writer);
    }
}

static void add_peers(struct writer *writer, const struct family *family)
{
    const struct lifeline *lifeline = writer->spec->lifeline;
    const struct parameter_cidrs *protected = writer->spec->protected;
    const struct {
        const struct cidr *cidrs;
        size_t count;
    } sources[PEERS_SETS] = {
        [PEERS_PROTECTED] = {protected ? protected->cidrs : NULL, protected ? protected->count : 0},
        [PEERS_METADATA] = {gate_metadata, ARRAY_SIZE(gate_metadata)},
        [PEERS_RESOLVERS] = {lifeline->resolvers, lifeline->n_resolvers},
        [PEERS_TIME] = {lifeline->time_servers, lifeline->n_time_servers},
        [PEERS_MANAGEMENT] = {lifeline->management, lifeline->n_management},
    };
    char name[SET_NAME_MAX];

    for (size_t i = PEERS_ANY + 1; i < PEERS_SETS; i++)
        writer->has[i][family - families] =
            nft_add_cidr_set(writer->batch, set_name(peers_names[i], family, name), family->family,
                             sources[i].cidrs, sources[i].count, 0) > 0;
}

/* DHCP (RFC 2131) and DHCPv6 (RFC 8415); SSH from where it is managed. */
static void write_lifeline(struct writer *writer)
{
    const struct pass dhcp = {PEERS_ANY, IPPROTO_UDP, 67, 68}, dhcp6 = {PEERS_ANY, IPPROTO_UDP, 547, 546};
    const struct pass ssh = {PEERS_MANAGEMENT, IPPROTO_TCP, 0, writer->spec->lifeline->ssh_port,
                             GUARD_NOT_OPEN};

    write_loopback(writer);
    write_coordinators(writer);
    for (const struct family *family = families; family < families + ARRAY_SIZE(families); family++) {
        for (size_t i = 0; i < ARRAY_SIZE(passes); i++)
            write_pass(writer, &passes[i], family);
        if (ssh.own_port)
            write_pass(writer, &ssh, family);
    }
    write_pass(writer, &dhcp, &families[0]);
    write_pass(writer, &dhcp6, &families[1]);
    write_icmp6(writer, ND_FIRST, ND_LAST);
    write_icmp6(writer, MLD2_REPORT, MLD2_REPORT);
}

/* Begins a rule for what is blocked, up to the verdict. @protocol: 0 = all that the spec names at once */
static void blocked_begin(struct writer *writer, const struct family *family, uint8_t protocol)
{
    char name[SET_NAME_MAX];

    rule_begin(writer);
    match_family(writer, family);
    if (protocol)
        match_protocol(writer, protocol);
    nft_match_set(writer->batch, NET, peer_offset(writer, family), family->length,
                  set_name("blocked", family, name));
    if (protocol && writer->spec->ports->count)
        nft_match_set(writer->batch, TRANSPORT, 2, 2, "ports");
}

static void rule_drop(struct writer *writer)
{
    nft_count(writer->batch);
    nft_verdict(writer->batch, NF_DROP);
    nft_rule_end(writer->batch);
}

static void write_seen(struct writer *writer, const struct family *family)
{
    char name[SET_NAME_MAX];

    blocked_begin(writer, family, IPPROTO_TCP);
    nft_note_seen(writer->batch, family->destination, family->length, set_name("waiting", family, name));
    nft_rule_end(writer->batch);
}

/* In output UDP is only marked where the egress hook can drop it in silence. */
static void write_udp(struct writer *writer, const struct family *family)
{
    blocked_begin(writer, family, IPPROTO_UDP);
    if (writer->chain == GATE_INPUT || !writer->gate->has_egress) {
        rule_drop(writer);
        return;
    }
    nft_set_mark(writer->batch, GATE_MARK);
    nft_verdict(writer->batch, NF_ACCEPT);
    nft_rule_end(writer->batch);
}

static void write_blocked(struct writer *writer, const struct family *family)
{
    unsigned int protocols = writer->spec->protocols;

    if (protocols & GATE_UDP)
        write_udp(writer, family);
    if (writer->chain == GATE_OUTPUT && protocols & GATE_TCP)
        write_seen(writer, family);
    if (protocols & GATE_TCP) {
        blocked_begin(writer, family, IPPROTO_TCP);
        rule_drop(writer);
    }
    if (protocols & GATE_OTHER) { /* TCP and UDP have been dealt with above */
        blocked_begin(writer, family, 0);
        rule_drop(writer);
    }
}

/* In the egress chain the family is told by the frame's type. */
static void write_egress(struct writer *writer, const struct family *family)
{
    const uint16_t type = htons(family->ethertype);
    char name[SET_NAME_MAX];

    rule_begin(writer);
    nft_match_meta(writer->batch, NFT_META_PROTOCOL, NFT_CMP_EQ, &type, sizeof(type));
    match_protocol(writer, IPPROTO_UDP);
    nft_match_mark(writer->batch, GATE_MARK);
    nft_match_set(writer->batch, NET, family->destination, family->length, set_name("blocked", family, name));
    rule_drop(writer);
}

/* Return: how many intervals of @family are blocked */
static size_t add_blocked(struct writer *writer, const struct family *family)
{
    const struct gate_spec *spec = writer->spec;
    char name[SET_NAME_MAX];

    return nft_add_cidr_set(writer->batch, set_name("blocked", family, name), family->family,
                            spec->blocked->cidrs, spec->blocked->count, spec->deadline_boot_nsec);
}

static void write_chain(struct writer *writer, enum gate_chain chain, uint32_t hook)
{
    writer->chain = chain;
    nft_add_chain(writer->batch, gate_chains[chain], hook, PRIORITY, NULL);
    write_lifeline(writer);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        if (writer->gate->n_intervals[i])
            write_blocked(writer, &families[i]);
}

static void write_inet(struct writer *writer)
{
    const struct gate_spec *spec = writer->spec;
    char name[SET_NAME_MAX];

    nft_add_table(writer->batch, NFPROTO_INET, spec->name);
    if (spec->ports->count)
        nft_add_port_set(writer->batch, "ports", spec->ports->ranges, spec->ports->count);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        add_peers(writer, &families[i]);
        if (spec->is_out && spec->protocols & GATE_TCP)
            nft_add_seen_set(writer->batch, set_name("waiting", &families[i], name), families[i].family,
                             SEEN_SIZE, spec->deadline_boot_nsec);
        writer->gate->n_intervals[i] = add_blocked(writer, &families[i]);
    }
    if (spec->is_out)
        write_chain(writer, GATE_OUTPUT, NF_INET_LOCAL_OUT);
    if (spec->is_in)
        write_chain(writer, GATE_INPUT, NF_INET_LOCAL_IN);
}

static void write_netdev(struct writer *writer, const char *const *devices)
{
    writer->chain = GATE_EGRESS;
    nft_add_table(writer->batch, NFPROTO_NETDEV, writer->spec->name);
    nft_add_chain(writer->batch, gate_chains[GATE_EGRESS], NF_NETDEV_EGRESS, PRIORITY, devices);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        if (add_blocked(writer, &families[i]))
            write_egress(writer, &families[i]);
}

void gate_write(struct gate *gate, const struct gate_spec *spec, const char *const *devices,
                struct nft_batch *batch)
{
    struct writer writer = {.batch = batch, .gate = gate, .spec = spec};

    nft_batch_begin(batch, NULL, 0);
    write_inet(&writer);
    if (gate->has_egress)
        write_netdev(&writer, devices);
    nft_batch_end(batch);
}
