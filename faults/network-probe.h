/* Own packets that have to meet the gate on their way out: they show that a network fault has an effect. */
#pragma once

#include "wire.h"

/* How an own packet goes out: from here, or as if another host had sent it. */
enum way {
    WAY_OWN,
    WAY_FORWARDED,
    WAYS,
};

/* An own packet to a target. @sent: how often */
struct probe {
    struct endpoint target;
    uint64_t sent;
};

/**
 * struct probes - what can be asked, and what has been shown
 * @spec: of the gate
 * @is_needed: ways on which own packets can show the effect, and so have to; none comes in from outside, or
 * is of another's cgroup
 */
struct probes {
    const struct gate_spec *spec;
    struct gate_wire wire;
    bool is_needed[WAYS], is_shown[WAYS];
    size_t count, n_tries[WAYS];
    struct probe list[GATE_WIRE_MAX];
};

/** probes_open() - choose targets; where packets are forwarded, make a wire, which @spec then names */
int probes_open(struct probes *probes, struct gate_spec *spec, struct fault_run *run, struct error *error);
/** probes_exercise() - send what is needed and not shown yet. Return: 0, -EINPROGRESS = ask again in a
 * moment, or -errno */
int probes_exercise(struct probes *probes, const struct gate *gate, struct error *error);
/** probes_send_udp() - a datagram to each target, beside what shows TCP */
void probes_send_udp(struct probes *probes);
/** probes_have_shown() - was anything needed, and is all of it shown? */
bool probes_have_shown(const struct probes *probes);
/** probes_are_seen() - was it only us who tried to reach this? We wait for nothing */
bool probes_are_seen(const struct probes *probes, const struct gate_seen *seen);
