/* Hearing at once of devices that go and of queueing disciplines that change, instead of asking in vain. */
#pragma once

#include <stdbool.h>

#include "common/error.h"

/** watch_open() - Return: a socket that becomes readable when there is news, or -errno */
int watch_open(struct error *error);

/**
 * watch_take() - take all news, without waiting or allocating
 * @each: called for each device that is gone (@is_gone) or whose disciplines were changed; NULL = it is of no
 * interest which
 */
typedef void watch_each(int index, bool is_gone, void *context);
void watch_take(int fd, watch_each *each, void *context);
