/* What the network faults have in common: a gate, an own probe through it, and what is measured at it. */
#pragma once

#include <sys/capability.h>

#include "kernel/gate.h"

/** network_plan() - @spec: what is blocked, as for network_inject(); @what: the summary's first words, "lose
 * the zone apse2-az1" */
int network_plan(const struct gate_spec *spec, const char *what, struct fault_plan *plan,
                 struct error *error);

/**
 * network_inject() - put up the gate
 * @spec: blocked, ports, protocols and directions; the rest is the run's. What it points to, but for the
 * addresses, must live as long as the run.
 * @view: "inside" or "outside" for the report, NULL = neither
 */
int network_inject(struct fault_run *run, const struct gate_spec *spec, const char *view,
                   struct error *error);

int network_verify(struct fault_run *run, struct error *error);
int network_exercise(struct fault_run *run, json_t *effect, struct error *error);
int network_measure(struct fault_run *run, json_t *effect, struct error *error);
int network_revert(struct fault_run *run, struct error *error);
int network_verify_reverted(const struct fault_run *run, struct error *error);
void network_release(struct fault_run *run);

/* The members of a descriptor that are the same for every network fault. */
#define NETWORK_FAULT                                                                                        \
    .class = "network", .capabilities = 1ULL << CAP_NET_ADMIN, .supported = gate_supported,                  \
    .verify = network_verify, .exercise = network_exercise, .measure = network_measure,                      \
    .revert = network_revert, .verify_reverted = network_verify_reverted, .release = network_release
