/*
 * Working out an answer to an ask in a child of its own, without capabilities and with a time limit: a draft
 * is signed by nobody but the coordinator, and planning walks through what it names. What the child finds
 * comes back through a pipe and is put together and signed by the executor.
 */
#pragma once

#include <event2/event.h>

#include "admission.h"

#define ANSWERS_MAX 4 /* worked out at the same time */

struct answers;

/** answers_new() - @done: @findings as of admission_answer(); borrowed, as @ask is */
int answers_new(struct answers **ret, struct event_base *base,
                void (*done)(void *context, const struct ask *ask, const json_t *findings), void *context,
                struct error *error);
struct answers *answers_free(struct answers *answers);
DEFINE_CLEANUP(struct answers *, answers_free)

/** answers_start() - takes @ask when it returns 0; -EBUSY when too many are under way */
int answers_start(struct answers *answers, const struct admission *admission, struct ask *ask,
                  const struct envelope *mandate, struct error *error);
