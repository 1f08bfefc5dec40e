/* The parts of `grivet join`: the pinned connection, and the files that make a host a member. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/document.h"
#include "common/key.h"

#define JOIN_PIN_BYTES 32 /* SHA-256 */
#define JOIN_ENTRIES   16
#define JOIN_LABELS    32

/**
 * struct join - what was asked for, and what has come of it
 * @ca_pin: of the CA certificate (DER); @roots_pin: of the roots text
 * @labels: map, owned
 * @policy: agent.yaml where there is one, owned
 */
struct join {
    const char *url, *token, *name, *address, *environment;
    uint8_t ca_pin[JOIN_PIN_BYTES], roots_pin[JOIN_PIN_BYTES];
    json_t *labels;
    struct document *policy;
};

/** command_join() - Return: exit code; running it on a host that has joined says so and is 0 */
int command_join(int argc, char **argv);

/* join-pin.c */

/** join_pin_parse() - "sha256:" and 64 hexadecimal digits */
int join_pin_parse(const char *text, uint8_t ret[JOIN_PIN_BYTES], struct error *error);
int join_pin_check(const void *data, size_t length, const uint8_t pin[JOIN_PIN_BYTES], const char *what,
                   struct error *error);

/**
 * join_pin_post() - POST @body over TLS 1.3, only to a server whose chain ends in the pinned CA
 * @ret_ca: the pinned certificate as it was presented, PEM; owned by the caller
 * @ret: the JSON of a 200
 * Return: 0, -EKEYREJECTED before anything was sent, -errno
 */
int join_pin_post(const char *url, const char *path, const char *body, const uint8_t pin[JOIN_PIN_BYTES],
                  json_t **ret, char **ret_ca, struct error *error);

/* join-files.c */

/** struct join_files - what was made so far, to be removed if it comes to nothing */
struct join_files {
    size_t n_made;
    const char *made[JOIN_ENTRIES];
    uid_t courier_uid;
    gid_t courier_gid;
};

/** struct join_result - what the coordinator gave and what was made for it; nothing owned */
struct join_result {
    const struct secret_key *host_key;
    const char *tls_key, *certificate, *ca, *roots;
};

/** join_files_state() - Return: 1 joined as @ret_name (owned by the caller, NULL = unreadable), 0 not joined,
 * -errno */
int join_files_state(char **ret_name, struct error *error);
/** join_files_write() - all of it, or nothing */
int join_files_write(const struct join *join, const struct join_result *result, struct error *error);
