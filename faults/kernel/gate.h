/*
 * The gate: what every network fault is made of. A table `inet NAME` with rules in output and input, or in
 * forward for what the host only passes on (containers, virtual machines), and a
 * table `netdev NAME` at the egress of all devices, where UDP is dropped: a drop in output would tell a UDP
 * sender at once (EPERM), which no dead network does. Every verdict stands behind a set whose elements end at
 * the deadline, and both tables die with the socket that made them.
 *
 * Nothing here looks at connection tracking: it would switch itself on for the host and know no connection
 * that is older than itself.
 */
#pragma once

#include "cgroup.h"
#include "faults/fault.h"
#include "nft.h"

/* What output or forward has chosen for the egress chain bears a bit of the packet mark: UDP that is to be
 * dropped in silence, or what is to be shaped, on its way to the targets or from them. The egress rule looks
 * at the address as well, so that a mark of somebody else's with the same bit changes little. It takes the
 * bit away, or a packet would be shaped again at each device below (a bridge and its port). */
#define GATE_MARK_DROP     0x40000000U
#define GATE_MARK_SHAPE    0x20000000U
#define GATE_MARK_SHAPE_IN 0x10000000U
/* What came in and has been shaped, at the first device that met it: at a bridge above its port, a VLAN or a
 * bond it is not shaped again. */
#define GATE_MARK_SHAPED 0x08000000U

/* Own packets that have to show an effect bear this as their priority (SO_PRIORITY), and digits of their
 * order. No other gate drops them: of two that block the same, each shows its own effect, and the one that
 * ends later is known to block by itself. A priority leads no packet elsewhere, as a mark may. */
#define GATE_PROBE        0x67720000U
#define GATE_PROBE_DIGITS 0x0000ffffU

/* Whose packets. */
enum gate_scope {
    GATE_HOST = 1 << 0,      /* those that end or begin at a socket of this host */
    GATE_FORWARDED = 1 << 1, /* those that it passes on, for containers and virtual machines */
};

enum gate_protocol {
    GATE_TCP = 1 << 0,
    GATE_UDP = 1 << 1,
    GATE_OTHER = 1 << 2, /* whatever has no ports */
};

#define GATE_WIRE_MAX 16
/**
 * struct gate_wire - how own packets get forwarded, to show that forwarded ones are met: what is sent to
 * loopback under a mark of its own gets a target's address and comes in again at the far end of a wire
 * @index: of the near end; 0 = there is no wire
 * @address: hardware address of the far end
 * @mark: for target i it is mark + i
 * @sources: IPv4 and IPv6 address that such packets come from; family 0 where this host does not forward
 */
struct gate_wire {
    int index;
    uint8_t address[6];
    uint32_t mark;
    struct cidr sources[2];
    size_t n_targets;
    struct cidr targets[GATE_WIRE_MAX];
};

/**
 * struct gate_spec - what to drop or to shape; everything borrowed
 * @name: of both tables
 * @targets: addresses of the other side
 * @protected: as well as the lifeline, passes
 * @ports: destination ports, of packets in either direction; none = all
 * @protocols: gate_protocol bits; GATE_OTHER only without ports
 * @scope: gate_scope bits
 * @is_forwarding: the host forwards, so that what comes in at a device need not be for itself
 * @cgroup: only packets of sockets of the cgroup whose path ends so; NULL = whoever's. Not of what comes in
 * to be shaped, for which no socket has been looked up yet.
 * @is_isolated: of the lifeline only loopback passes
 * @shape: what happens to the packets, NULL = they are dropped
 * @wire: NULL = no own packets are forwarded
 * @shaper_out, @shaper_in: with @shape: index of the device that they go through
 */
struct gate_spec {
    const char *name;
    int64_t deadline_boot_nsec;
    const struct parameter_cidrs *targets, *protected;
    const struct parameter_ports *ports;
    unsigned int protocols, scope;
    bool is_out, is_in, is_isolated, is_forwarding;
    const struct gate_wire *wire;
    const char *cgroup;
    const struct shaper_spec *shape;
    int shaper_out, shaper_in;
    const struct lifeline *lifeline;
};

enum gate_chain {
    GATE_OUTPUT,
    GATE_INPUT,
    GATE_FORWARD_OUT, /* towards the targets */
    GATE_FORWARD_IN,  /* from them */
    GATE_EGRESS,      /* from here on: at devices, in the other table */
    GATE_INGRESS,
    GATE_DELIVERY, /* at egress as well: what was marked in forward on its way from the targets */
    GATE_WIRE,     /* at loopback: own packets that are going to be forwarded */
    GATE_CHAINS,
};

#define GATE_DEVICES_MAX 255 /* of one chain: below NFT_NETDEVICE_MAX in net/netfilter/nf_tables_api.c */

/** struct gate_device - @is_hosts: it has an address of the host's own, of more than its link */
struct gate_device {
    int index;
    char name[UNDO_LINK_MAX];
    bool is_hosts;
};

/**
 * struct gate - a gate that stands
 * @fd: the socket that owns the tables
 * @cgroup: the one of the spec, as it was when the gate was made
 * @n_rules, @n_intervals: what was made, to be compared with what is read back; @is_counted: once
 * @devices: those that there were when it was made; @uncovered: one that has come since, and which the kernel
 * does not let us add; empty = none
 * @removal: prepared, so that taking the gate away allocates nothing
 */
struct gate {
    int fd;
    char name[UNDO_NAME_MAX];
    bool has_egress, has_ingress, has_delivery, has_wire, is_shaping;
    struct cgroup cgroup;
    size_t n_rules[GATE_CHAINS];
    size_t n_intervals[2]; /* IPv4, IPv6 */
    bool is_counted, knows_hosts;
    size_t n_devices;
    struct gate_device devices[GATE_DEVICES_MAX];
    char uncovered[UNDO_LINK_MAX];
    struct nft_batch removal;
    uint8_t removal_bytes[512] __attribute__((aligned(8)));
};

/** gate_has_egress() - can this kernel (>= 5.16) deal with packets at the devices' egress? */
bool gate_has_egress(void);
/** gate_adds_devices() - can it (>= 6.4) bring a device that comes later under a gate that stands? */
bool gate_adds_devices(void);
/** gate_supported() - is there an nf_tables with owned tables (kernel >= 5.12)? -EOPNOTSUPP with words.
 * @parameters: of no interest */
int gate_supported(const void *parameters, struct error *error);
/** gate_find_cgroup() - the one of @spec, and whether this kernel (>= 5.13) can match it; level 0 = of none
 */
int gate_find_cgroup(const struct gate_spec *spec, struct cgroup *ret, struct error *error);
/** gate_check_devices() - has the host few enough for what @spec needs? -EOPNOTSUPP with words */
int gate_check_devices(const struct gate_spec *spec, struct error *error);
/** gate_add_undos() - note both tables in @record and its file @fd, before gate_open() */
int gate_add_undos(struct record *record, int fd, const char *name, struct error *error);

int gate_open(struct gate *gate, const struct gate_spec *spec, struct error *error);
/** gate_verify() - bring devices that came under the gate; read back both tables: flags, number of rules,
 * devices; and elements, the first time: those of an
 * owned table only its owner can change. Return: 0, -FAULT_CHANGED, -errno */
int gate_verify(struct gate *gate, struct error *error);
/** struct gate_packets - dropped or shaped so far; @silent: the part of @out that was met at egress;
 * @forwarded_out, @forwarded_in: met in forward. What is shaped is counted in @out and @in once it is. */
struct gate_packets {
    uint64_t out, silent, in, forwarded_out, forwarded_in;
};
int gate_packets(const struct gate *gate, struct gate_packets *ret, struct error *error);

/** struct gate_seen - an address and port that TCP tried to reach and lost, and how often */
struct gate_seen {
    struct endpoint endpoint;
    uint64_t packets;
};
#define GATE_SEEN_MAX 256 /* for each family */
/** gate_waiting() - Return: how many are in @ret, or -errno */
int gate_waiting(const struct gate *gate, struct gate_seen ret[2 * GATE_SEEN_MAX], struct error *error);
/** gate_remove() - both tables in one transaction; allocates nothing */
int gate_remove(const struct gate *gate, struct error *error);
/**
 * gate_is_gone() - look for both tables
 * @gate: whose socket is used for the look, NULL = a new one. Closing one waits until the kernel has freed
 * what was removed before (an RCU grace period, 10 ms and more: nft_rcv_nl_event() in nf_tables_api.c)
 * Return: 0, -EEXIST when a table called @name stands, or -errno
 */
int gate_is_gone(const struct gate *gate, const char *name, struct error *error);
void gate_close(struct gate *gate);
/** gate_probe_priority() - of own packets that are to show what the gate called @name does */
uint32_t gate_probe_priority(const char *name);
/** gate_is_exempt() - would the gate let packets to @address pass, whatever their ports? */
bool gate_is_exempt(const struct gate_spec *spec, const struct cidr *address);

/* gate-rules.c, gate-write.c, gate.c */
bool gate_has_netdev(const struct gate *gate);
extern const char *const gate_chains[GATE_CHAINS];
extern const struct cidr gate_metadata[2]; /* an instance's metadata service */
void gate_write(struct gate *gate, const struct gate_spec *spec, const char *const *devices,
                struct nft_batch *batch);
/** gate_write_devices() - that @chain hangs on @devices as well */
void gate_write_devices(const struct gate *gate, enum gate_chain chain, const char *const *devices,
                        struct nft_batch *batch);
