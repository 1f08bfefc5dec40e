/* Towards the coordinators: which of them, how, what counts as an answer, and when to ask again. */
#include <errno.h>
#include <event2/util.h>
#include <stdio.h>
#include <string.h>

#include "common/times.h"
#include "courier.h"

#define ANSWER_MAX           (2 * 1024 * 1024)
#define CONNECT_TIMEOUT_MSEC 3000L
#define KEPT_FOR_S           3600L /* idle connections; a fault may have left them as the only ones that work */
#define RETRY_MIN_USEC       (200 * USEC_PER_MSEC)
#define RETRY_MAX_USEC       (5000 * USEC_PER_MSEC)

int courier_request(struct courier *courier, struct web_request **ret, const char *path, const char *body,
                    size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error)
{
    _cleanup_(web_request_freep) struct web_request *request = NULL;
    char url[4096 + 256];
    int r;

    snprintf(url, sizeof(url), "%s%s", courier->urls[courier->current], path);
    r = web_request_new(&request, url, limit_bytes, timeout_msec, done, context, error);
    if (r == 0)
        r = web_call_set_tls(&request->call, COURIER_FOLDER "/ca.crt", COURIER_FOLDER "/tls.crt",
                             COURIER_FOLDER "/tls.key", error);
    if (r == 0 && body)
        r = web_call_set_body(&request->call, "application/json", body, strlen(body), error);
    if (r < 0)
        return r;
    curl_easy_setopt(request->call.easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MSEC);
    curl_easy_setopt(request->call.easy, CURLOPT_MAXAGE_CONN, KEPT_FOR_S);
    curl_easy_setopt(request->call.easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(request->call.easy, CURLOPT_TCP_KEEPIDLE, 10L);
    curl_easy_setopt(request->call.easy, CURLOPT_TCP_KEEPINTVL, 5L);
    r = web_request_start(request, courier->carrier.pool, error);
    if (r == 0)
        *ret = TAKE_PTR(request);
    return r;
}

void courier_blame(struct courier *courier, const struct web_call *call)
{
    const char *current = courier->urls[courier->current], *url = "";

    curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (!strncmp(url, current, strlen(current)))
        courier->current = (courier->current + 1) % courier->n_urls;
}

/* Doubles with each failure; half of it random, so that a fleet does not march in step. */
static int64_t task_retry_usec(const struct task *task)
{
    int64_t usec = task->failures < 5 ? RETRY_MIN_USEC << task->failures : RETRY_MAX_USEC;
    uint16_t random;

    evutil_secure_rng_get_bytes(&random, sizeof(random));
    return usec / 2 + usec / 2 * random / UINT16_MAX;
}

void task_fail(struct task *task, const struct error *error)
{
    /* Once for each coordinator and outage. */
    if (task->failures < task->courier->n_urls)
        courier_say(error);
    task_wait(task, task_retry_usec(task), task->begin);
    task->failures++;
}

void task_go(struct task *task, int (*step)(struct task *task, struct error *error))
{
    struct error error = {0};

    event_del(task->timer);
    task->step = step;
    if (step(task, &error) < 0)
        task_fail(task, &error);
}

static void task_on_timer(evutil_socket_t fd, short what, void *context)
{
    struct task *task = context;

    task_go(task, task->step);
}

void task_wait(struct task *task, int64_t usec, int (*step)(struct task *task, struct error *error))
{
    struct timeval wait = {.tv_sec = usec / USEC_PER_SEC, .tv_usec = usec % USEC_PER_SEC};

    task->step = step;
    event_add(task->timer, &wait);
}

static int task_take(struct task *task, const struct web_call *call, CURLcode code, struct error *error)
{
    long status = code == CURLE_OK ? web_call_status(call) : 0;
    json_auto_t *answer = NULL;
    json_error_t why;

    if (status != 200) {
        web_call_error(call, code, error);
        if (status && status < 500)
            return task->take(task, call, NULL, error);
        courier_blame(task->courier, call);
        return -EIO;
    }
    answer = json_loadb(call->body ? call->body : "", call->length, JSON_REJECT_DUPLICATES, &why);
    if (!answer)
        return error_set(error, EPROTO, "the coordinator's answer:%d:%d: %s", why.line, why.column, why.text);
    return task->take(task, call, answer, error);
}

static void task_on_answer(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(web_request_freep) struct web_request *finished = request;
    struct task *task = context;
    struct error error = {0};

    task->request = NULL;
    if (task_take(task, &finished->call, code, &error) < 0)
        task_fail(task, &error);
}

int task_ask(struct task *task, const char *path, const char *body, long timeout_msec,
             int (*take)(struct task *task, const struct web_call *call, json_t *answer, struct error *error),
             struct error *error)
{
    task->take = take;
    return courier_request(task->courier, &task->request, path, body, ANSWER_MAX, timeout_msec,
                           task_on_answer, task, error);
}

int task_init(struct task *task, struct courier *courier,
              int (*begin)(struct task *task, struct error *error), struct error *error)
{
    *task = (struct task){.courier = courier, .begin = begin};
    task->timer = evtimer_new(courier->carrier.base, task_on_timer, task);
    return task->timer ? 0 : error_oom(error);
}

bool task_is_idle(const struct task *task)
{
    return !task->request && !evtimer_pending(task->timer, NULL);
}

void task_hurry(struct task *task)
{
    if (task->failures && task->step == task->begin && evtimer_pending(task->timer, NULL))
        task_go(task, task->begin);
}

void task_stop(struct task *task)
{
    web_request_free(TAKE_PTR(task->request));
    if (task->timer)
        event_del(task->timer);
}

void task_clear(struct task *task)
{
    task_stop(task);
    if (task->timer)
        event_free(TAKE_PTR(task->timer));
}
