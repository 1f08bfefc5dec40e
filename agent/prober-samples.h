/*
 * Samples of one probe on their way to the executor, in the order of sending: an answer that is still awaited
 * holds back the later ones (for its timeout at most). The oldest give way when the executor stays away too
 * long.
 */
#pragma once

#include <stddef.h>

#include "probes/recovery.h"

#define SAMPLES_KEPT_MAX 1024

struct samples {
    uint64_t first, next; /* tickets: the oldest kept, the next to be given */
    uint64_t lost;
    struct {
        struct sample sample;
        bool is_done;
    } slots[SAMPLES_KEPT_MAX];
};

/** samples_begin() - a request leaves now. Return: its ticket */
uint64_t samples_begin(struct samples *samples, int64_t at_usec);
void samples_end(struct samples *samples, uint64_t ticket, int64_t latency_usec, long status, bool is_ok);

/**
 * samples_format() - the body of a CHANNEL_SAMPLES message with as many samples as are done and fit
 * Return: how many; 0 = none is done
 */
size_t samples_format(const struct samples *samples, const char *order, const char *probe, char *ret,
                      size_t size);
/** samples_drop() - the oldest @count have been handed over */
void samples_drop(struct samples *samples, size_t count);
