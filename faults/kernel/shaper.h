/*
 * The shaper: an ifb of our own with the queueing disciplines that delay, lose and slow down what is sent
 * through it. No device of the host's is touched: packets are brought here by a rule behind a timed set
 * (gate.h), and go on from here where they were on their way to.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

/** struct shaper_spec - what happens to packets; 0 = nothing of the kind */
struct shaper_spec {
    uint32_t delay_usec, jitter_usec;
    uint32_t loss_ppm, duplicate_ppm, corrupt_ppm, reorder_ppm;
    uint64_t rate_bytes_per_sec;
};

/** struct shaper_counters - packets that came, and those lost here (by netem or a full queue) */
struct shaper_counters {
    uint64_t packets, lost;
};

/** shaper_supported() - has this kernel what @spec needs? -EOPNOTSUPP names the module that is missing. Reads
 * only, needs no capability */
int shaper_supported(const struct shaper_spec *spec, struct error *error);
/** shaper_open() - make the ifb @name, up, with its disciplines; after a failure nothing is left. Return: the
 * device's index or -errno */
int shaper_open(const char *name, const struct shaper_spec *spec, struct error *error);
/** shaper_verify() - read back: the device is there, up, and has the disciplines of @spec. Return: 0,
 * -FAULT_CHANGED, -errno */
int shaper_verify(const char *name, const struct shaper_spec *spec, struct error *error);
int shaper_count(const char *name, const struct shaper_spec *spec, struct shaper_counters *ret,
                 struct error *error);
