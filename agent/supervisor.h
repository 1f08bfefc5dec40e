/*
 * One holder for each fault under way: started with its job, heard, ended, and, when it dies before it has
 * said and shown that all is as before, finished for it. Nothing is called reverted here without a look at
 * the kernel.
 *
 * Slots, events and the bodies of messages are made when a fault starts; ending them all needs neither memory
 * nor disk.
 */
#pragma once

#include <event2/event.h>

#include "common/channel.h"
#include "job.h"

#define SUPERVISOR_FAULTS_MAX 16

enum supervisor_end {
    SUPERVISOR_NOT_ENDED,
    SUPERVISOR_HALT,     /* somebody halted it */
    SUPERVISOR_EXECUTOR, /* we end it early: contact lost, or we are stopped */
};

/** struct supervised - what others may know of a fault under way; strings belong to the supervisor */
struct supervised {
    const char *order, *run, *step, *fault, *class, *state;
    int64_t deadline_boot_nsec, deadline_real_usec;
    bool is_arming;
};

/**
 * struct supervisor_events - what the owner hears
 * @event: an event of docs/protocol.md; @run, @step: NULL for a fault of an earlier life; @body is the
 * callee's
 * @changed: a fault was armed or is over
 * @say: words for the log
 */
struct supervisor_events {
    void (*event)(void *context, const char *kind, const char *run, const char *order, const char *step,
                  json_t *body);
    void (*changed)(void *context);
    void (*say)(void *context, const struct error *error);
};

struct supervisor;

int supervisor_new(struct supervisor **ret, struct event_base *base, const struct supervisor_events *events,
                   void *context, struct error *error);
struct supervisor *supervisor_free(struct supervisor *supervisor);
DEFINE_CLEANUP(struct supervisor *, supervisor_free)

int supervisor_start(struct supervisor *supervisor, const struct job *job, struct error *error);

/** struct unfinished - an order that was accepted and whose end nobody has told: the executor died meanwhile
 */
struct unfinished {
    char order[UUID_TEXT_MAX], run[UUID_TEXT_MAX], step[64], fault[64];
    int64_t deadline_real_usec;
};

/**
 * supervisor_adopt() - end what an earlier life of the executor left: kill, undo, look, say
 * @orders: what the journal says was under way; undo records say what may still be there
 */
void supervisor_adopt(struct supervisor *supervisor, const struct unfinished *orders, size_t count);

/** supervisor_take_results() - make events of what the sweep did meanwhile */
void supervisor_take_results(struct supervisor *supervisor);

/** supervisor_end() - @run: NULL = all. No allocation, no disk. Return: how many it reached */
size_t supervisor_end(struct supervisor *supervisor, const char *run, enum supervisor_end end);

size_t supervisor_count(const struct supervisor *supervisor);
size_t supervisor_count_class(const struct supervisor *supervisor, const char *class);
/** supervisor_get() - the @index-th fault under way. Return: false past the last */
bool supervisor_get(const struct supervisor *supervisor, size_t index, struct supervised *ret);
