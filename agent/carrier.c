/* See carrier.h. */
#include "carrier.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "memory.h"

#define CARRIER_SOCKET "/run/grivet/agent.sock"
#define RETRY_USEC     250000
#define STARTED_S      5  /* by then what is needed once only has been needed, the first TLS session too */
#define BURST          64 /* messages taken in one turn, so that the loop gets its turn too */

static void carrier_disconnect(struct carrier *carrier)
{
    struct timeval wait = {.tv_usec = RETRY_USEC};

    if (carrier->readable)
        event_free(TAKE_PTR(carrier->readable));
    if (carrier->socket >= 0)
        close(TAKE_FD(carrier->socket));
    event_add(carrier->retry, &wait);
}

static void carrier_on_readable(evutil_socket_t socket, short what, void *context)
{
    struct carrier *carrier = context;
    struct error error = {0};
    int r = 1;

    for (int i = 0; i < BURST && r == 1; i++)
        r = channel_receive(socket, CHANNEL_EXECUTOR, carrier->events->rows, carrier->context, &error);
    if (r >= 0)
        return;
    if (r != -EPIPE)
        carrier->events->on_error(carrier->context, &error);
    carrier_disconnect(carrier);
    carrier->events->on_change(carrier->context, false);
}

static int carrier_connect(struct carrier *carrier, struct error *error)
{
    carrier->socket = channel_connect(CARRIER_SOCKET, error);
    if (carrier->socket < 0)
        return carrier->socket;
    carrier->readable =
        event_new(carrier->base, carrier->socket, EV_READ | EV_PERSIST, carrier_on_readable, carrier);
    if (!carrier->readable || event_add(carrier->readable, NULL) < 0)
        return error_oom(error);
    return 0;
}

static void carrier_on_retry(evutil_socket_t fd, short what, void *context)
{
    struct carrier *carrier = context;
    struct error error = {0};

    if (carrier_connect(carrier, &error) < 0) {
        if (!carrier->is_said)
            carrier->events->on_error(carrier->context, &error);
        carrier->is_said = true; /* once an outage, not with every attempt */
        carrier_disconnect(carrier);
        return;
    }
    carrier->is_said = false;
    carrier->events->on_change(carrier->context, true);
}

static void carrier_on_started(evutil_socket_t fd, short what, void *context)
{
    memory_trim();
}

static void carrier_on_terminate(evutil_socket_t signal, short what, void *context)
{
    event_base_loopbreak(context);
}

int carrier_open(struct carrier *carrier, const struct carrier_events *events, void *context,
                 struct error *error)
{
    struct timeval now = {0}, started = {STARTED_S};

    *carrier = (struct carrier){.events = events, .context = context, .socket = -1};
    signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    carrier->base = event_base_new();
    if (!carrier->base)
        return error_oom(error);
    carrier->terminate = evsignal_new(carrier->base, SIGTERM, carrier_on_terminate, carrier->base);
    carrier->retry = evtimer_new(carrier->base, carrier_on_retry, carrier);
    if (!carrier->terminate || event_add(carrier->terminate, NULL) < 0 || !carrier->retry ||
        event_add(carrier->retry, &now) < 0 ||
        event_base_once(carrier->base, -1, EV_TIMEOUT, carrier_on_started, NULL, &started) < 0)
        return error_oom(error);
    return web_pool_new(&carrier->pool, carrier->base, error);
}

int carrier_run(struct carrier *carrier, struct error *error)
{
    return event_base_dispatch(carrier->base) < 0 ? error_set(error, EIO, "the event loop failed") : 0;
}

void carrier_clear(struct carrier *carrier)
{
    struct event *events[] = {carrier->readable, carrier->retry, carrier->terminate};

    if (!carrier->base)
        return;
    web_pool_free(carrier->pool);
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (events[i])
            event_free(events[i]);
    if (carrier->socket >= 0)
        close(carrier->socket);
    event_base_free(carrier->base);
}

int carrier_send(struct carrier *carrier, enum channel_type type, const char *body, int fd,
                 struct error *error)
{
    int r = carrier->socket < 0 ? -ENOTCONN : channel_send(carrier->socket, type, body, strlen(body), fd);

    return r < 0 ? error_errno(error, -r, "can't reach the executor") : 0;
}
