/*
 * The job: what the executor hands to a holder, in a sealed memfd on fd JOB_FD, with a SOCK_SEQPACKET channel
 * on CHANNEL_FD and the folder of undo records on RECORDS_FD. The executor has verified and decided
 * everything; the holder decodes it again with the same code, because it trusts bytes, not memory.
 */
#pragma once

#include "common/mandate.h"
#include "faults/fault.h"

#define JOB_FD     3
#define CHANNEL_FD 4
#define RECORDS_FD 5

/**
 * struct job - decoded `{"order", "run", "step", "deadline_boot_nsec", "deadline_real_usec", "host", "zone",
 * "lifeline" {...}, "protected" {...}, "mandate" (the payload as text)}`
 */
struct job {
    struct document *document;
    const char *order, *run, *step;
    int64_t deadline_boot_nsec, deadline_real_usec;
    struct mandate *mandate;
    const struct step *step_of_mandate;
    struct fault_host host; /* its pointers belong to the job */
};

/** job_write() - Return: a sealed memfd or -errno */
int job_write(const struct job *job, const char *mandate_payload, struct error *error);
int job_read(struct job **ret, int fd, struct error *error);
struct job *job_free(struct job *job);
DEFINE_CLEANUP(struct job *, job_free)
