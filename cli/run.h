/* What watching a run shares with status, halt and report. */
#pragma once

#include "client.h"

/** status_draw() - hosts with countdown, endpoints; as many as the terminal has room for. Return: lines */
size_t status_draw(const json_t *status);

/** halt_send() - sign a halt with --key (or halt.key beside the configuration) and post it; @id: of the run
 * or host, NULL for scope "fleet" */
int halt_send(const struct call *call, struct client *client, const char *scope, const char *id, json_t **ret,
              struct error *error);
/** halt_print() - "all gone on N of M hosts; unreachable: ..." */
void halt_print(FILE *out, const json_t *answer);

/* How long a balancer may take: also of a plan. */
extern const struct column budget_columns[];
void report_print(const json_t *report);
/** report_exit_code() - met 0, missed 3, unknown 4; refused before it started 5, halted 6 */
int report_exit_code(const json_t *report);
