/* What a shaping network fault has besides its gate: a device for each direction, named after the order.
 * Where the gate's spec has no shape, nothing is made and nothing is found. */
#pragma once

#include "kernel/gate.h"
#include "kernel/shaper.h"

/** shapers_open() - make them, each an undo step before; sets shaper_out and shaper_in of @spec */
int shapers_open(struct gate_spec *spec, struct fault_run *run, struct error *error);
/** shapers_verify() - read them back. Return: 0, -FAULT_HARMS, -errno */
int shapers_verify(const struct gate_spec *spec, const char *order, struct error *error);
/** shapers_measure() - `out_lost`, `in_lost` into @effect: by chance, as ordered, or for a full queue */
int shapers_measure(const struct gate_spec *spec, const char *order, json_t *effect, struct error *error);
/** shapers_close() - 0 also when there are none; allocates nothing */
int shapers_close(const char *order, struct error *error);
/** shapers_are_gone() - Return: 0, -EEXIST or -errno */
int shapers_are_gone(const char *order, struct error *error);
