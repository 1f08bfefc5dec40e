/* Requests to the coordinator with the operator's certificate; libcurl stays behind this header. */
#pragma once

#include <jansson.h>

#include "common/error.h"

struct client;

/** client_open() - by config.yaml: @config, else $GRIVET_CONFIG, else ~/.config/grivet/config.yaml; -ENOENT
 * if there is none */
int client_open(struct client **ret, const char *config, struct error *error);
struct client *client_free(struct client *client);
DEFINE_CLEANUP(struct client *, client_free)

/** client_roots() - path of `roots.json` beside the config file */
const char *client_roots(const struct client *client);
/** client_halt_key() - path of `halt.key` beside the config file */
const char *client_halt_key(const struct client *client);

/**
 * client_call() - one request and its answer
 * @type: of @body ("application/json"), NULL without a body
 * @ret: the JSON of a 2xx answer, owned by the caller
 * Return: 0, -EBADE when the coordinator refused (its words), -EHOSTUNREACH
 */
int client_call(struct client *client, const char *method, const char *path, const char *type,
                const void *body, size_t length, json_t **ret, struct error *error);

/** client_begin() / client_wait() / client_finish() - the same in three parts, to do something else meanwhile
 */
int client_begin(struct client *client, const char *method, const char *path, const char *type,
                 const void *body, size_t length, struct error *error);
/** client_wait() - Return: 1 = answered, 0 = @timeout_msec is over or @fd (-1 = none) has something, -errno
 */
int client_wait(struct client *client, int fd, int timeout_msec, struct error *error);
int client_finish(struct client *client, json_t **ret, struct error *error);
