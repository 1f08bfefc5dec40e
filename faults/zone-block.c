/*
 * zone.block: a zone dies, on both of its sides. A host inside loses everything but the lifeline; a host
 * outside loses the zone's subnets, as the mandate's zone map has them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "network.h"

struct zone_parameters {
    const char *zone, *cgroup;
    int is_isolated, scope;
};

static const struct fault_parameter zone_table[] = {
    {"zone", PARAMETER_ZONE, NULL, 0, 0, NULL, false, NULL, "zone id, as the mandate's zone map names it",
     offsetof(struct zone_parameters, zone)},
    NETWORK_SCOPE(struct zone_parameters),
    NETWORK_CGROUP(struct zone_parameters),
    NETWORK_ISOLATE(struct zone_parameters),
    {},
};

static const struct parameter_ports all_ports;
static const struct cidr everything[] = {{AF_INET, 0, {0}}, {AF_INET6, 0, {0}}};

static bool is_inside(const struct zone_parameters *parameters, const struct fault_host *host)
{
    return host->zone && strcmp(host->zone, parameters->zone) == 0;
}

/* @ret_blocked: memory that the spec borrows */
static int zone_spec(const struct zone_parameters *parameters, const struct mandate *mandate,
                     const struct fault_host *host, struct parameter_cidrs *ret_blocked,
                     struct gate_spec *ret, struct error *error)
{
    const struct zone *zone = mandate_zone(mandate, parameters->zone);

    if (!zone || !zone->n_cidrs)
        return error_set(error, EINVAL, "zone.block: the mandate's zone map has no subnets for '%s'",
                         parameters->zone);
    *ret_blocked = is_inside(parameters, host)
                       ? (struct parameter_cidrs){ARRAY_SIZE(everything), (struct cidr *)everything}
                       : (struct parameter_cidrs){zone->n_cidrs, zone->cidrs};
    *ret = (struct gate_spec){
        .targets = ret_blocked,
        .ports = &all_ports,
        .protocols = GATE_TCP | GATE_UDP | GATE_OTHER,
        .is_out = true,
        .is_in = true,
        .scope = network_scope(parameters->scope),
        .cgroup = parameters->cgroup,
        .is_isolated = parameters->is_isolated,
    };
    return 0;
}

static int zone_check(const void *parameters, const struct mandate *mandate, struct error *error)
{
    const struct zone_parameters *own = parameters;

    return network_check_scope(own->scope, own->is_isolated, own->cgroup, error);
}

static bool zone_isolates(const void *parameters)
{
    return ((const struct zone_parameters *)parameters)->is_isolated;
}

static int zone_plan(const void *parameters, const struct mandate *mandate, const struct fault_host *host,
                     struct fault_plan *plan, struct error *error)
{
    const struct zone_parameters *own = parameters;
    struct parameter_cidrs blocked;
    struct gate_spec spec;
    char what[128];
    int r = zone_spec(own, mandate, host, &blocked, &spec, error);

    if (r < 0)
        return r;
    plan->is_victim = is_inside(own, host);
    snprintf(what, sizeof(what),
             !plan->is_victim   ? "lose the zone %.64s"
             : own->is_isolated ? "die with the zone %.64s"
                                : "die with the zone %.64s, but for the lifeline",
             own->zone);
    return network_plan(&spec, what, plan, error);
}

static int zone_inject(struct fault_run *run, struct error *error)
{
    const char *view = is_inside(run->parameters, run->host) ? "inside" : "outside";
    struct parameter_cidrs blocked;
    struct gate_spec spec;
    int r = zone_spec(run->parameters, run->mandate, run->host, &blocked, &spec, error);

    return r < 0 ? r : network_inject(run, &spec, view, error);
}

/* As for network.block: of one service alone, nobody here can make a packet. */
const struct fault fault_zone_block = {
    .name = "zone.block",
    .summary = "a zone dies: its hosts lose everything, the others lose the zone",
    .flags = FAULT_REVERSIBLE,
    .parameters = zone_table,
    .parameters_size = sizeof(struct zone_parameters),
    .check = zone_check,
    .isolates = zone_isolates,
    .plan = zone_plan,
    .inject = zone_inject,
    .supported = gate_supported,
    NETWORK_FAULT,
};
