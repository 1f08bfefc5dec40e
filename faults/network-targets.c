/* Which packets a network fault is about: as a gate takes them, and in words, with what it can't reach. */
#include <errno.h>
#include <stdio.h>

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

int network_check_isolation(int is_isolated, const char *cgroup, struct error *error)
{
    return is_isolated && cgroup
               ? error_set(error, EINVAL, "isolate: full is of the whole host: leave cgroup out, or it")
               : 0;
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

static int plan_limits(const struct gate_spec *spec, json_t *limits)
{
    static const char *const always[] = {
        "packets forwarded for containers and virtual machines are not reached",
        "packets that an eBPF data path (XDP, tc) handles past netfilter are not reached",
        "raw packet sockets are not reached",
    };
    static const char *const of_shape[] = {
        "packets through a device that is added later are not shaped",
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
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(always); i++)
        r |= json_array_append_new(limits, json_string(always[i]));
    for (size_t i = 0; spec->shape && i < ARRAY_SIZE(of_shape); i++)
        r |= json_array_append_new(limits, json_string(of_shape[i]));
    for (size_t i = 0; spec->cgroup && i < ARRAY_SIZE(of_cgroup); i++)
        r |= json_array_append_new(limits, json_string(of_cgroup[i]));
    if (!spec->shape && spec->is_out && spec->protocols & GATE_UDP)
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
    struct cgroup cgroup;
    int r = gate_find_cgroup(spec, &cgroup, error);

    if (r < 0)
        return r;

    list_cidrs(spec->targets, cidrs, sizeof(cidrs));
    list_ports(spec->ports, ports, sizeof(ports));
    if (plan_isolation(spec, plan) < 0 ||
        json_array_append_new(plan->summary,
                              json_sprintf("%s: %s %s %s %s%s%s%s", what, spec->shape ? "shape" : "drop",
                                           protocols, direction, cidrs, ports,
                                           spec->cgroup ? ", only of the cgroup " : "", cgroup.path)) < 0 ||
        plan_limits(spec, plan->limits) < 0)
        return error_oom(error);
    return 0;
}
