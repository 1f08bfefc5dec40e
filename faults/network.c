/* Network faults over the gate: see network.h. */
#include "network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "shapers.h"

#define PROBES_MAX      16
#define PROBE_PORT      9  /* discard; used when no ports are given */
#define SILENT_TRIES    25 /* a datagram reaches the egress hook only after its neighbour has answered */
#define HOSTS_PER_BLOCK 3  /* the first may be our own address, which is reached by loopback */

/* An own packet to a target. @sent: how often */
struct probe {
    struct endpoint target;
    uint64_t sent;
};

struct network {
    struct gate gate;
    struct gate_spec spec;
    struct shaper_spec shape;
    const char *view;
    bool is_of_cgroup, is_out_exercised;
    size_t n_probes, n_tries;
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
    const struct parameter_cidrs *targets = network->spec.targets;
    const struct lifeline *lifeline = network->spec.lifeline;
    struct cidr address;

    for (size_t i = 0; i < targets->count; i++) {
        const struct cidr *block = &targets->cidrs[i];

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

/* What the devices' egress deals with, not the output hook. */
static bool is_at_egress(const struct network *network)
{
    return network->gate.has_egress && (network->spec.shape || !(network->spec.protocols & GATE_TCP));
}

/* Sends until the gate has met one. Return: 1, 0 or -errno */
static int probe_all(struct network *network, struct error *error)
{
    bool is_udp = !(network->spec.protocols & GATE_TCP), is_silent = is_at_egress(network);
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
    bool may_try_again = is_at_egress(network) && ++network->n_tries < SILENT_TRIES;
    int r = network->is_out_exercised ? 1 : probe_all(network, error);

    network->is_out_exercised = r == 1;
    if (r != 0)
        return r < 0 ? r : 0;
    return error_set(error, may_try_again ? EINPROGRESS : EIO,
                     "none of %zu own packets to the addresses was %s (is there a route to them?)",
                     network->n_probes, network->spec.shape ? "shaped" : "dropped");
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

/* After a restart of the service it may be gone, or another of the same name. */
static void measure_cgroup(const struct cgroup *cgroup, json_t *effect)
{
    json_object_set_new(effect, "cgroup", json_string(cgroup->path));
    json_object_set_new(effect, "cgroup_is_gone", json_boolean(!cgroup_is_there(cgroup)));
}

int network_measure(struct fault_run *run, json_t *effect, struct error *error)
{
    struct network *network = run->state;
    json_t *directions = json_object(), *waiting;
    struct gate_packets packets;
    int r = gate_packets(&network->gate, &packets, error);

    json_object_set_new(effect, "directions", directions);
    if (r == 0 && network->spec.shape)
        r = shapers_measure(&network->spec, run->order, effect, error);
    if (r < 0)
        return r;
    if (network->is_of_cgroup)
        measure_cgroup(&network->gate.cgroup, effect);
    network->is_out_exercised |= network->is_of_cgroup && packets.out > 0;
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
    if (network->spec.shape)
        return 0;
    waiting = list_waiting(network, error);
    return waiting ? json_object_set_new(effect, "waiting", waiting) : -EIO;
}

/* Nothing of our own can come in from outside, or be of another's cgroup: that is exercised when traffic
 * came.
 */
int network_exercise(struct fault_run *run, json_t *effect, struct error *error)
{
    struct network *network = run->state;
    bool is_probed = network->spec.is_out && !network->is_of_cgroup;
    struct gate_packets packets;
    int r = is_probed ? exercise_out(network, error) : 0;

    if (r == 0)
        r = network_measure(run, effect, error);
    if (r < 0 || is_probed)
        return r;
    r = gate_packets(&network->gate, &packets, error);
    if (r == 0 && packets.in + packets.out == 0)
        r = error_set(error, EAGAIN,
                      network->is_of_cgroup ? "no packet of the service was met yet"
                                            : "nothing has come in yet");
    return r;
}

int network_inject(struct fault_run *run, const struct gate_spec *spec, const char *view, struct error *error)
{
    _cleanup_free_ struct network *network = calloc(1, sizeof(*network));
    char name[UNDO_NAME_MAX];
    int r;

    if (!network)
        return error_oom(error);
    network->view = view;
    network->spec = *spec;
    if (spec->shape) {
        network->shape = *spec->shape;
        network->spec.shape = &network->shape;
    }
    network->spec.name = undo_object_name(run->order, name);
    network->spec.deadline_boot_nsec = run->deadline_boot_nsec;
    network->spec.protected = run->host->protected_cidrs;
    network->spec.lifeline = run->host->lifeline;
    if (!spec->cgroup)
        choose_probes(network);
    r = shapers_open(&network->spec, run, error);
    if (r == 0)
        r = gate_add_undos(run->record, run->record_fd, name, error);
    if (r == 0)
        r = gate_open(&network->gate, &network->spec, error);
    if (r < 0) {
        shapers_close(run->order, NULL);
        return r;
    }
    network->spec.name = network->gate.name;
    network->spec.targets = NULL; /* the caller's; not needed any more */
    network->is_of_cgroup = spec->cgroup;
    network->spec.cgroup = NULL;
    run->state = TAKE_PTR(network);
    return 0;
}

int network_verify(struct fault_run *run, struct error *error)
{
    struct network *network = run->state;
    int r = gate_verify(&network->gate, error);

    return r < 0 ? r : shapers_verify(&network->spec, run->order, error);
}

/* The rules first: one that leads to a device that is gone loses packets. */
int network_revert(struct fault_run *run, struct error *error)
{
    struct network *network = run->state;
    int r = gate_remove(&network->gate, error);

    return r < 0 || !network->spec.shape ? r : shapers_close(run->order, error);
}

int network_verify_reverted(const struct fault_run *run, struct error *error)
{
    const struct network *network = run->state;
    char name[UNDO_NAME_MAX];
    int r = gate_is_gone(network ? &network->gate : NULL, undo_object_name(run->order, name), error);

    return r < 0 ? r : shapers_are_gone(run->order, error);
}

void network_release(struct fault_run *run)
{
    struct network *network = run->state;

    if (network)
        gate_close(&network->gate);
    free(network);
    run->state = NULL;
}
