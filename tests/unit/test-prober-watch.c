/* What the prober keeps while the executor is away. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "agent/prober-watch.h"
#include "common/times.h"

#define KEPT_MAX    1024
#define ASKED       (KEPT_MAX + 100)
#define ASKED_MAX   (ASKED + 100)
#define AT_ONCE_MAX 13 /* timeout over interval, and one */

#define WATCH                                                                                                \
    "{\"order\":\"0198a000-0000-7000-8000-000000000001\",\"run\":\"0198a000-0000-7000-8000-000000000002\","  \
    "\"until_usec\":%lld,\"probes\":[{\"name\":\"shop\",\"kind\":\"http\",\"url\":\"http://127.0.0.1:%d/\"," \
    "\"interval_ms\":50,\"timeout_ms\":600,\"connection\":\"fresh\"}]}"

static size_t n_asked, n_samples;
static int64_t asked_usec[ASKED_MAX], sampled_usec[ASKED_MAX];

/* In place of the C library's: schedules a hundred times as fast, of which the watch knows nothing. */
int timerfd_settime(int fd, int flags, const struct itimerspec *schedule, struct itimerspec *former)
{
    struct itimerspec fast = *schedule;

    fast.it_interval.tv_nsec /= 100;
    return (int)syscall(SYS_timerfd_settime, fd, flags, &fast, former);
}

static void on_asked(evutil_socket_t listener, short what, void *context)
{
    int fd = accept(listener, NULL, NULL);

    ck_assert_int_ge(fd, 0);
    close(fd); /* no answer is one, too */
    ck_assert_uint_lt(n_asked, ASKED_MAX);
    asked_usec[n_asked++] = time_now_usec();
}

static int listen_anywhere(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, length), 0);
    ck_assert_int_eq(listen(fd, 64), 0);
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static int on_samples(void *context, struct message *message, struct error *error)
{
    json_auto_t *body = json_loadb(message->body, message->length, 0, NULL);
    json_t *samples = json_object_get(body, "samples"), *sample;
    size_t i;

    json_array_foreach(samples, i, sample)
    {
        ck_assert_uint_lt(n_samples, ASKED_MAX);
        sampled_usec[n_samples++] = json_integer_value(json_array_get(sample, 0));
    }
    return 0;
}

static const struct channel_row rows[] = {
    {CHANNEL_SAMPLES, "samples", CHANNEL_PROBER, 2, CHANNEL_BODY_MAX, false, on_samples},
    {0},
};

/* Of one probe the latest, and no more of them than so many. */
START_TEST(keeps_the_latest)
{
    struct carrier carrier = {.base = event_base_new(), .socket = -1};
    _cleanup_(watch_freep) struct watch *watch = NULL;
    struct event *asked;
    struct error error;
    char text[512];
    uint16_t port;
    int listener = listen_anywhere(&port), pair[2], length;

    length = snprintf(text, sizeof(text), WATCH, (long long)time_now_usec() + 60 * USEC_PER_SEC, port);
    asked = event_new(carrier.base, listener, EV_READ | EV_PERSIST, on_asked, NULL);
    event_add(asked, NULL);
    ck_assert_int_eq(web_pool_new(&carrier.pool, carrier.base, &error), 0);
    ck_assert_msg(watch_start(&watch, &carrier, text, length, &error) == 0, "%s", error.text);
    while (n_asked < ASKED) {
        event_base_loop(carrier.base, EVLOOP_ONCE);
        watch_flush(watch, &carrier); /* in vain: it is away */
    }
    watch_stop(watch);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    carrier.socket = pair[0];
    while (!watch_is_over(watch)) {
        event_base_loop(carrier.base, EVLOOP_NONBLOCK);
        watch_flush(watch, &carrier);
        while (channel_receive(pair[1], CHANNEL_PROBER, rows, NULL, &error) > 0)
            ;
    }
    ck_assert_uint_eq(n_samples, KEPT_MAX);
    ck_assert_int_gt(sampled_usec[0], asked_usec[n_asked - KEPT_MAX - 1 - AT_ONCE_MAX]);
    ck_assert_int_gt(sampled_usec[KEPT_MAX - 1], asked_usec[n_asked - 1 - AT_ONCE_MAX]);
    watch = watch_free(watch);
    web_pool_free(carrier.pool);
    event_free(asked);
    event_base_free(carrier.base);
    close(listener);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {keeps_the_latest, NULL};

    return unit_run("prober-watch", tests);
}
