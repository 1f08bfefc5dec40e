/* What the prober watches for one order: its probes, each on a schedule of absolute time. */
#pragma once

#include "carrier.h"

#define WATCHES_MAX      16
#define WATCH_PROBES_MAX 32
#define WATCH_BYTES_MAX  (1024 * 1024)

struct watch;

/**
 * watch_start() - decode the content of a CHANNEL_WATCH memfd and begin at once
 * Return: 0, -EINVAL (located), -errno; on failure nothing is watched
 */
int watch_start(struct watch **ret, struct carrier *carrier, const char *text, size_t length,
                struct error *error);
struct watch *watch_free(struct watch *watch);
DEFINE_CLEANUP(struct watch *, watch_free)

const char *watch_order(const struct watch *watch);
/** watch_stop() - send nothing more; requests under way are still waited for */
void watch_stop(struct watch *watch);

/** watch_flush() - hand samples to the executor; what it does not take is kept */
void watch_flush(struct watch *watch, struct carrier *carrier);
/** watch_is_over() - stopped or past its time, every answer in, every sample handed over */
bool watch_is_over(const struct watch *watch);
