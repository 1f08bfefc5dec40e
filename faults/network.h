/* What the network faults have in common: a gate, an own probe through it, and what is measured at it. */
#pragma once

#include <sys/capability.h>

#include "kernel/gate.h"

/** struct network_targets - parameters of every fault that names addresses: the first member of its own
 * struct
 */
struct network_targets {
    struct parameter_cidrs cidrs;
    struct parameter_ports ports;
    int protocol, direction, scope;
    const char *cgroup;
};
extern const char *const network_protocols[], *const network_directions[];

extern const char *const network_isolations[]; /* "none", "full" */
extern const char *const network_scopes[];     /* "host", "containers", "all" */

/* clang-format off */
#define NETWORK_ISOLATE(type)                                                                                \
    {"isolate", PARAMETER_CHOICE, NULL, 0, 0, "none", false, network_isolations,                             \
     "full: the lifeline is cut too, and nobody can halt it from outside; the host's policy has to allow it", \
     offsetof(type, is_isolated)}
#define NETWORK_SCOPE(type)                                                                                  \
    {"scope", PARAMETER_CHOICE, NULL, 0, 0, "host", false, network_scopes,                                   \
     "whose packets: the host's own, those that it forwards for its containers and virtual machines, or all", \
     offsetof(type, scope)}
#define NETWORK_CGROUP(type)                                                                                 \
    {"cgroup", PARAMETER_STRING, NULL, 1, 255, NULL, true, NULL,                                             \
     "only packets of this service's sockets: end of its cgroup's path, like nginx.service",                 \
     offsetof(type, cgroup)}
#define NETWORK_TARGETS                                                                                      \
    {"cidrs", PARAMETER_CIDRS, NULL, 1, 100000, NULL, false, NULL,                                           \
     "address blocks of the other side, IPv4 and IPv6", offsetof(struct network_targets, cidrs)},            \
    {"ports", PARAMETER_PORTS, NULL, 1, 256, NULL, true, NULL,                                               \
     "destination ports, of packets in either direction; without: all",                                      \
     offsetof(struct network_targets, ports)},                                                               \
    {"protocol", PARAMETER_CHOICE, NULL, 0, 0, "any", false, network_protocols, "which packets",             \
     offsetof(struct network_targets, protocol)},                                                            \
    {"direction", PARAMETER_CHOICE, NULL, 0, 0, "both", false, network_directions,                           \
     "as seen from this host", offsetof(struct network_targets, direction)},                                 \
    NETWORK_SCOPE(struct network_targets),                                                                   \
    NETWORK_CGROUP(struct network_targets)
/* clang-format on */

/** network_spec() - what the parameters mean for a gate */
struct gate_spec network_spec(const struct network_targets *targets);

/** network_scope() - gate_scope bits of the parameter */
unsigned int network_scope(int scope);
/** network_check_scope() - one service and the lifeline are the host's own: not of forwarded packets alone */
int network_check_scope(int scope, int is_isolated, const char *cgroup, struct error *error);
/** network_check_forwarding() - -EOPNOTSUPP when nothing is forwarded here and the fault is about nothing
 * else */
int network_check_forwarding(const struct gate_spec *spec, struct error *error);

/** network_plan() - @spec: what is dropped or shaped, as for network_inject(); @what: the summary's first
 * words, "lose the zone apse2-az1" */
int network_plan(const struct gate_spec *spec, const char *what, struct fault_plan *plan,
                 struct error *error);

/**
 * network_inject() - put up the gate
 * @spec: targets, ports, protocols and directions; the rest is the run's. What it points to, but for the
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
    .class = "network", .mechanisms = MECHANISM_NETLINK, .capabilities = 1ULL << CAP_NET_ADMIN,              \
    .verify = network_verify, .exercise = network_exercise, .measure = network_measure,                      \
    .revert = network_revert, .verify_reverted = network_verify_reverted, .release = network_release
