/*
 * Messages between the processes of one host, over SOCK_SEQPACKET. A header with version and type, then a
 * body; what is large travels as one sealed memfd instead. Which message may come from whom, how long it may
 * be and who handles it is a row of a const table; anything that fits no row closes the channel.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define CHANNEL_VERSION  1
#define CHANNEL_BODY_MAX 32768

enum channel_role {
    CHANNEL_COURIER = 1 << 0,
    CHANNEL_PROBER = 1 << 1,
    CHANNEL_ROOT = 1 << 2,     /* uid 0: the command line */
    CHANNEL_EXECUTOR = 1 << 3, /* the other end */
    CHANNEL_HOLDER = 1 << 4,
    CHANNEL_SYNCER = 1 << 5, /* the executor's process that waits for the disk */
};

/* Never renumber: an upgrade may meet an older peer. */
enum channel_type {
    CHANNEL_ORDER = 1,       /* courier: memfd bundle [order, mandate] */
    CHANNEL_ASK = 2,         /* courier: memfd bundle [ask, mandate] */
    CHANNEL_HALT = 3,        /* courier: memfd bundle [halt] */
    CHANNEL_ACK = 4,         /* courier: memfd bundle [ack] */
    CHANNEL_NONCE = 5,       /* courier: {"nonce"} -> CHANNEL_HEAD */
    CHANNEL_CLOCK = 6,       /* courier: {"offset_usec", "bound_usec"} */
    CHANNEL_CONTACT = 7,     /* courier: {"coordinator": "10.0.0.2:8443"}: a poll was answered, and what it
                                brought was passed on */
    CHANNEL_FETCH = 8,       /* courier: {"after"} -> CHANNEL_EVENTS */
    CHANNEL_SAMPLES = 16,    /* prober: body of a probe.samples event */
    CHANNEL_STATUS = 32,     /* root: {} -> CHANNEL_STATUS_IS */
    CHANNEL_HALT_LOCAL = 33, /* root: {} -> CHANNEL_HALTED */
    CHANNEL_WAIT_READY = 34, /* root: {} -> CHANNEL_READY */
    CHANNEL_EVENTS = 64,     /* to courier: memfd, one raw event a line; empty = none after */
    CHANNEL_NEWS = 65,       /* to courier: {"last"}: there are events to fetch */
    CHANNEL_ANSWER = 66,     /* to courier: memfd, envelope as JSON */
    CHANNEL_HEAD = 67,       /* to courier: memfd, envelope as JSON */
    CHANNEL_WATCH = 80,      /* to prober: memfd {"order", "run", "until_usec", "probes"} */
    CHANNEL_UNWATCH = 81,    /* to prober: {"order"} */
    CHANNEL_STATUS_IS = 96,  /* to root: memfd JSON */
    CHANNEL_HALTED = 97,     /* to root: {"ended"} */
    CHANNEL_READY = 98,      /* to root: {"is_ready", "waited_ms", "reason"} */
    CHANNEL_STATE = 112,     /* holder to executor: {"state", ...} */
    CHANNEL_END = 113,       /* executor to holder: undo at once */
    CHANNEL_JOB = 114,       /* executor to holder: memfd of agent/job.h */
    CHANNEL_RECORD = 115,    /* executor to holder: the file of its undo record, to append to */
    CHANNEL_SYNC = 128,      /* executor to syncer: struct lines_group */
    CHANNEL_SYNCED = 129,    /* syncer to executor: its struct lines_result */
    CHANNEL_REMOVE = 130,    /* executor to syncer: path of a file */
};

/**
 * struct message - one received message
 * @body: borrowed, NUL-ended, valid until the next receive
 * @fd: owned by the message; -1 where the row takes none
 */
struct message {
    enum channel_type type;
    const char *body;
    size_t length;
    int fd;
};

struct channel_row {
    enum channel_type type;
    const char *name;
    unsigned int senders; /* channel_role bits */
    size_t body_min, body_max;
    bool has_fd;
    int (*handle)(void *context, struct message *message, struct error *error);
};

/** channel_send() - @fd is passed along and stays the caller's, -1 = none. Return: 0, -EAGAIN when full,
 * -errno */
int channel_send(int socket, enum channel_type type, const void *body, size_t length, int fd);

/**
 * channel_receive() - take one message and call its row's handler
 * @role: who the peer is, from its credentials
 * @rows: ended by a row without name
 * Return: 1 handled, 0 nothing there (EAGAIN), -EPIPE the peer is gone, -EPROTO it broke the protocol,
 * -EMFILE its descriptor is lost: close it
 */
int channel_receive(int socket, enum channel_role role, const struct channel_row *rows, void *context,
                    struct error *error);

/** channel_listen() / channel_connect() - SOCK_SEQPACKET|CLOEXEC|NONBLOCK at @path. Return: fd or -errno */
int channel_listen(const char *path, mode_t mode, struct error *error);
int channel_connect(const char *path, struct error *error);
