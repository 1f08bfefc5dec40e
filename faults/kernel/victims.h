/* Processes that are sent a signal: all of them are held before the first one gets it. */
#pragma once

#include <jansson.h>

#include "process.h"

/* A descriptor is kept for each: half of the 1024 that systemd gives a service. One event names as many. */
#define VICTIMS_MAX 500

/** struct victim - @pidfd: so that its pid can't become somebody else's */
struct victim {
    struct process process;
    int pidfd;
    bool is_gone;
};

/** struct victims - @count of @wanted are held; the first @n_signalled were sent the signal */
struct victims {
    size_t wanted, count, n_signalled;
    struct victim victims[];
};
struct victims *victims_new(size_t wanted);
struct victims *victims_free(struct victims *victims);

/**
 * victims_signal() - send @signal to as many of @list as are wanted, from its front
 * Nobody gets it when one can't be sent it, as far as that can be told before. Who ended by himself
 * meanwhile is passed over.
 * Return: 0, -ESRCH when all have, or -errno; @victims->n_signalled then tells who was signalled before
 */
int victims_signal(struct victims *victims, const struct process_list *list, int signal, struct error *error);

/**
 * victims_list() - look who has exited, and name those who were signalled: [{pid, exe, is_gone}]
 * @ret_n_more: those whom one event has no room for
 */
json_t *victims_list(struct victims *victims, size_t *ret_n_more);
