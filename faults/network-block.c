/* network.block: packets to and from some addresses vanish. */
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

static struct gate_spec block_spec(const struct block_parameters *parameters)
{
    unsigned int any = GATE_TCP | GATE_UDP | (parameters->ports.count ? 0 : GATE_OTHER);

    return (struct gate_spec){
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
    const struct gate_spec spec = block_spec(parameters);

    return network_plan(&spec, "block addresses", plan, error);
}

static int block_inject(struct fault_run *run, struct error *error)
{
    const struct gate_spec spec = block_spec(run->parameters);

    return network_inject(run, &spec, NULL, error);
}

/* Not FAULT_SELF_EXERCISED: nobody here can make packets come in. Outbound, network_exercise() is as strict.
 */
const struct fault fault_network_block = {
    .name = "network.block",
    .summary = "packets to and from some addresses vanish",
    .flags = FAULT_REVERSIBLE,
    .parameters = block_table,
    .parameters_size = sizeof(struct block_parameters),
    .plan = block_plan,
    .inject = block_inject,
    NETWORK_FAULT,
};
