/* network.block: packets to and from some addresses vanish. */
#include <sys/capability.h>

#include "network.h"

enum protocol {
    PROTOCOL_ANY,
    PROTOCOL_TCP,
    PROTOCOL_UDP,
};

enum direction {
    DIRECTION_BOTH,
    DIRECTION_IN,
    DIRECTION_OUT,
};

static const char *const protocols[] = {"any", "tcp", "udp", NULL};
static const char *const directions[] = {"both", "in", "out", NULL};

struct block_parameters {
    struct parameter_cidrs cidrs;
    struct parameter_ports ports;
    int protocol, direction;
};

static const struct fault_parameter block_table[] = {
    {"cidrs", PARAMETER_CIDRS, NULL, 1, 100000, NULL, false, NULL, "address blocks to cut off, IPv4 and IPv6",
     offsetof(struct block_parameters, cidrs)},
    {"ports", PARAMETER_PORTS, NULL, 1, 256, NULL, true, NULL,
     "destination ports, of packets in either direction; without: all",
     offsetof(struct block_parameters, ports)},
    {"protocol", PARAMETER_CHOICE, NULL, 0, 0, "any", false, protocols, "which packets",
     offsetof(struct block_parameters, protocol)},
    {"direction", PARAMETER_CHOICE, NULL, 0, 0, "both", false, directions, "as seen from this host",
     offsetof(struct block_parameters, direction)},
    {},
};

static struct network_rule block_rule(const struct block_parameters *parameters)
{
    unsigned int any = GATE_TCP | GATE_UDP | (parameters->ports.count ? 0 : GATE_OTHER);

    return (struct network_rule){
        .blocked = &parameters->cidrs,
        .ports = &parameters->ports,
        .protocols = parameters->protocol == PROTOCOL_TCP   ? GATE_TCP
                     : parameters->protocol == PROTOCOL_UDP ? GATE_UDP
                                                            : any,
        .is_out = parameters->direction != DIRECTION_IN,
        .is_in = parameters->direction != DIRECTION_OUT,
    };
}

static int block_plan(const void *parameters, const struct mandate *mandate, const struct fault_host *host,
                      struct fault_plan *plan, struct error *error)
{
    const struct network_rule rule = block_rule(parameters);

    return network_plan(&rule, "block addresses", plan, error);
}

static int block_inject(struct fault_run *run, struct error *error)
{
    const struct network_rule rule = block_rule(run->parameters);

    return network_inject(run, &rule, error);
}

/* Not FAULT_SELF_EXERCISED: nobody here can make packets come in. Outbound, network_exercise() is as strict.
 */
const struct fault fault_network_block = {
    .name = "network.block",
    .summary = "packets to and from some addresses vanish",
    .class = "network",
    .flags = FAULT_REVERSIBLE,
    .capabilities = NETWORK_CAPABILITIES,
    .parameters = block_table,
    .parameters_size = sizeof(struct block_parameters),
    .supported = gate_supported,
    .plan = block_plan,
    .inject = block_inject,
    .verify = network_verify,
    .exercise = network_exercise,
    .measure = network_measure,
    .revert = network_revert,
    .verify_reverted = network_verify_reverted,
    .release = network_release,
};
