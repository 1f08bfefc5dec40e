/* The daemon: opens everything in order, runs the loop, closes everything in the other order. */
#include <errno.h>
#include <event2/event.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agents.h"
#include "ca.h"
#include "common/io.h"

#define HOUSEKEEPING_SECONDS 60
#define RETRY_SECONDS        2
#define ROOTS_BYTES_MAX      (1024 * 1024)
#define KIB                  1024
#define MIB                  (1024 * KIB)

static const struct http_route routes[] = {
    {"POST", "/v1/join", HTTP_ANYONE, 64 * KIB, true, join_handle},
    {"POST", "/v1/agent/poll", HTTP_AGENT, 128 * KIB, false, poll_handle},
    {"GET", "/v1/agent/time", HTTP_AGENT, 0, false, poll_handle_time},
    {"POST", "/v1/agent/events", HTTP_AGENT, JOURNAL_BODY_MAX, true, journal_handle_events},
    {"POST", "/v1/agent/answers", HTTP_AGENT, 2 * MIB, true, poll_handle_answers},
    {"POST", "/v1/agent/renew", HTTP_AGENT, 32 * KIB, false, join_handle_renew},
    {"GET", "/v1/mandates/@", HTTP_MEMBER, 0, false, runs_handle_mandate},
    {"POST", "/v1/plan", HTTP_OPERATOR, 1 * MIB, true, runs_handle_plan},
    {"POST", "/v1/runs", HTTP_OPERATOR, 12 * MIB, true, runs_handle_start},
    {"GET", "/v1/runs", HTTP_OPERATOR, 0, false, runs_handle_list},
    {"GET", "/v1/runs/@", HTTP_OPERATOR, 0, false, runs_handle_status},
    {"GET", "/v1/runs/@/progress", HTTP_OPERATOR, 0, false, runs_handle_progress},
    {"GET", "/v1/runs/@/report", HTTP_OPERATOR, 0, false, runs_handle_report},
    {"POST", "/v1/halt", HTTP_ANYONE, 128 * KIB, false, runs_handle_halt},
    {"GET", "/v1/hosts", HTTP_OPERATOR, 0, false, fleet_handle_hosts},
    {"POST", "/v1/tokens", HTTP_OPERATOR, 16 * KIB, true, tokens_handle_new},
    {"GET", "/v1/tokens", HTTP_OPERATOR, 0, false, tokens_handle_list},
    {"DELETE", "/v1/tokens/@", HTTP_OPERATOR, 0, true, tokens_handle_revoke},
    {NULL},
};

static void on_signal(evutil_socket_t number, short what, void *context)
{
    event_base_loopbreak(context);
}

static void on_housekeeping(evutil_socket_t fd, short what, void *context)
{
    delivery_age(context);
    fleet_age(context);
}

/* A store that failed leaves the poll and the halt: stopping is cheaper than starting. */
static void on_commit(void *context)
{
    struct coordinator *coordinator = context;
    const char *failure = store_failure(coordinator->store);

    http_server_flush(coordinator->server);
    if (!failure || coordinator->is_read_only)
        return;
    coordinator_say(coordinator,
                    "%s: nothing is stored; halts go out, everything else is refused until it works again",
                    failure);
    coordinator->is_read_only = true;
    event_add(coordinator->retry, &(struct timeval){.tv_sec = RETRY_SECONDS});
}

static void store_halts(void *context)
{
    delivery_store_halts(context);
    runs_store_halts(context);
}

/* What was in memory and not in the store is wrong now, so we begin anew. */
static void on_retry(evutil_socket_t fd, short what, void *context)
{
    struct coordinator *coordinator = context;

    if (store_retry(coordinator->store, store_halts, coordinator) < 0)
        event_add(coordinator->retry, &(struct timeval){.tv_sec = RETRY_SECONDS});
    else
        event_base_loopbreak(coordinator->base);
}

static int load_roots(struct coordinator *coordinator, const char *folder, struct error *error)
{
    struct public_key order = secret_key_public(coordinator->order_key);
    char path[4096];
    size_t length;
    int r;

    snprintf(path, sizeof(path), "%s/roots.json", folder);
    r = io_read_file(path, ROOTS_BYTES_MAX, &coordinator->roots_text, &length, error);
    if (r == 0)
        r = roots_parse(&coordinator->roots, path, coordinator->roots_text, length, error);
    if (r < 0)
        return r;
    for (size_t i = 0; i < coordinator->roots->n_keys; i++)
        if ((coordinator->roots->keys[i].roles & ROOTS_ORDER) &&
            memcmp(&coordinator->roots->keys[i].key, &order, sizeof(order)) == 0)
            return 0;
    return error_set(error, EKEYREJECTED,
                     "%s: order.key has no role order in it: hosts would refuse everything", path);
}

static int load_keys(struct coordinator *coordinator, const char *folder, struct error *error)
{
    char path[4096];
    int r;

    snprintf(path, sizeof(path), "%s/order.key", folder);
    r = secret_key_load(&coordinator->order_key, path, NULL, error);
    snprintf(path, sizeof(path), "%s/halt.key", folder);
    if (r == 0)
        r = secret_key_load(&coordinator->halt_key, path, NULL, error);
    if (r == 0)
        r = load_roots(coordinator, folder, error);
    return r < 0 ? r : ca_load(&coordinator->ca, folder, error);
}

static int open_server(struct coordinator *coordinator, const char *folder, struct error *error)
{
    const struct node *entry = coordinator->config.listen->first;
    int r = http_server_new(&coordinator->server, coordinator->base, folder, routes, coordinator->store,
                            coordinator, error);

    if (r == 0)
        store_on_commit(coordinator->store, on_commit, coordinator);
    for (; r == 0 && entry; entry = entry->next)
        r = http_server_listen(coordinator->server, entry->string, error);
    return r;
}

static int coordinator_open(struct coordinator *coordinator, const struct place *place, struct error *error)
{
    char path[4096];
    int r;

    snprintf(path, sizeof(path), "%s/store.db", place->folder);
    r = config_load(&coordinator->config, place->config, error);
    if (r == 0)
        r = load_keys(coordinator, place->folder, error);
    if (r == 0)
        r = store_open(&coordinator->store, path, coordinator->base, error);
    if (r == 0)
        r = fleet_open(coordinator, error);
    if (r == 0)
        r = runs_open(coordinator, error);
    return r < 0 ? r : open_server(coordinator, place->folder, error);
}

static void coordinator_close(struct coordinator *coordinator)
{
    http_server_free(coordinator->server);
    runs_close(coordinator);
    fleet_close(coordinator);
    store_close(coordinator->store);
    ca_free(coordinator->ca);
    roots_free(coordinator->roots);
    free(coordinator->roots_text);
    secret_key_free(coordinator->order_key);
    secret_key_free(coordinator->halt_key);
    config_clear(&coordinator->config);
}

/* Until told to end, or until a store that had failed works again. */
static int coordinator_loop(struct coordinator *coordinator, struct error *error)
{
    struct event *events[] = {
        evsignal_new(coordinator->base, SIGTERM, on_signal, coordinator->base),
        evsignal_new(coordinator->base, SIGINT, on_signal, coordinator->base),
        event_new(coordinator->base, -1, EV_PERSIST, on_housekeeping, coordinator),
    };
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (!events[i] ||
            event_add(events[i], i == 2 ? &(struct timeval){.tv_sec = HOUSEKEEPING_SECONDS} : NULL) < 0)
            r = error_oom(error);
    if (r == 0) {
        coordinator_say(coordinator, "serving environment %s on %s", coordinator->config.environment,
                        coordinator->config.listen->first->string);
        event_base_dispatch(coordinator->base);
        if (coordinator->is_read_only && !store_failure(coordinator->store))
            r = error_set(error, EAGAIN, "the store works again: to be started anew with what it holds");
    }
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (events[i])
            event_free(events[i]);
    return r;
}

int serve_run(const struct place *place, int argc, char **argv, struct error *error)
{
    struct coordinator coordinator = {.notice = place->notice};
    int r;

    if (argc > 1)
        return error_set(error, EINVAL, "serve takes no arguments");
    signal(SIGPIPE, SIG_IGN);
    umask(0077);
    coordinator.base = event_base_new();
    if (!coordinator.base)
        return error_oom(error);
    coordinator.retry = evtimer_new(coordinator.base, on_retry, &coordinator);
    if (!coordinator.retry)
        return error_oom(error);
    r = coordinator_open(&coordinator, place, error);
    if (r == 0)
        r = coordinator_loop(&coordinator, error);
    coordinator_close(&coordinator);
    event_free(coordinator.retry);
    event_base_free(coordinator.base);
    return r;
}
