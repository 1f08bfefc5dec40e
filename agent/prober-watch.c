/*
 * See prober-watch.h. The kernel keeps the schedule: a periodic timerfd per probe, so that neither a slow
 * answer nor a slow loop moves the requests after it. Slots missed altogether are not made up for; they show
 * as a gap.
 */
#include "prober-watch.h"

#include <errno.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/timerfd.h>

#include "common/document.h"
#include "common/times.h"
#include "probes/probe.h"
#include "probes/recovery.h"

#define PROBE_BODY_MAX   65536
#define SAMPLES_KEPT_MAX 1024 /* of one probe, while the executor stays away; the oldest give way */
#define SAMPLES_SENT_MAX 64   /* in one message; 64 bytes each at most */

/* One request, and then the sample that it gave. */
struct asking {
    TAILQ_ENTRY(asking) entry;
    struct watched *watched;
    struct web_request *request; /* NULL once it was answered */
    int64_t sent_boot_nsec;
    struct sample sample;
};

/* One probe of a watch; @askings in the order of sending, so that one that is still awaited holds back the
 * later ones (for its timeout at most). */
struct watched {
    struct watch *watch;
    struct probe probe;
    int timer_fd;
    struct event *tick;
    TAILQ_HEAD(, asking) askings;
    size_t n_askings, n_open, open_max;
};

struct watch {
    struct document *document;
    struct web_pool *pool;
    const char *order, *run;
    int64_t until_usec;
    const struct node *list;
    size_t n_probes;
    struct watched *probes;
};

static const struct field watch_fields[] = {
    {"order", FIELD_UUID, offsetof(struct watch, order), true, 0, 0},
    {"run", FIELD_UUID, offsetof(struct watch, run), true, 0, 0},
    {"until_usec", FIELD_INTEGER, offsetof(struct watch, until_usec), true, 1, INT64_MAX},
    {"probes", FIELD_LIST, offsetof(struct watch, list), true, 1, WATCH_PROBES_MAX},
    {0},
};

static void asking_close(struct asking *asking)
{
    asking->watched->n_open -= asking->request != NULL;
    web_request_free(TAKE_PTR(asking->request));
}

static void asking_free(struct asking *asking)
{
    TAILQ_REMOVE(&asking->watched->askings, asking, entry);
    asking->watched->n_askings--;
    asking_close(asking);
    free(asking);
}

static void asking_on_answer(struct web_request *request, CURLcode code, void *context)
{
    struct asking *asking = context;
    const struct web_call *call = &request->call;
    const char *body = call->is_too_long ? NULL : call->body ? call->body : "";
    long status = web_call_status(call);

    asking->sample.latency_usec = (time_boot_nsec() - asking->sent_boot_nsec) / NSEC_PER_USEC;
    asking->sample.status = (int)status;
    asking->sample.is_ok = (code == CURLE_OK || call->is_too_long) &&
                           probe_accepts(&asking->watched->probe, status, body, call->length);
    asking_close(asking);
}

static int asking_start(struct asking *asking)
{
    const struct probe *probe = &asking->watched->probe;
    int r;

    r = web_request_new(&asking->request, probe->url, PROBE_BODY_MAX, probe->timeout_msec, asking_on_answer,
                        asking, NULL);
    if (r < 0)
        return r;
    asking->watched->n_open++;
    if (probe->is_fresh) {
        curl_easy_setopt(asking->request->call.easy, CURLOPT_FRESH_CONNECT, 1L);
        curl_easy_setopt(asking->request->call.easy, CURLOPT_FORBID_REUSE, 1L);
        curl_easy_setopt(asking->request->call.easy, CURLOPT_DNS_CACHE_TIMEOUT, 0L);
    }
    asking->sent_boot_nsec = time_boot_nsec();
    asking->sample.at_usec = time_now_usec();
    return web_request_start(asking->request, asking->watched->watch->pool, NULL);
}

static void watched_ask(struct watched *watched)
{
    struct asking *asking = calloc(1, sizeof(*asking));

    /* Without memory for it no request is made, and the gap says so. */
    if (!asking)
        return;
    if (watched->n_askings == SAMPLES_KEPT_MAX)
        asking_free(TAILQ_FIRST(&watched->askings));
    asking->watched = watched;
    TAILQ_INSERT_TAIL(&watched->askings, asking, entry);
    watched->n_askings++;
    if (asking_start(asking) < 0)
        asking_free(asking);
}

static void watched_on_tick(evutil_socket_t fd, short what, void *context)
{
    struct watched *watched = context;
    uint64_t expirations;

    if (read(fd, &expirations, sizeof(expirations)) != sizeof(expirations))
        return;
    if (time_now_usec() >= watched->watch->until_usec)
        watch_stop(watched->watch);
    else if (watched->n_open < watched->open_max)
        watched_ask(watched);
}

static int watched_start(struct watched *watched, struct event_base *base, int64_t start_nsec,
                         struct error *error)
{
    int64_t interval_nsec = watched->probe.interval_msec * NSEC_PER_MSEC;
    struct itimerspec schedule = {
        .it_value = {.tv_sec = start_nsec / NSEC_PER_SEC, .tv_nsec = start_nsec % NSEC_PER_SEC},
        .it_interval = {.tv_sec = interval_nsec / NSEC_PER_SEC, .tv_nsec = interval_nsec % NSEC_PER_SEC},
    };

    watched->open_max = (size_t)(watched->probe.timeout_msec / watched->probe.interval_msec + 1);
    watched->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (watched->timer_fd < 0 || timerfd_settime(watched->timer_fd, TFD_TIMER_ABSTIME, &schedule, NULL) < 0)
        return error_errno(error, errno, "probe %s: can't make a timer", watched->probe.name);
    watched->tick = event_new(base, watched->timer_fd, EV_READ | EV_PERSIST, watched_on_tick, watched);
    if (!watched->tick || event_add(watched->tick, NULL) < 0)
        return error_oom(error);
    return 0;
}

static void watched_stop(struct watched *watched)
{
    if (watched->tick)
        event_free(TAKE_PTR(watched->tick));
    if (watched->timer_fd >= 0)
        close(TAKE_FD(watched->timer_fd));
}

static int watch_decode(struct watch *watch, const char *text, size_t length, struct error *error)
{
    int r;

    r = document_decode(&watch->document, "watch", text, length, watch_fields, watch, error);
    if (r < 0)
        return r;
    watch->probes = calloc(watch->list->count, sizeof(*watch->probes));
    if (!watch->probes)
        return error_oom(error);
    for (const struct node *i = watch->list->first; i; i = i->next) {
        struct watched *watched = &watch->probes[watch->n_probes];

        watched->watch = watch;
        watched->timer_fd = -1;
        TAILQ_INIT(&watched->askings);
        r = probe_decode(&watched->probe, watch->document, i, error);
        if (r < 0)
            return r;
        watch->n_probes++;
    }
    return 0;
}

int watch_start(struct watch **ret, struct carrier *carrier, const char *text, size_t length,
                struct error *error)
{
    _cleanup_(watch_freep) struct watch *watch = calloc(1, sizeof(*watch));
    int64_t start_nsec;
    int r;

    if (!watch)
        return error_oom(error);
    watch->pool = carrier->pool;
    r = watch_decode(watch, text, length, error);
    start_nsec = time_boot_nsec();
    for (size_t i = 0; r == 0 && i < watch->n_probes; i++)
        r = watched_start(&watch->probes[i], carrier->base, start_nsec, error);
    if (r == 0)
        *ret = TAKE_PTR(watch);
    return r;
}

struct watch *watch_free(struct watch *watch)
{
    if (!watch)
        return NULL;
    for (size_t i = 0; i < watch->n_probes; i++) {
        watched_stop(&watch->probes[i]);
        while (watch->probes[i].n_askings)
            asking_free(TAILQ_FIRST(&watch->probes[i].askings));
    }
    free(watch->probes);
    document_free(watch->document);
    free(watch);
    return NULL;
}

const char *watch_order(const struct watch *watch)
{
    return watch->order;
}

void watch_stop(struct watch *watch)
{
    for (size_t i = 0; i < watch->n_probes; i++)
        watched_stop(&watch->probes[i]);
}

/* Return: the body of a message with the oldest @ret_count samples, owned by the caller; NULL when the oldest
 * is awaited */
static char *watched_format(const struct watched *watched, size_t *ret_count)
{
    json_t *list = json_array();
    json_auto_t *body = NULL;
    struct asking *asking;

    TAILQ_FOREACH(asking, &watched->askings, entry)
    {
        if (asking->request || json_array_size(list) == SAMPLES_SENT_MAX ||
            json_array_append_new(list, json_pack("[I, I, i, i]", (json_int_t)asking->sample.at_usec,
                                                  (json_int_t)asking->sample.latency_usec,
                                                  asking->sample.status, (int)asking->sample.is_ok)) < 0)
            break;
    }
    *ret_count = json_array_size(list);
    body = json_pack("{s:s, s:s, s:o}", "order", watched->watch->order, "probe", watched->probe.name,
                     "samples", list);
    return *ret_count ? json_dumps(body, JSON_COMPACT) : NULL;
}

/* Return: 0 when all that was known is handed over, -errno */
static int watched_flush(struct watched *watched, struct carrier *carrier)
{
    size_t count;
    char *body;
    int r = 0;

    while (r == 0 && (body = watched_format(watched, &count))) {
        r = carrier_send(carrier, CHANNEL_SAMPLES, body, -1, NULL);
        for (; r == 0 && count; count--)
            asking_free(TAILQ_FIRST(&watched->askings));
        free(body);
    }
    return r;
}

void watch_flush(struct watch *watch, struct carrier *carrier)
{
    for (size_t i = 0; i < watch->n_probes; i++)
        if (watched_flush(&watch->probes[i], carrier) < 0)
            return;
}

bool watch_is_over(const struct watch *watch)
{
    for (size_t i = 0; i < watch->n_probes; i++)
        if (watch->probes[i].tick || watch->probes[i].n_askings)
            return false;
    return true;
}
