/* Network faults over the gate: see network.h. */
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define PROBES_MAX       16
#define PROBE_PORT       9  /* discard; used when no ports are given */
#define SILENT_TRIES     25 /* a datagram reaches the egress hook only after its neighbour has answered */
#define SILENT_WAIT_MSEC 20
#define SUMMARY_CIDRS    6
#define HOSTS_PER_BLOCK  3 /* the first may be our own address, which is reached by loopback */

/* An own packet to a blocked address. @sent: how often */
struct probe {
    struct endpoint target;
    uint64_t sent;
};

struct network {
    struct gate gate;
    struct gate_spec spec;
    const char *view;
    bool is_out_exercised;
    size_t n_probes;
    struct probe probes[PROBES_MAX];
};

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

static void add_probe(struct network *network, const struct cidr *address)
{
    const struct parameter_ports *ports = network->spec.ports;

    if (network->n_probes == PROBES_MAX || gate_is_exempt(&network->spec, address))
        return;
    network->probes[network->n_probes++].target =
        (struct endpoint){*address, ports->count ? ports->ranges[0].from : PROBE_PORT};
}

/* Addresses for documentation (RFC 5737, RFC 3849) and coordinators, to which the lifeline lets only the
 * courier: what can be asked when "everything" is blocked. */
static void choose_probes(struct network *network)
{
    static const char *const others[] = {"192.0.2.1", "2001:db8::1"};
    const struct parameter_cidrs *blocked = network->spec.blocked;
    const struct lifeline *lifeline = network->spec.lifeline;
    struct cidr address;

    for (size_t i = 0; i < blocked->count; i++) {
        const struct cidr *block = &blocked->cidrs[i];

        for (size_t k = 0; block->prefix == 0 && k < lifeline->n_coordinators; k++)
            if (cidr_contains(block, &lifeline->coordinators[k].address))
                add_probe(network, &lifeline->coordinators[k].address);
        for (size_t k = 0; block->prefix == 0 && k < ARRAY_SIZE(others); k++)
            if (cidr_parse(&address, others[k], NULL) == 0 && cidr_contains(block, &address))
                add_probe(network, &address);
        /* not the first address of a network, which is nobody's; of a single host it is the only one */
        for (unsigned int step = !cidr_is_host(block); block->prefix && step <= HOSTS_PER_BLOCK; step++)
            if (cidr_host(block, step, &address))
                add_probe(network, &address);
    }
}

static void send_probe(struct probe *probe, bool is_udp)
{
    _cleanup_close_ int fd = socket(probe->target.address.family,
                                    (is_udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_in in4 = {.sin_family = AF_INET, .sin_port = htons(probe->target.port)};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(probe->target.port)};
    bool is_4 = probe->target.address.family == AF_INET;
    const struct sockaddr *address = is_4 ? (struct sockaddr *)&in4 : (struct sockaddr *)&in6;

    memcpy(&in4.sin_addr, probe->target.address.address, sizeof(in4.sin_addr));
    memcpy(&in6.sin6_addr, probe->target.address.address, sizeof(in6.sin6_addr));
    if (connect(fd, address, is_4 ? sizeof(in4) : sizeof(in6)) == 0 || errno == EINPROGRESS)
        probe->sent++;
    if (is_udp && send(fd, "", 1, MSG_NOSIGNAL) < 0)
        return; /* no effect shows in the counter */
}

/* Sends until the gate has dropped one. Return: 1, 0 or -errno */
static int probe_all(struct network *network, bool is_udp, struct error *error)
{
    bool is_silent = is_udp && network->gate.has_egress;
    struct gate_packets before, now;
    int r = gate_packets(&network->gate, &before, error);

    for (size_t i = 0; i < network->n_probes && r == 0; i++) {
        send_probe(&network->probes[i], is_udp);
        r = gate_packets(&network->gate, &now, error);
        if (r == 0 && (is_silent ? now.silent > before.silent : now.out > before.out))
            r = 1;
    }
    return r;
}

static int exercise_out(struct network *network, struct error *error)
{
    bool is_udp = !(network->spec.protocols & GATE_TCP);
    int r = 0;

    for (int tries = is_udp ? SILENT_TRIES : 1; tries > 0 && r == 0 && !network->is_out_exercised; tries--) {
        r = probe_all(network, is_udp, error);
        network->is_out_exercised = r == 1;
        if (r == 0 && tries > 1)
            poll(NULL, 0, SILENT_WAIT_MSEC);
    }
    if (r < 0 || network->is_out_exercised)
        return r < 0 ? r : 0;
    return error_set(error, EIO,
                     "none of %zu own packets to blocked addresses was dropped (is there a route to them?)",
                     network->n_probes);
}

/* Our own probes wait for nothing. */
static bool is_own(const struct network *network, const struct gate_seen *seen)
{
    for (size_t i = 0; i < network->n_probes; i++) {
        const struct probe *probe = &network->probes[i];

        if (probe->target.port == seen->endpoint.port && seen->packets <= probe->sent &&
            cidr_contains(&probe->target.address, &seen->endpoint.address))
            return true;
    }
    return false;
}

static json_t *list_waiting(const struct network *network, struct error *error)
{
    struct gate_seen seen[2 * GATE_SEEN_MAX];
    int count = gate_waiting(&network->gate, seen, error);
    json_t *list = count < 0 ? NULL : json_array();
    char text[ENDPOINT_TEXT_MAX];

    for (int i = 0; i < count; i++)
        if (!is_own(network, &seen[i]))
            json_array_append_new(list, json_string(endpoint_format(&seen[i].endpoint, text)));
    return list;
}

int network_measure(struct fault_run *run, json_t *effect, struct error *error)
{
    struct network *network = run->state;
    json_t *directions = json_object(), *waiting;
    struct gate_packets packets;
    int r = gate_packets(&network->gate, &packets, error);

    json_object_set_new(effect, "directions", directions);
    if (r < 0)
        return r;
    if (network->view)
        json_object_set_new(effect, "view", json_string(network->view));
    if (network->spec.is_in) {
        json_object_set_new(directions, "in", json_string(packets.in ? "exercised" : "armed"));
        json_object_set_new(effect, "in_packets", json_integer(packets.in));
    }
    if (!network->spec.is_out)
        return 0;
    json_object_set_new(directions, "out", json_string(network->is_out_exercised ? "exercised" : "armed"));
    json_object_set_new(effect, "out_packets", json_integer(packets.out));
    waiting = list_waiting(network, error);
    return waiting ? json_object_set_new(effect, "waiting", waiting) : -EIO;
}

/* Nothing of our own can come in from outside: that direction is exercised when traffic came. */
int network_exercise(struct fault_run *run, json_t *effect, struct error *error)
{
    struct network *network = run->state;
    int r = network->spec.is_out ? exercise_out(network, error) : 0;

    if (r == 0)
        r = network_measure(run, effect, error);
    if (r == 0 && !network->spec.is_out && json_integer_value(json_object_get(effect, "in_packets")) == 0)
        r = error_set(error, EAGAIN, "nothing has come in yet");
    return r;
}

int network_inject(struct fault_run *run, const struct gate_spec *spec, const char *view, struct error *error)
{
    _cleanup_free_ struct network *network = calloc(1, sizeof(*network));
    char name[FAULT_OBJECT_NAME_MAX];
    int r;

    if (!network)
        return error_oom(error);
    network->view = view;
    network->spec = *spec;
    network->spec.name = fault_object_name(run->order, name);
    network->spec.deadline_boot_nsec = run->deadline_boot_nsec;
    network->spec.protected = run->host->protected_cidrs;
    network->spec.lifeline = run->host->lifeline;
    choose_probes(network);
    r = gate_add_undos(run->record, run->record_fd, name, error);
    if (r == 0)
        r = gate_open(&network->gate, &network->spec, error);
    if (r < 0)
        return r;
    network->spec.name = network->gate.name;
    network->spec.blocked = NULL; /* the caller's; not needed any more */
    run->state = TAKE_PTR(network);
    return 0;
}

int network_verify(struct fault_run *run, struct error *error)
{
    struct network *network = run->state;

    return gate_verify(&network->gate, error);
}

int network_revert(struct fault_run *run, struct error *error)
{
    struct network *network = run->state;

    return gate_remove(&network->gate, error);
}

int network_verify_reverted(const struct fault_run *run, struct error *error)
{
    char name[FAULT_OBJECT_NAME_MAX];

    return gate_is_gone(fault_object_name(run->order, name), error);
}

void network_release(struct fault_run *run)
{
    struct network *network = run->state;

    if (network)
        gate_close(&network->gate);
    free(network);
    run->state = NULL;
}

static void list_cidrs(const struct parameter_cidrs *cidrs, char *ret, size_t size)
{
    char text[CIDR_TEXT_MAX];
    size_t used = 0;

    for (size_t i = 0; i < cidrs->count && i < SUMMARY_CIDRS; i++)
        used += snprintf(ret + used, size - used, "%s%s", i ? ", " : "", cidr_format(&cidrs->cidrs[i], text));
    if (cidrs->count > SUMMARY_CIDRS)
        snprintf(ret + used, size - used, " and %zu more", cidrs->count - SUMMARY_CIDRS);
}

static void list_ports(const struct parameter_ports *ports, char *ret, size_t size)
{
    size_t used = ports->count ? (size_t)snprintf(ret, size, ", ports") : 0;

    for (size_t i = 0; i < ports->count && used < size; i++) {
        const struct port_range *range = &ports->ranges[i];

        used += snprintf(ret + used, size - used, range->from == range->to ? "%s%u" : "%s%u-%u",
                         i ? ", " : " ", range->from, range->to);
    }
}

static int plan_limits(const struct gate_spec *spec, json_t *limits)
{
    static const char *const always[] = {
        "packets forwarded for containers and virtual machines are not reached",
        "packets that an eBPF data path (XDP, tc) handles past netfilter are not reached",
        "raw packet sockets are not reached",
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        r |= json_array_append_new(limits, json_string(always[i]));
    if (spec->is_out && spec->protocols & GATE_UDP)
        r |= json_array_append_new(
            limits,
            json_string(gate_has_egress() ? "UDP through a device that is added later is not dropped"
                                          : "UDP senders see EPERM at once: silence needs kernel 5.16"));
    return r;
}

int network_plan(const struct gate_spec *spec, const char *what, struct fault_plan *plan, struct error *error)
{
    const char *protocols = spec->protocols & GATE_OTHER    ? "all protocols"
                            : !(spec->protocols & GATE_UDP) ? "TCP"
                            : spec->protocols & GATE_TCP    ? "TCP and UDP"
                                                            : "UDP";
    const char *direction = spec->is_out && spec->is_in ? "to and from" : spec->is_out ? "to" : "from";
    char cidrs[SUMMARY_CIDRS * (CIDR_TEXT_MAX + 2) + 32], ports[512] = "";

    list_cidrs(spec->blocked, cidrs, sizeof(cidrs));
    list_ports(spec->ports, ports, sizeof(ports));
    if (json_array_append_new(plan->summary, json_sprintf("%s: drop %s %s %s%s", what, protocols, direction,
                                                          cidrs, ports)) < 0 ||
        plan_limits(spec, plan->limits) < 0)
        return error_oom(error);
    return 0;
}
