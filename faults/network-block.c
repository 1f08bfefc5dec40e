/* network.block: packets to and from some addresses vanish. */
#include "network.h"

struct block_parameters {
    struct network_targets targets;
    int is_isolated;
};

static const struct fault_parameter block_table[] = {
    NETWORK_TARGETS,
    NETWORK_ISOLATE(struct block_parameters),
    {},
};

static struct gate_spec block_spec(const struct block_parameters *parameters)
{
    struct gate_spec spec = network_spec(&parameters->targets);

    spec.is_isolated = parameters->is_isolated;
    return spec;
}

static int block_check(const void *parameters, const struct mandate *mandate, struct error *error)
{
    const struct block_parameters *own = parameters;

    return network_check_scope(own->targets.scope, own->is_isolated, own->targets.cgroup, error);
}

static bool block_isolates(const void *parameters)
{
    return ((const struct block_parameters *)parameters)->is_isolated;
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

/* Not FAULT_SELF_EXERCISED: nobody here can make packets come in, or packets of another's cgroup. Else,
 * outbound, network_exercise() is as strict. */
const struct fault fault_network_block = {
    .name = "network.block",
    .summary = "packets to and from some addresses vanish",
    .flags = FAULT_REVERSIBLE,
    .parameters = block_table,
    .parameters_size = sizeof(struct block_parameters),
    .check = block_check,
    .isolates = block_isolates,
    .plan = block_plan,
    .inject = block_inject,
    .supported = gate_supported,
    NETWORK_FAULT,
};
