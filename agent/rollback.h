/*
 * Ending a fault from its undo record alone, without the process that made it: what sweep and executor have
 * in common. Nothing is called reverted without a look at the kernel. Nothing here waits, and nothing but a
 * listing allocates.
 */
#pragma once

#include <stdbool.h>

#include "common/record.h"

/**
 * rollback_read() - the record of @order; one that is gone or can't be read is made up, because the order's
 * name is in the names of everything that we make
 * Return: 0 = it was read, -errno = it was made up, all (the fault in it is "unknown", the holder 0) or but
 *   for its head. Of a hidden one
 *   (record_is_hidden()) nobody knows what the fault holds: look again
 */
int rollback_read(struct record *ret, int folder_fd, const char *order, struct error *error);

/**
 * rollback_try() - kill the recorded holder, undo, read the kernel back
 * @ret_was_clean: there was nothing to undo
 * Return: 1 = nothing of it is left, 0 = something is, which may take a moment: try again; -errno. @error
 * also tells what is left
 */
int rollback_try(const struct record *record, bool *ret_was_clean, struct error *error);

/**
 * rollback_find_stranger() - is there a living holder, or a burner, that no record in @folder_fd names?
 * Return: 0 = no, -EBUSY with its number, -errno
 */
int rollback_find_stranger(int folder_fd, struct error *error);
/** rollback_kill_strangers() - count those, and send each SIGKILL. Return: 0 or -errno */
int rollback_kill_strangers(int folder_fd, size_t *ret_count, struct error *error);
