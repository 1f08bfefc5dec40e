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

/** struct syncer - @n_asked: files of the request under way; @done: called from the loop when it was worked
 * off, with 0 or -errno; -EPIPE: it is gone, or makes no sense */
struct syncer {
    int fd, result;
    size_t n_asked;
    struct event *readable;
    void (*done)(void *context, int result);
    void *context;
};

/** syncer_open() - start the process: early, before keys are read. @syncer: its @done and @context are set */
int syncer_open(struct syncer *syncer, struct event_base *base, struct error *error);
/** syncer_close() - the process ends by itself */
void syncer_close(struct syncer *syncer);

/** syncer_request() - make what was written to @fds durable, one after the other; one request at a time.
 * Return: 0, or -errno and nobody is called */
int syncer_request(struct syncer *syncer, const int *fds, size_t count, struct error *error);
