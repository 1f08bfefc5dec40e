/* What the gate's rules say, as rows of tables; gate-write.c writes them for the kernel. */
#pragma once

#include "gate.h"

/** struct gate_family - where the addresses of a family stand in its header (RFC 791, RFC 8200) */
struct gate_family {
    sa_family_t family;
    uint8_t nfproto, length, source, destination;
    uint16_t ethertype;
    char suffix;
};
#define GATE_FAMILIES 2
extern const struct gate_family gate_families[GATE_FAMILIES]; /* IPv4, IPv6 */

/* Sets of peers, one of each for a family. */
enum peers {
    PEERS_ANY,
    PEERS_PROTECTED,
    PEERS_METADATA,
    PEERS_RESOLVERS,
    PEERS_TIME,
    PEERS_MANAGEMENT,
    PEERS_TARGETS,
    PEERS_SETS,
};

enum guard {
    GUARD_NONE,
    GUARD_COURIER,  /* of this user only; whose a forwarded packet is nobody knows */
    GUARD_NOT_OPEN, /* TCP that doesn't open a connection: no bare SYN */
};

enum action {
    ACTION_ACCEPT,
    ACTION_DROP,    /* and count */
    ACTION_SILENCE, /* mark it for the drop at egress, if there is one; else the same as ACTION_DROP */
    ACTION_MARK,    /* for the shaping at egress */
    ACTION_SHAPE,   /* and count */
    ACTION_NOTE,    /* that it wanted to reach this address and port */
};

#define IPV4        1
#define IPV6        2
#define OUTPUT      (1 << GATE_OUTPUT)
#define INPUT       (1 << GATE_INPUT)
#define FORWARD_OUT (1 << GATE_FORWARD_OUT)
#define FORWARD_IN  (1 << GATE_FORWARD_IN)
#define EGRESS      (1 << GATE_EGRESS)
#define INGRESS     (1 << GATE_INGRESS)
#define DELIVERY    (1 << GATE_DELIVERY)

/**
 * struct rule - one rule in each of @chains for each of @families; whatever is 0 matches every packet
 * @peers: a set that the other side is in; without such a set there is no rule
 * @peer: or this one address
 * @icmp: first and last type
 * @if_protocols: gate_protocol bits, of which the spec must name one
 * @has_ports: only the ports of the spec
 */
struct rule {
    unsigned int chains, families;
    enum peers peers;
    uint8_t protocol;
    bool is_loopback, is_marked, is_unshaped, is_others_probe, has_ports;
    uint16_t peer_port, own_port;
    enum guard guard_out, guard_in;
    unsigned int if_protocols;
    enum action action;
    uint8_t icmp[2];
    const uint8_t *peer;
};

#define INBOUND    (INPUT | INGRESS)
#define FORWARD    (FORWARD_OUT | FORWARD_IN)
#define FROM_PEER  (INBOUND | FORWARD_IN | DELIVERY) /* the other side is the packet's source */
#define BOTH_WAYS  OUTPUT | INBOUND, IPV4 | IPV6
#define EVERYWHERE OUTPUT | INBOUND | FORWARD, IPV4 | IPV6

/* Ended by a row without chains. */
extern const struct rule gate_isolation_rules[], gate_lifeline_rules[], gate_drop_rules[], gate_shape_rules[];
