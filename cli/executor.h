/* Requests of root to the executor of this host, without any coordinator. */
#pragma once

#include <jansson.h>

#include "common/channel.h"

#define EXECUTOR_SOCKET "/run/grivet/agent.sock"

/**
 * executor_ask() - send {} as @request and wait for @answer, in the body or in a memfd
 * @ret: its JSON, owned by the caller
 * Return: 0, -ETIMEDOUT, -errno
 */
int executor_ask(enum channel_type request, enum channel_type answer, int64_t timeout_msec, json_t **ret,
                 struct error *error);
