/* Writes the gate's tables, sets and rules into one transaction. */
#include <arpa/inet.h>
#include <linux/if_arp.h>
#include <stdio.h>
#include <string.h>

#include "gate-rules.h"

#define PRIORITY      (-10) /* before the filters of others, after their destination NAT */
#define TCP_FLAGS     13
#define IPV4_CHECKSUM 10 /* where it stands (RFC 791) */
#define TCP_SYN       0x02
#define TCP_ACK       0x10
#define SET_NAME_MAX  16
#define NET           NFT_PAYLOAD_NETWORK_HEADER
#define TRANSPORT     NFT_PAYLOAD_TRANSPORT_HEADER

static const char *const peers_names[PEERS_SETS] = {
    [PEERS_PROTECTED] = "protected", [PEERS_METADATA] = "metadata",     [PEERS_RESOLVERS] = "resolvers",
    [PEERS_TIME] = "time",           [PEERS_MANAGEMENT] = "management", [PEERS_TARGETS] = "targets",
};

/* @is_inbound: the other side is the packet's source; @has: which sets were made, by family: no rule may ask
 * for another */
struct writer {
    struct nft_batch *batch;
    struct gate *gate;
    const struct gate_spec *spec;
    enum gate_chain chain;
    bool is_inbound;
    bool has[PEERS_SETS][GATE_FAMILIES];
};

static bool is_in(const struct writer *writer, unsigned int chains)
{
    return chains & 1 << writer->chain;
}

static uint32_t mark_of(const struct writer *writer)
{
    return !writer->spec->shape ? GATE_MARK_DROP : writer->is_inbound ? GATE_MARK_SHAPE_IN : GATE_MARK_SHAPE;
}

static const char *set_name(const char *set, const struct gate_family *family, char ret[SET_NAME_MAX])
{
    snprintf(ret, SET_NAME_MAX, "%s%c", set, family->suffix);
    return ret;
}

/* At a device the family is told by the frame's type. */
static void match_family(struct writer *writer, const struct gate_family *family)
{
    const uint16_t type = htons(family->ethertype);

    if (writer->chain >= GATE_EGRESS)
        nft_match_meta(writer->batch, NFT_META_PROTOCOL, &type, sizeof(type));
    else
        nft_match_meta(writer->batch, NFT_META_NFPROTO, &family->nfproto, 1);
}

static void match_loopback(struct writer *writer)
{
    const uint16_t loopback = ARPHRD_LOOPBACK;

    nft_match_meta(writer->batch, writer->is_inbound ? NFT_META_IIFTYPE : NFT_META_OIFTYPE, &loopback,
                   sizeof(loopback));
}

static void match_peer(struct writer *writer, const struct rule *rule, const struct gate_family *family)
{
    uint32_t offset = writer->is_inbound ? family->source : family->destination;
    char name[SET_NAME_MAX];

    if (rule->peer)
        nft_match_payload(writer->batch, NET, offset, rule->peer, family->length);
    if (rule->peers != PEERS_ANY)
        nft_match_set(writer->batch, NET, offset, family->length,
                      set_name(peers_names[rule->peers], family, name));
}

/* The source port is at 0, the destination port at 2: there are those of the spec, both ways. */
static void match_ports(struct writer *writer, const struct rule *rule)
{
    uint32_t peer = writer->is_inbound ? 0 : 2;
    uint16_t peer_port = htons(rule->peer_port), own_port = htons(rule->own_port);

    if (rule->peer_port)
        nft_match_payload(writer->batch, TRANSPORT, peer, &peer_port, sizeof(peer_port));
    if (rule->own_port)
        nft_match_payload(writer->batch, TRANSPORT, 2 - peer, &own_port, sizeof(own_port));
    if (rule->has_ports && writer->spec->ports->count)
        nft_match_set(writer->batch, TRANSPORT, 2, 2, "ports");
}

/* What bears a mark has been asked for its cgroup in output: at a device no rule can ask. */
static void match_cgroup(struct writer *writer, const struct rule *rule)
{
    const struct cgroup *cgroup = &writer->gate->cgroup;

    if (cgroup->level && rule->peers == PEERS_TARGETS && !rule->is_marked)
        nft_match_cgroup(writer->batch, cgroup->id, cgroup->level);
}

/* What comes in at a device of a host that forwards need not be for the host. */
static void match_destination(struct writer *writer, const struct rule *rule)
{
    if (is_in(writer, INGRESS) && rule->peers == PEERS_TARGETS && writer->spec->is_forwarding &&
        !(writer->spec->scope & GATE_FORWARDED))
        nft_match_not_forwarded(writer->batch);
}

/* What is forwarded has lost its priority, but comes out of a wire that is named after the order. */
static void match_others_probe(struct writer *writer)
{
    const uint32_t own = gate_probe_priority(writer->spec->name);
    char wire[UNDO_LINK_MAX];

    if (is_in(writer, FORWARD)) {
        undo_link_name(writer->spec->name, '\0', wire);
        nft_match_meta(writer->batch, NFT_META_IIFNAME, wire, strlen(UNDO_NAME_PREFIX));
        nft_match_not_meta(writer->batch, NFT_META_IIFNAME, wire, strlen(wire));
    } else {
        nft_match_meta_bits(writer->batch, NFT_META_PRIORITY, ~GATE_PROBE_DIGITS, GATE_PROBE);
        nft_match_not_meta(writer->batch, NFT_META_PRIORITY, &own, sizeof(own));
    }
}

static void match_guard(struct writer *writer, const struct rule *rule)
{
    const uint32_t uid = writer->spec->lifeline->courier_uid;
    enum guard guard = writer->is_inbound ? rule->guard_in : rule->guard_out;

    if (guard == GUARD_COURIER && is_in(writer, OUTPUT))
        nft_match_meta(writer->batch, NFT_META_SKUID, &uid, sizeof(uid));
    else if (guard == GUARD_NOT_OPEN)
        nft_match_not_bits(writer->batch, TRANSPORT, TCP_FLAGS, TCP_SYN | TCP_ACK, TCP_SYN);
}

static void write_action(struct writer *writer, enum action action, const struct gate_family *family)
{
    const struct gate_spec *spec = writer->spec;
    bool is_marking = action == ACTION_MARK || (action == ACTION_SILENCE && writer->gate->has_egress);
    char name[SET_NAME_MAX];

    if (action == ACTION_NOTE) {
        nft_note_seen(writer->batch, family->destination, family->length, set_name("waiting", family, name));
        return;
    }
    if (is_marking)
        nft_change_mark(writer->batch, ~mark_of(writer), mark_of(writer));
    if (is_marking ? is_in(writer, FORWARD) : action != ACTION_ACCEPT)
        nft_count(writer->batch);
    if (action == ACTION_SHAPE && is_in(writer, EGRESS | DELIVERY))
        nft_change_mark(writer->batch, ~mark_of(writer), 0);
    if (action == ACTION_SHAPE && is_in(writer, INGRESS))
        nft_change_mark(writer->batch, ~GATE_MARK_SHAPED, GATE_MARK_SHAPED);
    if (action == ACTION_SHAPE)
        nft_forward(writer->batch, writer->is_inbound ? spec->shaper_in : spec->shaper_out);
    else
        nft_verdict(writer->batch, is_marking || action == ACTION_ACCEPT ? NF_ACCEPT : NF_DROP);
}

static void write_rule(struct writer *writer, const struct rule *rule, const struct gate_family *family)
{
    nft_rule_begin(writer->batch, gate_chains[writer->chain]);
    writer->gate->n_rules[writer->chain]++;
    match_family(writer, family);
    if (rule->is_loopback)
        match_loopback(writer);
    if (rule->protocol)
        nft_match_meta(writer->batch, NFT_META_L4PROTO, &rule->protocol, 1);
    if (rule->is_marked)
        nft_match_meta_bits(writer->batch, NFT_META_MARK, mark_of(writer), mark_of(writer));
    if (rule->is_others_probe)
        match_others_probe(writer);
    if (rule->is_unshaped)
        nft_match_meta_bits(writer->batch, NFT_META_MARK, GATE_MARK_SHAPED, 0);
    match_peer(writer, rule, family);
    match_ports(writer, rule);
    match_cgroup(writer, rule);
    match_destination(writer, rule);
    if (rule->icmp[1])
        nft_match_range(writer->batch, TRANSPORT, 0, rule->icmp[0], rule->icmp[1]);
    match_guard(writer, rule);
    write_action(writer, rule->action, family);
    nft_rule_end(writer->batch);
}

/* A rule applies to what the spec is about, and to peers that there are; where a family has no target,
 * nothing is dropped that would have to be let through before. */
static void write_for_families(struct writer *writer, const struct rule *rule)
{
    if (!(rule->chains & 1 << writer->chain) ||
        (rule->if_protocols && !(rule->if_protocols & writer->spec->protocols)))
        return;
    for (size_t i = 0; i < GATE_FAMILIES; i++)
        if (rule->families & 1 << i && writer->has[PEERS_TARGETS][i] &&
            (rule->peers == PEERS_ANY || writer->has[rule->peers][i]))
            write_rule(writer, rule, &gate_families[i]);
}

static void write_rules(struct writer *writer, const struct rule *rules)
{
    for (; rules->chains; rules++)
        write_for_families(writer, rules);
}

static void write_lifeline(struct writer *writer)
{
    const struct lifeline *lifeline = writer->spec->lifeline;
    const struct rule ssh = {EVERYWHERE, PEERS_MANAGEMENT, IPPROTO_TCP, .own_port = lifeline->ssh_port,
                             .guard_out = GUARD_NOT_OPEN};

    for (size_t i = 0; i < lifeline->n_coordinators; i++) {
        const struct endpoint *endpoint = &lifeline->coordinators[i];

        write_for_families(writer,
                           &(struct rule){.chains = OUTPUT | INBOUND | FORWARD,
                                          .families = endpoint->address.family == AF_INET ? IPV4 : IPV6,
                                          .peer = endpoint->address.address,
                                          .protocol = IPPROTO_TCP,
                                          .peer_port = endpoint->port,
                                          .guard_out = GUARD_COURIER,
                                          .guard_in = GUARD_NOT_OPEN});
    }
    if (lifeline->ssh_port)
        write_for_families(writer, &ssh);
    write_rules(writer, gate_lifeline_rules);
}

static void write_passes(struct writer *writer)
{
    write_rules(writer, gate_isolation_rules);
    if (!writer->spec->is_isolated)
        write_lifeline(writer);
}

/* What is dropped is not worth shaping; and where both sides of a forwarded packet are targets, as when a
 * zone is dead, it counts as one that goes out. */
static int32_t priority(const struct gate *gate, enum gate_chain chain)
{
    return PRIORITY + (gate->is_shaping ? 2 : 0) + (chain == GATE_FORWARD_IN ? 1 : 0);
}

static const uint32_t hooks[GATE_CHAINS] = {
    [GATE_OUTPUT] = NF_INET_LOCAL_OUT,    [GATE_INPUT] = NF_INET_LOCAL_IN,
    [GATE_FORWARD_OUT] = NF_INET_FORWARD, [GATE_FORWARD_IN] = NF_INET_FORWARD,
    [GATE_EGRESS] = NF_NETDEV_EGRESS,     [GATE_INGRESS] = NF_NETDEV_INGRESS,
    [GATE_DELIVERY] = NF_NETDEV_EGRESS,   [GATE_WIRE] = NF_NETDEV_INGRESS,
};

/* A forwarded packet goes through both chains of forward, and either side may be the one that has to pass. */
static void write_chain(struct writer *writer, enum gate_chain chain, const char *const *devices)
{
    writer->chain = chain;
    writer->is_inbound = is_in(writer, FROM_PEER);
    nft_add_chain(writer->batch, gate_chains[chain], hooks[chain], priority(writer->gate, chain), devices);
    write_passes(writer);
    if (is_in(writer, FORWARD)) {
        writer->is_inbound ^= true;
        write_passes(writer);
        writer->is_inbound ^= true;
    }
    write_rules(writer, writer->spec->shape ? gate_shape_rules : gate_drop_rules);
}

/* Only the targets end at the deadline: with them every drop. */
static void add_peers(struct writer *writer, enum peers first)
{
    const struct gate_spec *spec = writer->spec;
    const struct lifeline *lifeline = spec->lifeline;
    const struct parameter_cidrs sources[PEERS_SETS] = {
        [PEERS_PROTECTED] = spec->protected ? *spec->protected : (struct parameter_cidrs){0},
        [PEERS_METADATA] = {ARRAY_SIZE(gate_metadata), (struct cidr *)gate_metadata},
        [PEERS_RESOLVERS] = {lifeline->n_resolvers, (struct cidr *)lifeline->resolvers},
        [PEERS_TIME] = {lifeline->n_time_servers, (struct cidr *)lifeline->time_servers},
        [PEERS_MANAGEMENT] = {lifeline->n_management, (struct cidr *)lifeline->management},
        [PEERS_TARGETS] = *spec->targets,
    };
    char name[SET_NAME_MAX];

    for (enum peers peers = PEERS_TARGETS; peers >= first; peers--)
        for (size_t i = 0; i < GATE_FAMILIES; i++) {
            size_t count;

            if (peers != PEERS_TARGETS && !writer->has[PEERS_TARGETS][i])
                continue;
            count = nft_add_cidr_set(writer->batch, set_name(peers_names[peers], &gate_families[i], name),
                                     gate_families[i].family, sources[peers].cidrs, sources[peers].count,
                                     peers == PEERS_TARGETS ? spec->deadline_boot_nsec : 0);

            writer->has[peers][i] = count > 0;
            if (peers == PEERS_TARGETS)
                writer->gate->n_intervals[i] = count;
        }
}

static void add_ports(struct writer *writer)
{
    const struct parameter_ports *ports = writer->spec->ports;

    if (ports->count)
        nft_add_port_set(writer->batch, "ports", ports->ranges, ports->count);
}

static void write_inet(struct writer *writer)
{
    const struct gate_spec *spec = writer->spec;
    char name[SET_NAME_MAX];

    nft_add_table(writer->batch, NFPROTO_INET, spec->name);
    add_ports(writer);
    add_peers(writer, PEERS_ANY + 1);
    for (size_t i = 0; i < GATE_FAMILIES && spec->is_out && spec->protocols & GATE_TCP && !spec->shape; i++)
        if (writer->has[PEERS_TARGETS][i])
            nft_add_seen_set(writer->batch, set_name("waiting", &gate_families[i], name),
                             gate_families[i].family, GATE_SEEN_MAX, spec->deadline_boot_nsec);
    if (spec->is_out && spec->scope & GATE_HOST)
        write_chain(writer, GATE_OUTPUT, NULL);
    if (spec->is_in && spec->scope & GATE_HOST && !spec->shape)
        write_chain(writer, GATE_INPUT, NULL);
    if (spec->is_out && spec->scope & GATE_FORWARDED)
        write_chain(writer, GATE_FORWARD_OUT, NULL);
    if (spec->is_in && spec->scope & GATE_FORWARDED && !writer->gate->has_ingress)
        write_chain(writer, GATE_FORWARD_IN, NULL);
}

/* No verdict of these hangs on the deadline: they are about own packets alone, by a mark that no two orders
 * share. Loopback's frames are for nobody, hence the hardware address. */
static void write_wire(struct writer *writer)
{
    static const char *const loopback[] = {"lo", NULL};
    const struct gate_wire *wire = writer->spec->wire;

    writer->chain = GATE_WIRE;
    nft_add_chain(writer->batch, gate_chains[GATE_WIRE], hooks[GATE_WIRE], PRIORITY, loopback);
    for (size_t i = 0; i < wire->n_targets; i++) {
        bool is_6 = wire->targets[i].family == AF_INET6;
        const struct gate_family *family = &gate_families[is_6];
        const uint32_t mark = wire->mark + (uint32_t)i, checksum = is_6 ? 0 : IPV4_CHECKSUM;

        nft_rule_begin(writer->batch, gate_chains[GATE_WIRE]);
        writer->gate->n_rules[GATE_WIRE]++;
        match_family(writer, family);
        nft_match_meta(writer->batch, NFT_META_MARK, &mark, sizeof(mark));
        nft_change_mark(writer->batch, 0, 0);
        nft_set_payload(writer->batch, NFT_PAYLOAD_LL_HEADER, 0, wire->address, sizeof(wire->address), 0);
        nft_set_payload(writer->batch, NET, family->source, wire->sources[is_6].address, family->length,
                        checksum);
        nft_set_payload(writer->batch, NET, family->destination, wire->targets[i].address, family->length,
                        checksum);
        nft_forward(writer->batch, wire->index);
        nft_rule_end(writer->batch);
    }
}

/* What leaves has passed the lifeline in output or forward; what comes in has not been asked yet. */
static void write_netdev(struct writer *writer, const char *const *devices)
{
    const struct gate *gate = writer->gate;

    nft_add_table(writer->batch, NFPROTO_NETDEV, writer->spec->name);
    if (gate->has_egress || gate->has_ingress || gate->has_delivery)
        add_peers(writer, gate->has_ingress ? PEERS_ANY + 1 : PEERS_TARGETS);
    if (gate->has_egress)
        write_chain(writer, GATE_EGRESS, devices);
    if (gate->has_delivery)
        write_chain(writer, GATE_DELIVERY, devices);
    if (gate->has_ingress) {
        add_ports(writer);
        write_chain(writer, GATE_INGRESS, devices);
    }
    if (gate->has_wire)
        write_wire(writer);
}

void gate_write(struct gate *gate, const struct gate_spec *spec, const char *const *devices,
                struct nft_batch *batch)
{
    struct writer writer = {.batch = batch, .gate = gate, .spec = spec};

    nft_batch_begin(batch, NULL, 0);
    write_inet(&writer);
    if (gate_has_netdev(gate))
        write_netdev(&writer, devices);
    nft_batch_end(batch);
}

void gate_write_devices(const struct gate *gate, enum gate_chain chain, const char *const *devices,
                        struct nft_batch *batch)
{
    nft_batch_begin(batch, NULL, 0);
    batch->family = NFPROTO_NETDEV;
    batch->table = gate->name;
    nft_add_chain(batch, gate_chains[chain], hooks[chain], priority(gate, chain), devices);
    nft_batch_end(batch);
}
