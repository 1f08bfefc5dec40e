/* See backoff.h. */
#include "backoff.h"

#include <event2/util.h>
#include <stdint.h>

struct timeval backoff_next(struct backoff *backoff)
{
    unsigned int msec = BACKOFF_MAX_MSEC;
    uint16_t random;

    if (backoff->failures < 5)
        msec = BACKOFF_MIN_MSEC << backoff->failures;
    if (msec > BACKOFF_MAX_MSEC)
        msec = BACKOFF_MAX_MSEC;
    backoff->failures++;
    evutil_secure_rng_get_bytes(&random, sizeof(random));
    msec = msec / 2 + msec / 2 * random / UINT16_MAX;
    return (struct timeval){.tv_sec = msec / 1000, .tv_usec = msec % 1000 * 1000};
}
