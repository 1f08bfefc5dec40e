/* See prober-samples.h. */
#include "prober-samples.h"

#include <inttypes.h>
#include <stdio.h>

#define SAMPLE_TEXT_MAX 64 /* two 64-bit integers, a status, a flag and what is between them */

uint64_t samples_begin(struct samples *samples, int64_t at_usec)
{
    if (samples->next - samples->first == SAMPLES_KEPT_MAX) {
        samples->first++;
        samples->lost++;
    }
    samples->slots[samples->next % SAMPLES_KEPT_MAX].sample = (struct sample){.at_usec = at_usec};
    samples->slots[samples->next % SAMPLES_KEPT_MAX].is_done = false;
    return samples->next++;
}

void samples_end(struct samples *samples, uint64_t ticket, int64_t latency_usec, long status, bool is_ok)
{
    struct sample *sample = &samples->slots[ticket % SAMPLES_KEPT_MAX].sample;

    if (ticket < samples->first)
        return;
    sample->latency_usec = latency_usec;
    sample->status = (int)status;
    sample->is_ok = is_ok;
    samples->slots[ticket % SAMPLES_KEPT_MAX].is_done = true;
}

size_t samples_format(const struct samples *samples, const char *order, const char *probe, char *ret,
                      size_t size)
{
    size_t count = 0, length;

    length = (size_t)snprintf(ret, size, "{\"order\":\"%s\",\"probe\":\"%s\",\"samples\":[", order, probe);
    for (uint64_t i = samples->first; i < samples->next; i++) {
        const struct sample *sample = &samples->slots[i % SAMPLES_KEPT_MAX].sample;

        if (!samples->slots[i % SAMPLES_KEPT_MAX].is_done || length + SAMPLE_TEXT_MAX + sizeof("]}") > size)
            break;
        length += (size_t)snprintf(ret + length, size - length, "%s[%" PRId64 ",%" PRId64 ",%d,%d]",
                                   count ? "," : "", sample->at_usec, sample->latency_usec, sample->status,
                                   sample->is_ok);
        count++;
    }
    if (length + sizeof("]}") <= size)
        snprintf(ret + length, size - length, "]}");
    return count;
}

void samples_drop(struct samples *samples, size_t count)
{
    samples->first += count;
}
