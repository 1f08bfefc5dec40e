/* Which packets a network fault is about: as a gate takes them, and in words, with what it can't reach. */
#include <errno.h>
#include <stdio.h>

#include "kernel/forwarding.h"
#include "kernel/shaper.h"
#include "network.h"

#define SUMMARY_CIDRS 6

enum protocol {
    PROTOCOL_ANY,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
};
const char *const network_protocols[] = {"any", "tcp", "udp", NULL};

enum direction {
    DIRECTION_BOTH,
    DIRECTION_IN,
    DIRECTION_OUT,
};
const char *const network_directions[] = {"both", "in", "out", NULL};

const char *const network_isolations[] = {"none", "full", NULL};

enum scope {
    SCOPE_HOST,
    SCOPE_CONTAINERS,
    SCOPE_ALL,
};
const char *const network_scopes[] = {"host", "containers", "all", NULL};

unsigned int network_scope(int scope)
{
    static const unsigned int bits[] = {
        [SCOPE_HOST] = GATE_HOST,
        [SCOPE_CONTAINERS] = GATE_FORWARDED,
        [SCOPE_ALL] = GATE_HOST | GATE_FORWARDED,
    };

    return bits[scope];
}

int network_check_scope(int scope, int is_isolated, const char *cgroup, struct error *error)
{
    if (is_isolated && cgroup)
        return error_set(error, EINVAL, "isolate: full is of the whole host: leave cgroup out, or it");
    if (cgroup && scope != SCOPE_HOST)
        return error_set(error, EINVAL,
                         "cgroup: goes with scope: host alone: a forwarded packet has no socket here");
    if (is_isolated && scope == SCOPE_CONTAINERS)
        return error_set(error, EINVAL, "isolate: full is of the host itself: give scope: host or all");
    return 0;
}

static const sa_family_t families[] = {AF_INET, AF_INET6};

static bool has_family(const struct gate_spec *spec, sa_family_t family)
{
    for (size_t i = 0; i < spec->targets->count; i++)
        if (spec->targets->cidrs[i].family == family)
            return true;
    return false;
}

int network_check_forwarding(const struct gate_spec *spec, struct error *error)
{
    for (size_t i = 0; i < ARRAY_SIZE(families); i++)
        if (spec->scope & GATE_HOST || (has_family(spec, families[i]) && forwarding_is_on(families[i])))
            return 0;
    return error_set(error, EOPNOTSUPP,
                     "scope: containers: this host forwards no packets to such addresses "
                     "(net.ipv4.ip_forward, net.ipv6.conf.all.forwarding): nothing would be reached");
}

struct gate_spec network_spec(const struct network_targets *targets)
{
    unsigned int any = GATE_TCP | GATE_UDP | (targets->ports.count ? 0 : GATE_OTHER);

    return (struct gate_spec){
        .targets = &targets->cidrs,
        .ports = &targets->ports,
        .protocols = targets->protocol == PROTOCOL_TCP   ? GATE_TCP
                     : targets->protocol == PROTOCOL_UDP ? GATE_UDP
                                                         : any,
        .is_out = targets->direction != DIRECTION_IN,
        .is_in = targets->direction != DIRECTION_OUT,
        .scope = network_scope(targets->scope),
        .cgroup = targets->cgroup,
    };
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

/* First of all, and in capitals: whoever signs this has no way back before the deadline. */
static int plan_isolation(const struct gate_spec *spec, struct fault_plan *plan)
{
    int r = 0;

    if (spec->is_isolated) {
        r |= json_array_append_new(
            plan->summary, json_string("ISOLATION: THE LIFELINE IS CUT TOO. No halt from the coordinator, no "
                                       "SSH, no DNS, NTP, DHCP or metadata; only root on the host can end it "
                                       "before its deadline"));
        r |= json_array_append_new(
            plan->limits,
            json_string("isolated, a host hears no coordinator: after the policy's lost_contact_after_s "
                        "every fault on it ends, this one too"));
    }
    return r;
}

static int append_all(json_t *list, const char *const *words, size_t count)
{
    int r = 0;

    for (size_t i = 0; i < count; i++)
        r |= json_array_append_new(list, json_string(words[i]));
    return r;
}

static int plan_forwarding(const struct gate_spec *spec, json_t *limits)
{
    static const char *const of_host[] = {
        "packets forwarded for containers and virtual machines are not reached (scope: containers or all "
        "does)",
    };
    static const char *const of_forwarded[] = {
        "packets that stay on one bridge (between its containers) are not forwarded, and not reached",
        "connections that a flowtable offloads are not reached",
        "ports and addresses of containers are those inside, not those that the host publishes for them",
        "of the lifeline, SSH, the coordinators and what the policy protects pass to and from containers",
    };
    static const char *const none[] = {
        "IPv4 is not forwarded on this host (net.ipv4.ip_forward): nothing of containers is reached by it",
        "IPv6 is not forwarded on this host (net.ipv6.conf.all.forwarding): nothing of containers is reached "
        "by it",
    };
    int r = 0;

    if (spec->shape && spec->is_in && spec->scope == GATE_HOST)
        r |= json_array_append_new(
            limits,
            json_string("what comes in for a port that the host publishes for a container is shaped"));
    if (!(spec->scope & GATE_FORWARDED))
        return r | append_all(limits, of_host, ARRAY_SIZE(of_host));
    if (!(spec->scope & GATE_HOST))
        r |= json_array_append_new(
            limits, json_string("containers in the host's own network are the host, and not reached"));
    for (size_t i = 0; i < ARRAY_SIZE(none); i++)
        if (has_family(spec, families[i]) && !forwarding_is_on(families[i]))
            r |= json_array_append_new(limits, json_string(none[i]));
    return r | append_all(limits, of_forwarded, ARRAY_SIZE(of_forwarded));
}

static int plan_limits(const struct gate_spec *spec, json_t *limits)
{
    static const char *const always[] = {
        "packets that an eBPF data path (XDP, tc) handles past netfilter are not reached",
        "raw packet sockets are not reached",
    };
    static const char *const of_shape[] = {
        "TCP segments that the kernel sends as one (offload) are delayed or lost as one",
        "loading the kernel module ifb may leave its unused devices ifb0 and ifb1",
    };
    static const char *const of_cgroup[] = {
        "a restart of the service that makes its cgroup anew ends the effect: the new cgroup is not reached",
        "sockets that another process opened for the service (socket activation) are not reached",
        "packets without a full socket (answers to a new connection's SYN, TIME_WAIT, resets) are not "
        "reached",
        "only the service itself can show the effect: it stays armed until packets of its own are met",
    };
    int r = plan_forwarding(spec, limits) | append_all(limits, always, ARRAY_SIZE(always));

    if (spec->shape)
        r |= append_all(limits, of_shape, ARRAY_SIZE(of_shape));
    if (spec->shape && !gate_adds_devices())
        r |= json_array_append_new(
            limits,
            json_string("packets through a device that is added later are not shaped: needs kernel 6.4"));
    if (spec->cgroup)
        r |= append_all(limits, of_cgroup, ARRAY_SIZE(of_cgroup));
    if (!spec->shape && spec->is_out && spec->protocols & GATE_UDP && spec->scope & GATE_HOST &&
        !gate_adds_devices())
        r |= json_array_append_new(
            limits,
            json_string(gate_has_egress()
                            ? "UDP through a device that is added later is not dropped: needs kernel 6.4"
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
    const char *whose = spec->scope == GATE_HOST        ? ""
                        : spec->scope == GATE_FORWARDED ? ", only of what the host forwards"
                                                        : ", of the host and of what it forwards";
    struct cgroup cgroup;
    int r = gate_find_cgroup(spec, &cgroup, error);

    if (r == 0)
        r = network_check_forwarding(spec, error);
    if (r == 0)
        r = gate_check_devices(spec, error);
    if (r < 0)
        return r;
    list_cidrs(spec->targets, cidrs, sizeof(cidrs));
    list_ports(spec->ports, ports, sizeof(ports));
    if (plan_isolation(spec, plan) < 0 ||
        json_array_append_new(plan->summary,
                              json_sprintf("%s: %s %s %s %s%s%s%s%s", what, spec->shape ? "shape" : "drop",
                                           protocols, direction, cidrs, ports, whose,
                                           spec->cgroup ? ", only of the cgroup " : "", cgroup.path)) < 0 ||
        plan_limits(spec, plan->limits) < 0)
        return error_oom(error);
    return 0;
}
