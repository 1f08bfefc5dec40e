/* Undoing by name alone: what the sweep and the executor can do with a record whose holder is dead. */
#pragma once

#include "common/record.h"

/* Every object that we make in the kernel is called so, and no other may be. */
#define UNDO_NAME_PREFIX "grivet-"
#define UNDO_NAME_MAX    24
#define UNDO_LINK_MAX    16 /* IFNAMSIZ */

/** undo_object_name() - the prefix and the last 12 hexadecimal digits of the order's id: its nft tables */
const char *undo_object_name(const char *order, char ret[UNDO_NAME_MAX]);
/** undo_link_name() - the prefix, 7 digits and @direction ('o', 'i', 'p' or 'q'), since a device's name is
 * short */
const char *undo_link_name(const char *order, char direction, char ret[UNDO_LINK_MAX]);
/** undo_is_link_name() - is @name such a name, with one of @ends for its direction? */
bool undo_is_link_name(const char *name, const char *ends);
/** undo_guess() - steps for all that an order can have made, when its record can't be read */
void undo_guess(struct record *record);

/** undo_all() - run every undo step of @record, last first; goes on after a failure and returns the first one
 */
int undo_all(const struct record *record, struct error *error);
/** undo_is_done() - read the kernel back: does nothing that @record names exist any more? Return: 1, 0 or
 * -errno */
int undo_is_done(const struct record *record, struct error *error);
/** undo_find_strays() - count objects under our reserved names that no record in @folder_fd explains, and
 * remove those that can be */
int undo_find_strays(int folder_fd, size_t *ret_count, struct error *error);
