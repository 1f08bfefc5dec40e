/* See web-pool.h. */
#include "web-pool.h"

#include <errno.h>

struct web_pool {
    CURLM *multi;
    struct event_base *base;
    struct event *timer;
};

static void web_pool_act(struct web_pool *pool, curl_socket_t socket, int what)
{
    CURLMsg *message;
    int running, left;

    curl_multi_socket_action(pool->multi, socket, what, &running);
    while ((message = curl_multi_info_read(pool->multi, &left))) {
        struct web_request *request;
        CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
        curl_multi_remove_handle(pool->multi, request->call.easy);
        request->pool = NULL;
        request->done(request, code, request->context);
    }
}

static void web_pool_on_socket(evutil_socket_t socket, short what, void *context)
{
    web_pool_act(context, socket,
                 (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void web_pool_on_timer(evutil_socket_t fd, short what, void *context)
{
    web_pool_act(context, CURL_SOCKET_TIMEOUT, 0);
}

/* curl says what it waits for on @socket; the event for it hangs on the socket. */
static int web_pool_watch_socket(CURL *easy, curl_socket_t socket, int what, void *context,
                                 void *socket_context)
{
    struct event *event = socket_context;
    struct web_pool *pool = context;
    short wanted = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);
    bool is_over = what == CURL_POLL_REMOVE;

    if (event)
        event_free(event);
    event = is_over ? NULL : event_new(pool->base, socket, wanted | EV_PERSIST, web_pool_on_socket, pool);
    curl_multi_assign(pool->multi, socket, event);
    return is_over ? 0 : event ? event_add(event, NULL) : -1;
}

static int web_pool_set_timer(CURLM *multi, long timeout_msec, void *context)
{
    struct timeval wait = {.tv_sec = timeout_msec / 1000, .tv_usec = timeout_msec % 1000 * 1000};
    struct web_pool *pool = context;

    return timeout_msec < 0 ? event_del(pool->timer) : event_add(pool->timer, &wait);
}

int web_pool_new(struct web_pool **ret, struct event_base *base, struct error *error)
{
    _cleanup_(web_pool_freep) struct web_pool *pool = calloc(1, sizeof(*pool));

    if (!pool)
        return error_oom(error);
    pool->base = base;
    pool->timer = evtimer_new(base, web_pool_on_timer, pool);
    pool->multi = curl_multi_init();
    if (!pool->timer || !pool->multi)
        return error_oom(error);
    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETFUNCTION, web_pool_watch_socket);
    curl_multi_setopt(pool->multi, CURLMOPT_SOCKETDATA, pool);
    curl_multi_setopt(pool->multi, CURLMOPT_TIMERFUNCTION, web_pool_set_timer);
    curl_multi_setopt(pool->multi, CURLMOPT_TIMERDATA, pool);
    *ret = TAKE_PTR(pool);
    return 0;
}

struct web_pool *web_pool_free(struct web_pool *pool)
{
    if (!pool)
        return NULL;
    curl_multi_cleanup(pool->multi);
    if (pool->timer)
        event_free(pool->timer);
    free(pool);
    return NULL;
}

int web_request_new(struct web_request **ret, const char *url, size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error)
{
    _cleanup_(web_request_freep) struct web_request *request = calloc(1, sizeof(*request));

    if (!request)
        return error_oom(error);
    request->done = done;
    request->context = context;
    if (web_call_init(&request->call, url, limit_bytes, timeout_msec, error) < 0)
        return -ENOMEM;
    curl_easy_setopt(request->call.easy, CURLOPT_PRIVATE, request);
    *ret = TAKE_PTR(request);
    return 0;
}

int web_request_start(struct web_request *request, struct web_pool *pool, struct error *error)
{
    CURLMcode code = curl_multi_add_handle(pool->multi, request->call.easy);

    if (code != CURLM_OK)
        return error_set(error, EIO, "libcurl: %s", curl_multi_strerror(code));
    request->pool = pool;
    return 0;
}

struct web_request *web_request_free(struct web_request *request)
{
    if (!request)
        return NULL;
    if (request->pool)
        curl_multi_remove_handle(request->pool->multi, request->call.easy);
    web_call_clear(&request->call);
    free(request);
    return NULL;
}
