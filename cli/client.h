/* Requests to the coordinator over TLS 1.3: with the operator's certificate, or, to join, by a pinned CA. */
#pragma once

#include <jansson.h>
#include <limits.h>

#include "cli.h"
#include "common/document.h"
#include "common/envelope.h"
#include "common/web.h"

#define PIN_TEXT_MAX 72 /* "sha256:", 64 hexadecimal digits, NUL */

/**
 * struct client - one connection
 * @config: owns the strings; paths in it count from @folder
 * @certificate, @key: NULL = none is shown, which is enough for a halt
 * @ca_text: PEM, instead of the file @ca
 * @watch_fd, @on_tick: called while an answer is awaited, every half second and when @watch_fd has something;
 *                      other than 0 ends the waiting with -ECANCELED
 */
struct client {
    struct document *config;
    char folder[PATH_MAX];
    const char *url, *ca, *certificate, *key;
    char *ca_text;
    struct web_call web;
    CURLM *multi; /* keeps the connection from one call to the next */
    int watch_fd;
    int (*on_tick)(void *context);
    void *context;
};

/** client_open() - by config.yaml: --config, else $GRIVET_CONFIG, else ~/.config/grivet/config.yaml; -ENOENT
 * if there is none */
int client_open(struct client **ret, const struct call *call, struct error *error);
struct client *client_free(struct client *client);
DEFINE_CLEANUP(struct client *, client_free)

/** client_path() - where @name is, counted from the folder of the configuration */
const char *client_path(const struct client *client, const char *name, char ret[PATH_MAX]);

/**
 * client_call() - one request and its answer
 * @text: JSON (or an experiment's YAML) to send, NULL = nothing
 * @ret: the JSON of a 2xx answer, owned by the caller
 * Return: 0, -EBADE when the coordinator refused (its words), -ENOENT when it does not know
 * what is asked for (its words too), -EIO without an answer
 */
int client_call(struct client *client, const char *method, const char *path, const char *text, json_t **ret,
                struct error *error);
int client_post_envelope(struct client *client, const char *path, const struct envelope *envelope,
                         json_t **ret, struct error *error);
/** client_once() - the same, on a connection of its own */
int client_once(const struct call *call, const char *method, const char *path, const char *text, json_t **ret,
                struct error *error);
/** client_list() - show the list that @path answers, as JSON or as a table */
int client_list(const struct call *call, const char *path, const struct column *columns, struct error *error);

/* client-pinned.c */
/**
 * client_open_pinned() - without a certificate of one's own, only to a server whose chain ends in the CA
 * certificate with the SHA-256 @pin ("sha256:HEX", of the DER form)
 * @url: borrowed
 */
int client_open_pinned(struct client **ret, const char *url, const char *pin, struct error *error);
/** pin_format() - "sha256:" and the SHA-256 of @data */
const char *pin_format(const void *data, size_t length, char ret[PIN_TEXT_MAX]);
/** pin_check() - Return: 0, -EPROTO when the SHA-256 of @data is not @pin; @option: who gave it */
int pin_check(const char *option, const char *pin, const void *data, size_t length, struct error *error);
