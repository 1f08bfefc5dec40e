/*
 * A wire of our own: a pair of devices, named after the order, by which own packets come in as if from
 * another host, so that this host forwards them (struct gate_wire). Nothing else than such packets goes
 * through it.
 */
#pragma once

#include "kernel/gate.h"

/** wire_open() - make it, an undo step before; sets all of @wire but its targets. Where this host forwards
 * nothing, nothing is made and index is 0 */
int wire_open(struct gate_wire *wire, struct fault_run *run, struct error *error);
/** wire_close() - 0 also when there is none; allocates nothing */
int wire_close(const char *order, struct error *error);
/** wire_is_gone() - Return: 0, -EEXIST or -errno */
int wire_is_gone(const char *order, struct error *error);
