/*
 * HAProxy's two mouths: the statistics socket over TCP, asked every second while somebody wants to know, and
 * its log, which comes by syslog over UDP at any time. Nothing here changes anything in a balancer.
 */
#include "balancer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdio.h>
#include <string.h>

#define ASK_USEC     USEC_PER_SEC
#define TIMEOUT_SEC  2
#define ANSWER_MAX   (4 << 20)
#define DATAGRAM_MAX 8192
#define LINES_MAX    100 /* taken from a log socket in one turn of the loop */

struct balancer {
    struct balancers *all;
    const char *name, *kind, *backend;
    const struct node *statistics, *syslog, *check;
    int64_t interval_msec, timeout_msec;
    struct sockaddr_storage address;
    int address_length;
    struct bufferevent *connection;
    struct event *log_event;
    int log_fd;
    struct balancer_budget budget;
};

struct balancers {
    struct event_base *base;
    struct event *timer;
    void (*on_fact)(void *context, const struct balancer_fact *fact);
    void *context;
    size_t count;
    struct balancer *items;
};

#define AT(member) offsetof(struct balancer, member)

static const struct field balancer_fields[] = {
    {"name", FIELD_NAME, AT(name), true},
    {"kind", FIELD_CHOICE, AT(kind), true, .choices = (const char *const[]){"haproxy", NULL}},
    {"statistics", FIELD_NODE, AT(statistics), true},
    {"syslog", FIELD_NODE, AT(syslog), false},
    {"backend", FIELD_STRING, AT(backend), true, 1, 63},
    {"check", FIELD_MAP, AT(check), true, 2, 2},
    {NULL},
};
static const struct field check_fields[] = {
    {"interval_ms", FIELD_INTEGER, AT(interval_msec), true, 1, 3600000},
    {"timeout_ms", FIELD_INTEGER, AT(timeout_msec), true, 1, 3600000},
    {NULL},
};

static int parse_address(const struct document *document, const struct node *node,
                         struct sockaddr_storage *ret, int *ret_length, struct error *error)
{
    *ret_length = sizeof(*ret);
    /* the port stands at the same place in an address of either family */
    if (node->type != DOCUMENT_STRING ||
        evutil_parse_sockaddr_port(node->string, (struct sockaddr *)ret, ret_length) < 0 ||
        ((struct sockaddr_in *)ret)->sin_port == 0)
        return node_error(document, node, error, "expected address:port");
    return 0;
}

static void hang_up(struct balancer *balancer)
{
    if (balancer->connection)
        bufferevent_free(balancer->connection);
    balancer->connection = NULL;
}

static void tell(const struct balancer *balancer, struct balancer_fact *fact)
{
    fact->at_usec = time_now_usec();
    snprintf(fact->balancer, sizeof(fact->balancer), "%s", balancer->name);
    balancer->all->on_fact(balancer->all->context, fact);
}

static void on_row(void *context, const struct balancer_fact *row, int64_t rise, int64_t fall)
{
    struct balancer *balancer = context;
    struct balancer_fact fact = *row;

    if (rise > 0 && fall > 0)
        haproxy_budget(&balancer->budget, balancer->interval_msec, balancer->timeout_msec, rise, fall);
    tell(balancer, &fact);
}

/* HAProxy closes after one command: the answer is whole then. A silent or broken one says nothing, which
 * shows as such. */
static void on_closed(struct bufferevent *connection, short what, void *context)
{
    struct balancer *balancer = context;
    struct evbuffer *input = bufferevent_get_input(connection);
    _cleanup_free_ char *text = NULL;
    size_t length = evbuffer_get_length(input);

    if (what & BEV_EVENT_CONNECTED)
        return;
    /* a copy: nothing can be added to a connection's input, not even the byte that ends a string */
    text = calloc(1, length + 1);
    if (what & BEV_EVENT_EOF && text && evbuffer_remove(input, text, length) >= 0)
        haproxy_parse_stat(text, balancer->backend, on_row, balancer, NULL);
    hang_up(balancer);
}

static void on_read(struct bufferevent *connection, void *context)
{
    if (evbuffer_get_length(bufferevent_get_input(connection)) > ANSWER_MAX)
        hang_up(context);
}

static void ask(struct balancer *balancer)
{
    static const struct timeval timeout = {TIMEOUT_SEC, 0};
    static const char command[] = "show stat\n";

    if (balancer->connection)
        return;
    balancer->connection = bufferevent_socket_new(balancer->all->base, -1, BEV_OPT_CLOSE_ON_FREE);
    if (!balancer->connection)
        return;
    bufferevent_setcb(balancer->connection, on_read, NULL, on_closed, balancer);
    bufferevent_set_timeouts(balancer->connection, &timeout, &timeout);
    bufferevent_enable(balancer->connection, EV_READ | EV_WRITE);
    if (bufferevent_write(balancer->connection, command, sizeof(command) - 1) < 0 ||
        bufferevent_socket_connect(balancer->connection, (struct sockaddr *)&balancer->address,
                                   balancer->address_length) < 0)
        hang_up(balancer);
}

static void ask_all(evutil_socket_t fd, short what, void *context)
{
    struct balancers *all = context;

    for (size_t i = 0; i < all->count; i++)
        ask(&all->items[i]);
}

void balancers_watch(struct balancers *all, bool is_wanted)
{
    static const struct timeval interval = {ASK_USEC / USEC_PER_SEC, ASK_USEC % USEC_PER_SEC};

    if (!is_wanted) {
        event_del(all->timer);
    } else if (!event_pending(all->timer, EV_TIMEOUT, NULL)) {
        event_add(all->timer, &interval);
        ask_all(-1, 0, all);
    }
}

static void on_log(evutil_socket_t fd, short what, void *context)
{
    struct balancer *balancer = context;
    struct balancer_fact fact;
    char line[DATAGRAM_MAX + 1];
    ssize_t n;

    for (int i = 0; i < LINES_MAX && (n = recv(fd, line, DATAGRAM_MAX, MSG_DONTWAIT)) >= 0; i++) {
        line[n] = '\0';
        if (!haproxy_parse_log(line, balancer->backend, &fact))
            continue;
        tell(balancer, &fact);
        if (event_pending(balancer->all->timer, EV_TIMEOUT, NULL))
            ask(balancer); /* which address the server has now */
    }
}

static int listen_log(struct balancer *balancer, const struct document *document, struct error *error)
{
    struct sockaddr_storage address;
    int length, r;

    r = parse_address(document, balancer->syslog, &address, &length, error);
    if (r < 0)
        return r;
    balancer->log_fd = socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (balancer->log_fd < 0 || bind(balancer->log_fd, (struct sockaddr *)&address, (socklen_t)length) < 0)
        return error_errno(error, errno, "listening for syslog at %s", balancer->syslog->string);
    balancer->log_event =
        event_new(balancer->all->base, balancer->log_fd, EV_READ | EV_PERSIST, on_log, balancer);
    return balancer->log_event && event_add(balancer->log_event, NULL) == 0 ? 0 : error_oom(error);
}

static int balancer_open(struct balancer *balancer, const struct document *document, const struct node *node,
                         struct error *error)
{
    int r;

    r = node_decode(document, node, balancer_fields, balancer, error);
    if (r == 0)
        r = node_decode(document, balancer->check, check_fields, balancer, error);
    if (r == 0)
        r = parse_address(document, balancer->statistics, &balancer->address, &balancer->address_length,
                          error);
    if (r < 0)
        return r;
    snprintf(balancer->budget.balancer, sizeof(balancer->budget.balancer), "%s", balancer->name);
    snprintf(balancer->budget.backend, sizeof(balancer->budget.backend), "%s", balancer->backend);
    return balancer->syslog ? listen_log(balancer, document, error) : 0;
}

int balancers_open(struct balancers **ret, struct event_base *base, const struct config *config,
                   void (*on_fact)(void *context, const struct balancer_fact *fact), void *context,
                   struct error *error)
{
    _cleanup_(balancers_freep) struct balancers *all = calloc(1, sizeof(*all));
    const struct node *node = config->balancers ? config->balancers->first : NULL;
    int r = 0;

    if (!all)
        return error_oom(error);
    *all = (struct balancers){.base = base, .on_fact = on_fact, .context = context};
    all->timer = event_new(base, -1, EV_PERSIST, ask_all, all);
    all->items = calloc(node ? config->balancers->count : 1, sizeof(*all->items));
    if (!all->timer || !all->items)
        return error_oom(error);
    for (; node && r == 0; node = node->next) {
        struct balancer *balancer = &all->items[all->count++];

        *balancer = (struct balancer){.all = all, .log_fd = -1};
        r = balancer_open(balancer, config->document, node, error);
    }
    if (r == 0)
        *ret = TAKE_PTR(all);
    return r;
}

struct balancers *balancers_free(struct balancers *all)
{
    if (!all)
        return NULL;
    for (size_t i = 0; i < all->count; i++) {
        hang_up(&all->items[i]);
        if (all->items[i].log_event)
            event_free(all->items[i].log_event);
        if (all->items[i].log_fd >= 0)
            close(all->items[i].log_fd);
    }
    if (all->timer)
        event_free(all->timer);
    free(all->items);
    free(all);
    return NULL;
}

size_t balancers_budgets(const struct balancers *all, struct balancer_budget *ret, size_t max)
{
    size_t n = 0;

    for (; n < all->count && n < max; n++)
        ret[n] = all->items[n].budget;
    return n;
}
