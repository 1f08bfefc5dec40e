/*
 * The job: what the executor hands to a holder, in a sealed memfd, over the SOCK_SEQPACKET channel that is
 * all that a holder inherits. The executor has verified the mandate and decided; of it the holder gets only
 * what its fault is made of. The same program writes and reads it, so it knows no versions.
 */
#pragma once

#include "common/mandate.h"
#include "faults/fault.h"

#define CHANNEL_FD 3

/**
 * struct job - one order, decided
 * @run, @step: what events name; a holder has no need of them, and gets NULL
 * @mandate: in a holder it has nothing but its zones
 * @host: its pointers belong to the job that was read
 */
struct job {
    const char *order, *run, *step;
    int64_t deadline_boot_nsec, deadline_real_usec;
    const struct fault *fault;
    const struct node *parameters;
    const struct mandate *mandate;
    struct fault_host host;
    struct document *document;
};

/** job_write() - Return: a sealed memfd or -errno */
int job_write(const struct job *job, struct error *error);
int job_read(struct job **ret, int fd, struct error *error);
struct job *job_free(struct job *job);
DEFINE_CLEANUP(struct job *, job_free)
