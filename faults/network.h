/* What the network faults have in common: a gate, an own probe through it, and what is measured at it. */
#pragma once

#include "kernel/gate.h"

#define NETWORK_CAPABILITIES (1ULL << CAP_NET_ADMIN)

/**
 * struct network_rule - what one fault blocks, everything borrowed; must live as long as the fault's
 * parameters
 * @view: "inside" or "outside" for the report, NULL = neither
 */
struct network_rule {
    const struct parameter_cidrs *blocked;
    const struct parameter_ports *ports;
    unsigned int protocols; /* gate_protocol bits */
    bool is_out, is_in;
    const char *view;
};

/** network_plan() - @what: the summary's first words, "lose the zone apse2-az1" */
int network_plan(const struct network_rule *rule, const char *what, struct fault_plan *plan,
                 struct error *error);
int network_inject(struct fault_run *run, const struct network_rule *rule, struct error *error);

/* These are members of the descriptor as they stand. */
int network_verify(struct fault_run *run, struct error *error);
int network_exercise(struct fault_run *run, json_t *effect, struct error *error);
int network_measure(struct fault_run *run, json_t *effect, struct error *error);
int network_revert(struct fault_run *run, struct error *error);
int network_verify_reverted(const struct fault_run *run, struct error *error);
void network_release(struct fault_run *run);
