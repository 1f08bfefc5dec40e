/* How long to wait before trying again: doubles with each failure, jittered so that a fleet does not march in
 * step. */
#pragma once

#include <sys/time.h>

#define BACKOFF_MIN_MSEC 200
#define BACKOFF_MAX_MSEC 5000

struct backoff {
    unsigned int failures;
};

/** backoff_next() - count a failure. Return: the wait, half of it random; 0.1 s at least, 5 s at most */
struct timeval backoff_next(struct backoff *backoff);
static inline void backoff_reset(struct backoff *backoff)
{
    backoff->failures = 0;
}
