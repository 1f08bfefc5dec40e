/* The balancer's side of the coordinator against a stand-in for HAProxy on loopback: asked, answered, logged,
 * silent. */
#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/balancer.h"
#include "unit.h"

#define STAT                                                                                                 \
    "# pxname,svname,status,check_status,check_rise,check_fall,addr,\n"                                      \
    "web,s1,UP,L7OK,2,3,10.1.0.11:8080,\nweb,s2,DOWN,L4TOUT,2,3,10.2.0.11:8080,\n\n"

static struct event_base *base;
static struct balancer_fact facts[8], line;
static size_t n_facts, n_wanted, n_lines;
static char asked[64];

static void on_server(const struct balancer_fact *fact)
{
    if (n_facts < 8)
        facts[n_facts++] = *fact;
    if (n_facts == n_wanted)
        event_base_loopbreak(base);
}

static void on_line(const struct balancer_fact *fact)
{
    line = *fact;
    n_lines++;
    event_base_loopbreak(base);
}

static void on_fact(void *context, const struct balancer_fact *fact)
{
    if (*fact->address)
        on_server(fact);
    else
        on_line(fact);
}

static void on_sent(struct bufferevent *connection, void *context)
{
    bufferevent_free(connection);
}

static void on_asked(struct bufferevent *connection, void *context)
{
    size_t n = bufferevent_read(connection, asked, sizeof(asked) - 1);

    asked[n] = '\0';
    bufferevent_write(connection, STAT, strlen(STAT));
    bufferevent_setcb(connection, NULL, on_sent, NULL, NULL);
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *context)
{
    struct bufferevent *connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);

    bufferevent_setcb(connection, on_asked, NULL, NULL, NULL);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

static struct sockaddr_in free_port(int type)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    close(fd);
    return address;
}

static struct document *configure(struct config *config, const struct sockaddr_in *statistics,
                                  const struct sockaddr_in *syslog)
{
    struct document *document;
    char text[400];
    int n = snprintf(text, sizeof(text),
                     "[{\"name\": \"shop\", \"kind\": \"haproxy\", \"statistics\": \"127.0.0.1:%d\","
                     " \"syslog\": \"127.0.0.1:%d\", \"backend\": \"web\","
                     " \"check\": {\"interval_ms\": 500, \"timeout_ms\": 500}}]",
                     ntohs(statistics->sin_port), ntohs(syslog->sin_port));

    ck_assert_int_eq(document_parse_json(&document, "c.yaml", text, (size_t)n, NULL), 0);
    *config = (struct config){.document = document, .balancers = document_root(document)};
    return document;
}

static void dispatch(void)
{
    const struct timeval limit = {5, 0};

    event_base_loopexit(base, &limit);
    event_base_dispatch(base);
}

START_TEST(test_asks_and_listens)
{
    struct sockaddr_in statistics = free_port(SOCK_STREAM), syslog = free_port(SOCK_DGRAM);
    const char *text = "<129>haproxy[9]: Server web/s1 is DOWN, reason: Layer4 timeout.\n";
    struct balancer_budget budget;
    struct evconnlistener *listener;
    struct balancers *balancers;
    struct document *document;
    struct error error = {};
    struct config config;
    int fd;

    base = event_base_new();
    document = configure(&config, &statistics, &syslog);
    listener = evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 1,
                                       (struct sockaddr *)&statistics, sizeof(statistics));
    ck_assert_ptr_nonnull(listener);
    ck_assert_msg(balancers_open(&balancers, base, &config, on_fact, NULL, &error) == 0, "%s", error.text);
    ck_assert_uint_eq(balancers_budgets(balancers, &budget, 1), 1);
    ck_assert_int_eq(budget.out_most_msec, 0); /* not known yet */

    n_wanted = 4; /* twice: it asks again after a second */
    balancers_watch(balancers, true);
    dispatch();
    ck_assert_uint_eq(n_facts, 4);
    ck_assert_str_eq(asked, "show stat\n");
    ck_assert_str_eq(facts[1].server, "s2");
    ck_assert_str_eq(facts[1].balancer, "shop");
    ck_assert_int_ge(facts[2].at_usec - facts[0].at_usec, 900000);
    balancers_budgets(balancers, &budget, 1);
    ck_assert_int_eq(budget.out_most_msec, 3000);
    balancers_watch(balancers, false);

    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(sendto(fd, text, strlen(text), 0, (struct sockaddr *)&syslog, sizeof(syslog)),
                     strlen(text));
    close(fd);
    dispatch();
    ck_assert_uint_eq(n_lines, 1);
    ck_assert_str_eq(line.state, "DOWN");

    balancers_free(balancers);
    evconnlistener_free(listener);
    document_free(document);
    event_base_free(base);
}
END_TEST

START_TEST(test_silent)
{
    struct sockaddr_in statistics = free_port(SOCK_STREAM), syslog = free_port(SOCK_DGRAM);
    struct balancers *balancers;
    struct document *document;
    struct config config;

    base = event_base_new();
    n_facts = 0;
    document = configure(&config, &statistics, &syslog);
    ck_assert_int_eq(balancers_open(&balancers, base, &config, on_fact, NULL, NULL), 0);
    balancers_watch(balancers, true); /* refused: nobody listens */
    for (int i = 0; i < 3; i++)
        event_base_loop(base, EVLOOP_ONCE | (i ? EVLOOP_NONBLOCK : 0));
    ck_assert_uint_eq(n_facts, 0);
    balancers_free(balancers);
    document_free(document);
    event_base_free(base);
}
END_TEST

START_TEST(test_refused)
{
    const char *text =
        "[{\"name\": \"shop\", \"kind\": \"alb\", \"statistics\": \"127.0.0.1:9\", \"backend\": \"web\","
        " \"check\": {\"interval_ms\": 500, \"timeout_ms\": 500}}]";
    struct balancers *balancers;
    struct document *document;
    struct error error = {};
    struct config config;

    ck_assert_int_eq(document_parse_json(&document, "c.yaml", text, strlen(text), NULL), 0);
    config = (struct config){.document = document, .balancers = document_root(document)};
    base = event_base_new();
    ck_assert_int_lt(balancers_open(&balancers, base, &config, on_fact, NULL, &error), 0);
    ck_assert_msg(strstr(error.text, "kind: expected one of haproxy") != NULL, "%s", error.text);
    document_free(document);
    event_base_free(base);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_asks_and_listens, test_silent, test_refused, NULL};

    return unit_run("balancer", tests);
}
