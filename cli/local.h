/* What root asks the executor of this host, without any coordinator. */
#pragma once

#include "cli.h"
#include "common/channel.h"

#define EXECUTOR_SOCKET "/run/grivet/agent.sock"

int local_status(const struct call *call, struct error *error);
int local_halt(const struct call *call, struct error *error);
