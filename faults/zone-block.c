/*
 * zone.block: a zone dies, on both of its sides. A host inside loses everything but the lifeline; a host
 * outside loses the zone's subnets, as the mandate's zone map has them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>

#include "network.h"

struct zone_parameters {
    const char *zone;
};

static const struct fault_parameter zone_table[] = {
    {"zone", PARAMETER_ZONE, NULL, 0, 0, NULL, false, NULL, "zone id, as the mandate's zone map names it",
     offsetof(struct zone_parameters, zone)},
    {},
};

static const struct parameter_ports all_ports;
static const struct cidr everything[] = {{AF_INET, 0, {0}}, {AF_INET6, 0, {0}}};

static bool is_inside(const struct zone_parameters *parameters, const struct fault_host *host)
{
    return host->zone && strcmp(host->zone, parameters->zone) == 0;
}

/* @ret_blocked: memory that the rule borrows */
static int zone_rule(const struct zone_parameters *parameters, const struct mandate *mandate,
                     const struct fault_host *host, struct parameter_cidrs *ret_blocked,
                     struct network_rule *ret, struct error *error)
{
    const struct zone *zone = mandate_zone(mandate, parameters->zone);
    bool inside = is_inside(parameters, host);

    if (!zone || !zone->n_cidrs)
        return error_set(error, EINVAL, "zone.block: the mandate's zone map has no subnets for '%s'",
                         parameters->zone);
    *ret_blocked = inside ? (struct parameter_cidrs){ARRAY_SIZE(everything), (struct cidr *)everything}
                          : (struct parameter_cidrs){zone->n_cidrs, zone->cidrs};
    *ret = (struct network_rule){
        .blocked = ret_blocked,
        .ports = &all_ports,
        .protocols = GATE_TCP | GATE_UDP | GATE_OTHER,
        .is_out = true,
        .is_in = true,
        .view = inside ? "inside" : "outside",
    };
    return 0;
}

static int zone_plan(const void *parameters, const struct mandate *mandate, const struct fault_host *host,
                     struct fault_plan *plan, struct error *error)
{
    const struct zone_parameters *own = parameters;
    struct parameter_cidrs blocked;
    struct network_rule rule;
    char what[128];
    int r = zone_rule(own, mandate, host, &blocked, &rule, error);

    if (r < 0)
        return r;
    plan->is_victim = is_inside(own, host);
    snprintf(what, sizeof(what),
             plan->is_victim ? "die with the zone %.64s, but for the lifeline" : "lose the zone %.64s",
             own->zone);
    return network_plan(&rule, what, plan, error);
}

static int zone_inject(struct fault_run *run, struct error *error)
{
    struct parameter_cidrs blocked;
    struct network_rule rule;
    int r = zone_rule(run->parameters, run->mandate, run->host, &blocked, &rule, error);

    return r < 0 ? r : network_inject(run, &rule, error);
}

const struct fault fault_zone_block = {
    .name = "zone.block",
    .summary = "a zone dies: its hosts lose everything, the others lose the zone",
    .class = "network",
    .flags = FAULT_REVERSIBLE | FAULT_SELF_EXERCISED,
    .capabilities = NETWORK_CAPABILITIES,
    .parameters = zone_table,
    .parameters_size = sizeof(struct zone_parameters),
    .supported = gate_supported,
    .plan = zone_plan,
    .inject = zone_inject,
    .verify = network_verify,
    .exercise = network_exercise,
    .measure = network_measure,
    .revert = network_revert,
    .verify_reverted = network_verify_reverted,
    .release = network_release,
};
