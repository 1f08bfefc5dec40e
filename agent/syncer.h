/*
 * The syncer: a process of the executor that does nothing but wait for the disk. A disk may hang for as long
 * as it likes; the executor's loop must not hang with it, since a halt has to get through. (Not Linux AIO: a
 * process that has requests in flight can't die before they are done, and holders that die with their
 * executor would wait for the disk, too.)
 */
#pragma once

#include <event2/event.h>
#include <stddef.h>

#include "common/error.h"

struct syncer;

/**
 * syncer_new() - start the process: early, before keys are read
 * @done: called from the loop when a request was worked off, with 0 or -errno
 */
int syncer_new(struct syncer **ret, struct event_base *base, void (*done)(void *context, int result),
               void *context, struct error *error);
/** syncer_free() - the process ends by itself */
struct syncer *syncer_free(struct syncer *syncer);
DEFINE_CLEANUP(struct syncer *, syncer_free)

/** syncer_request() - make what was written to @fds durable, one after the other; one request at a time.
 * Return: 0, or -errno and nobody is called */
int syncer_request(struct syncer *syncer, const int *fds, size_t count, struct error *error);
