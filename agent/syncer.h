/*
 * The syncer: a process of the executor that does nothing but write what has to last, and wait for the disk.
 * A disk may hang for as long as it likes; the executor's loop must not hang with it, since a halt has to get
 * through. (Not Linux AIO: a process that has requests in flight can't die before they are done, and holders
 * that die with their executor would wait for the disk, too.)
 */
#pragma once

#include <event2/event.h>
#include <stddef.h>

#include "lines.h"

#define SYNCER_GROUPS_MAX 2

/** struct syncer - @text: what is being written; @n_asked: groups of the request under way; @done: called
 * from the loop when it was worked off; -EPIPE: it is gone, or makes no sense */
struct syncer {
    pid_t pid;
    int fd;
    char *text;
    struct lines_result result;
    size_t n_asked;
    struct event *readable;
    void (*done)(void *context, struct lines_result result);
    void *context;
};

/**
 * syncer_open() - start the process: early, before keys are read
 * @syncer: its @done and @context are set
 * @folder: nothing in it may be read before; waits for the syncer of an earlier life, as long as it takes
 */
int syncer_open(struct syncer *syncer, const char *folder, struct event_base *base, struct error *error);
/** syncer_close() - waits for its end, and so for the disk */
void syncer_close(struct syncer *syncer);

/** syncer_remove() - a file that nobody needs; whether it went is not told */
void syncer_remove(struct syncer *syncer, const char *path);
/** syncer_request() - write @groups, SYNCER_GROUPS_MAX at most, one after the other; one request at a time.
 * Return: 0, or -errno and nobody is called */
int syncer_request(struct syncer *syncer, const struct lines_group *groups, size_t count,
                   struct error *error);
