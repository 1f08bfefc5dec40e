/* Undoing by name alone: what the sweep and the executor can do with a record whose holder is dead. */
#pragma once

#include "common/record.h"

/* Every object that we make in the kernel is called so, and no other may be. */
#define UNDO_NAME_PREFIX "grivet-"

/** undo_all() - run every undo step of @record, last first; goes on after a failure and returns the first one
 */
int undo_all(const struct record *record, struct error *error);
/** undo_is_done() - read the kernel back: does nothing that @record names exist any more? Return: 1, 0 or
 * -errno */
int undo_is_done(const struct record *record, struct error *error);
/** undo_find_strays() - count objects under our reserved names that no record in @folder_fd explains, and
 * remove those that can be */
int undo_find_strays(int folder_fd, size_t *ret_count, struct error *error);
