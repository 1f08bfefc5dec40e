/* Balancers, read only: what they have in service, what they decided and when, and how long their settings
 * allow. */
#pragma once

#include "run-state.h"

struct balancers;

/**
 * balancers_open() - from coordinator.yaml's `balancers`; binds the syslog ports
 * @on_fact: one server as it is now, or (without an address) a line of the balancer's log, by time of receipt
 */
int balancers_open(struct balancers **ret, struct event_base *base, const struct config *config,
                   void (*on_fact)(void *context, const struct balancer_fact *fact), void *context,
                   struct error *error);
struct balancers *balancers_free(struct balancers *balancers);
DEFINE_CLEANUP(struct balancers *, balancers_free)
/** balancers_watch() - ask every second while @is_wanted; always asks once at once */
void balancers_watch(struct balancers *balancers, bool is_wanted);
/** balancers_budgets() - copies up to @max; Return: how many */
size_t balancers_budgets(const struct balancers *balancers, struct balancer_budget *ret, size_t max);

/* haproxy.c: pure, for tests */
/** haproxy_budget() - from check settings: (fall-1) intervals and a timeout at least, fall intervals and a
 * timeout at most */
void haproxy_budget(struct balancer_budget *budget, int64_t interval_msec, int64_t timeout_msec, int64_t rise,
                    int64_t fall);
/** haproxy_parse_stat() - `show stat`'s CSV: each server of @backend to @each. Return: 0 or -EINVAL */
int haproxy_parse_stat(char *text, const char *backend,
                       void (*each)(void *context, const struct balancer_fact *fact, int64_t rise,
                                    int64_t fall),
                       void *context, struct error *error);
/** haproxy_parse_log() - "... Server web/s1 is DOWN, reason: ..." Return: is it of @backend? */
bool haproxy_parse_log(const char *line, const char *backend, struct balancer_fact *ret);
