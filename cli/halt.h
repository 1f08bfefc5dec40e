/* Halting by a signature, for `grivet halt` and for Ctrl-C. */
#pragma once

#include "cli.h"
#include "client.h"

/** halt_send() - sign a halt with the key file @key and post it; @id: of the run or host, NULL for scope
 * "fleet" */
int halt_send(const struct call *call, struct client *client, const char *key, const char *scope,
              const char *id, json_t **ret, struct error *error);
/** halt_print() - "all gone on N of M hosts; unreachable: ...". Return: EXIT_MET when all are gone, else
 * EXIT_ERROR */
int halt_print(const json_t *answer);
