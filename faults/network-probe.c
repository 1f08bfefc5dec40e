/* See network-probe.h. */
#include "network-probe.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define PROBE_PORT      9  /* discard; used when no ports are given */
#define TRIES           25 /* a packet reaches the egress hook only after its neighbour has answered */
#define HOSTS_PER_BLOCK 3  /* the first may be our own address, which is reached by loopback */

static bool cidr_is_host(const struct cidr *cidr)
{
    return cidr->prefix == (cidr->family == AF_INET ? 32 : 128);
}

/* The address @step after the first of @cidr, if that is still inside. */
static bool cidr_host(const struct cidr *cidr, unsigned int step, struct cidr *ret)
{
    size_t last = cidr->family == AF_INET ? 3 : 15;

    *ret = *cidr;
    ret->prefix = (last + 1) * 8;
    ret->address[last] += step;
    return cidr_contains(cidr, ret);
}

static void add_probe(struct probes *probes, const struct cidr *address)
{
    const struct parameter_ports *ports = probes->spec->ports;

    if (probes->count == ARRAY_SIZE(probes->list) || gate_is_exempt(probes->spec, address))
        return;
    probes->list[probes->count++].target =
        (struct endpoint){*address, ports->count ? ports->ranges[0].from : PROBE_PORT};
}

/* Addresses for documentation (RFC 5737, RFC 3849) and coordinators, to which the lifeline lets only the
 * courier: what can be asked when "everything" is blocked. */
static void choose_targets(struct probes *probes)
{
    static const char *const others[] = {"192.0.2.1", "2001:db8::1"};
    const struct parameter_cidrs *targets = probes->spec->targets;
    const struct lifeline *lifeline = probes->spec->lifeline;
    struct cidr address;

    for (size_t i = 0; i < targets->count; i++) {
        const struct cidr *block = &targets->cidrs[i];

        for (size_t k = 0; block->prefix == 0 && k < lifeline->n_coordinators; k++)
            if (cidr_contains(block, &lifeline->coordinators[k].address))
                add_probe(probes, &lifeline->coordinators[k].address);
        for (size_t k = 0; block->prefix == 0 && k < ARRAY_SIZE(others); k++)
            if (cidr_parse(&address, others[k], NULL) == 0 && cidr_contains(block, &address))
                add_probe(probes, &address);
        /* not the first address of a network, which is nobody's; of a single host it is the only one */
        for (unsigned int step = !cidr_is_host(block); block->prefix && step <= HOSTS_PER_BLOCK; step++)
            if (cidr_host(block, step, &address))
                add_probe(probes, &address);
    }
}

/* What leaves the devices is shaped by its mark: where none is set in output, the probe has it itself. */
static uint32_t mark_of(const struct probes *probes, size_t i, enum way way)
{
    bool is_marked_in_output = !probes->spec->shape || probes->spec->scope & GATE_HOST;

    return way == WAY_FORWARDED ? probes->wire.mark + (uint32_t)i : is_marked_in_output ? 0 : GATE_MARK_SHAPE;
}

/* One that is to be forwarded is sent to loopback, where the gate takes it by its mark. */
static void send_probe(struct probes *probes, size_t i, enum way way, bool is_udp)
{
    struct probe *probe = &probes->list[i];
    uint32_t mark = mark_of(probes, i, way), priority = gate_probe_priority(probes->spec->name);
    _cleanup_close_ int fd = socket(probe->target.address.family,
                                    (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(probe->target.port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(probe->target.port)};
    bool is_4 = probe->target.address.family == AF_INET;
    const struct sockaddr *address = is_4 ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6;

    memcpy(&in4.sin_addr, probe->target.address.address, sizeof(in4.sin_addr));
    memcpy(&in6.sin6_addr, probe->target.address.address, sizeof(in6.sin6_addr));
    if (way == WAY_FORWARDED) {
        in4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        in6.sin6_addr = in6addr_loopback;
    }
    if ((mark && setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0) ||
        setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &priority, sizeof(priority)) < 0)
        return; /* to loopback it must not go without a mark */
    if (connect(fd, address, is_4 ? sizeof(in4) : sizeof(in6)) == 0 || errno == EINPROGRESS)
        probe->sent++;
    if (is_udp && send(fd, "", 1, MSG_NOSIGNAL) < 0)
        return; /* no effect shows in the counter */
}

/* What the devices' egress deals with, not the output hook. */
static bool is_at_egress(const struct probes *probes, const struct gate *gate)
{
    return gate->has_egress && (probes->spec->shape || !(probes->spec->protocols & GATE_TCP));
}

/* What a probe has to move. */
static int read_counter(const struct probes *probes, const struct gate *gate, enum way way, uint64_t *ret,
                        struct error *error)
{
    struct gate_packets packets;
    int r = gate_packets(gate, &packets, error);

    if (r == 0)
        *ret = way == WAY_FORWARDED         ? packets.forwarded_out
               : is_at_egress(probes, gate) ? packets.silent
                                            : packets.out - packets.forwarded_out;
    return r;
}

/* Of a family that is not forwarded nothing can be shown. */
static bool has_way(const struct probes *probes, size_t i, enum way way)
{
    bool is_6 = probes->list[i].target.address.family == AF_INET6;

    return way == WAY_OWN || probes->wire.sources[is_6].family;
}

/* Sends until the gate has met one. Return: 1, 0 or -errno */
static int probe_all(struct probes *probes, const struct gate *gate, enum way way, struct error *error)
{
    uint64_t before, now;
    int r = read_counter(probes, gate, way, &before, error);

    for (size_t i = 0; i < probes->count && r == 0; i++) {
        if (!has_way(probes, i, way))
            continue;
        send_probe(probes, i, way, !(probes->spec->protocols & GATE_TCP));
        r = read_counter(probes, gate, way, &now, error);
        if (r == 0 && now > before)
            r = 1;
    }
    return r;
}

static int exercise(struct probes *probes, const struct gate *gate, enum way way, struct error *error)
{
    bool may_be_late = way == WAY_FORWARDED || is_at_egress(probes, gate);
    int r = probe_all(probes, gate, way, error);

    probes->is_shown[way] = r == 1;
    if (r != 0)
        return r < 0 ? r : 0;
    return error_set(error, may_be_late && ++probes->n_tries[way] < TRIES ? EINPROGRESS : EIO,
                     "none of %zu own packets to the addresses was %s%s (is there a route to them?)",
                     probes->count, way == WAY_FORWARDED ? "forwarded and " : "",
                     probes->spec->shape ? "shaped" : "dropped");
}

void probes_send_udp(struct probes *probes)
{
    for (size_t i = 0; i < probes->count; i++)
        send_probe(probes, i, WAY_OWN, true);
}

int probes_exercise(struct probes *probes, const struct gate *gate, struct error *error)
{
    int r = 0;

    for (enum way way = 0; way < WAYS && r == 0; way++)
        if (probes->is_needed[way] && !probes->is_shown[way])
            r = exercise(probes, gate, way, error);
    return r;
}

bool probes_have_shown(const struct probes *probes)
{
    bool is_needed = false, is_missing = false;

    for (enum way way = 0; way < WAYS; way++) {
        is_needed |= probes->is_needed[way];
        is_missing |= probes->is_needed[way] && !probes->is_shown[way];
    }
    return is_needed && !is_missing;
}

bool probes_are_seen(const struct probes *probes, const struct gate_seen *seen)
{
    for (size_t i = 0; i < probes->count; i++) {
        const struct probe *probe = &probes->list[i];

        if (probe->target.port == seen->endpoint.port && seen->packets <= probe->sent &&
            cidr_contains(&probe->target.address, &seen->endpoint.address))
            return true;
    }
    return false;
}

static int open_wire(struct probes *probes, struct fault_run *run, struct error *error)
{
    struct gate_wire *wire = &probes->wire;
    bool can_show = false;
    int r = wire_open(wire, run, error);

    for (; r == 0 && wire->index && wire->n_targets < probes->count; wire->n_targets++) {
        wire->targets[wire->n_targets] = probes->list[wire->n_targets].target.address;
        can_show |= has_way(probes, wire->n_targets, WAY_FORWARDED);
    }
    probes->is_needed[WAY_FORWARDED] = can_show;
    return r;
}

int probes_open(struct probes *probes, struct gate_spec *spec, struct fault_run *run, struct error *error)
{
    int r = 0;

    probes->spec = spec;
    if (!spec->is_out || spec->cgroup)
        return 0;
    choose_targets(probes);
    probes->is_needed[WAY_OWN] = spec->scope & GATE_HOST || spec->shape;
    if (spec->scope & GATE_FORWARDED)
        r = open_wire(probes, run, error);
    if (r == 0 && probes->wire.index)
        spec->wire = &probes->wire;
    return r;
}
