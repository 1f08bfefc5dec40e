/* See web.h. */
#include "web.h"

#include <errno.h>
#include <string.h>

struct web {
    CURLM *multi;
    struct event_base *base;
    struct event *timer;
};

static void web_finish_requests(struct web *web)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(web->multi, &left))) {
        struct web_request *request;
        CURLcode code = message->data.result;

        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
        curl_multi_remove_handle(web->multi, request->easy);
        request->web = NULL;
        request->done(request, code, request->context);
    }
}

static void web_act(struct web *web, curl_socket_t socket, int what)
{
    int running;

    curl_multi_socket_action(web->multi, socket, what, &running);
    web_finish_requests(web);
}

static void web_on_socket(evutil_socket_t socket, short what, void *context)
{
    web_act(context, socket,
            (what & EV_READ ? CURL_CSELECT_IN : 0) | (what & EV_WRITE ? CURL_CSELECT_OUT : 0));
}

static void web_on_timer(evutil_socket_t fd, short what, void *context)
{
    web_act(context, CURL_SOCKET_TIMEOUT, 0);
}

/* curl says what it waits for on @socket; the event for it hangs on the socket. */
static int web_watch_socket(CURL *easy, curl_socket_t socket, int what, void *context, void *socket_context)
{
    struct event *event = socket_context;
    struct web *web = context;
    short wanted = (what & CURL_POLL_IN ? EV_READ : 0) | (what & CURL_POLL_OUT ? EV_WRITE : 0);

    if (event)
        event_free(event);
    event = what == CURL_POLL_REMOVE ? NULL
                                     : event_new(web->base, socket, wanted | EV_PERSIST, web_on_socket, web);
    curl_multi_assign(web->multi, socket, event);
    return event ? event_add(event, NULL) : what == CURL_POLL_REMOVE ? 0 : -1;
}

static int web_set_timer(CURLM *multi, long timeout_msec, void *context)
{
    struct timeval wait = {.tv_sec = timeout_msec / 1000, .tv_usec = timeout_msec % 1000 * 1000};
    struct web *web = context;

    return timeout_msec < 0 ? event_del(web->timer) : event_add(web->timer, &wait);
}

int web_new(struct web **ret, struct event_base *base, struct error *error)
{
    _cleanup_(web_freep) struct web *web = calloc(1, sizeof(*web));

    if (!web)
        return error_oom(error);
    web->base = base;
    web->timer = evtimer_new(base, web_on_timer, web);
    web->multi = curl_multi_init();
    if (!web->timer || !web->multi)
        return error_oom(error);
    curl_multi_setopt(web->multi, CURLMOPT_SOCKETFUNCTION, web_watch_socket);
    curl_multi_setopt(web->multi, CURLMOPT_SOCKETDATA, web);
    curl_multi_setopt(web->multi, CURLMOPT_TIMERFUNCTION, web_set_timer);
    curl_multi_setopt(web->multi, CURLMOPT_TIMERDATA, web);
    *ret = TAKE_PTR(web);
    return 0;
}

struct web *web_free(struct web *web)
{
    if (!web)
        return NULL;
    if (web->multi)
        curl_multi_cleanup(web->multi);
    if (web->timer)
        event_free(web->timer);
    free(web);
    return NULL;
}

static size_t web_on_data(char *data, size_t size, size_t count, void *context)
{
    struct web_request *request = context;
    size_t length = size * count;
    char *body;

    if (length > request->limit_bytes - request->length) {
        request->is_too_long = true;
        return 0;
    }
    body = realloc(request->body, request->length + length + 1);
    if (!body)
        return 0;
    memcpy(body + request->length, data, length);
    request->body = body;
    request->length += length;
    body[request->length] = '\0';
    return length;
}

int web_request_new(struct web_request **ret, const char *url, size_t limit_bytes, long timeout_msec,
                    void (*done)(struct web_request *request, CURLcode code, void *context), void *context,
                    struct error *error)
{
    _cleanup_(web_request_freep) struct web_request *request = calloc(1, sizeof(*request));

    if (!request)
        return error_oom(error);
    request->limit_bytes = limit_bytes;
    request->done = done;
    request->context = context;
    request->easy = curl_easy_init();
    if (!request->easy || curl_easy_setopt(request->easy, CURLOPT_URL, url) != CURLE_OK)
        return error_oom(error);
    curl_easy_setopt(request->easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(request->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(request->easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(request->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(request->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(request->easy, CURLOPT_TIMEOUT_MS, timeout_msec);
    curl_easy_setopt(request->easy, CURLOPT_USERAGENT, "grivet/" GRIVET_VERSION);
    curl_easy_setopt(request->easy, CURLOPT_WRITEFUNCTION, web_on_data);
    curl_easy_setopt(request->easy, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(request->easy, CURLOPT_ERRORBUFFER, request->words);
    curl_easy_setopt(request->easy, CURLOPT_PRIVATE, request);
    *ret = TAKE_PTR(request);
    return 0;
}

struct web_request *web_request_free(struct web_request *request)
{
    if (!request)
        return NULL;
    if (request->web)
        curl_multi_remove_handle(request->web->multi, request->easy);
    if (request->easy)
        curl_easy_cleanup(request->easy);
    curl_slist_free_all(request->headers);
    free(request->body);
    free(request);
    return NULL;
}

int web_start(struct web *web, struct web_request *request, struct error *error)
{
    CURLMcode code;

    if (request->headers)
        curl_easy_setopt(request->easy, CURLOPT_HTTPHEADER, request->headers);
    code = curl_multi_add_handle(web->multi, request->easy);
    if (code != CURLM_OK)
        return error_set(error, EIO, "libcurl: %s", curl_multi_strerror(code));
    request->web = web;
    return 0;
}

long web_status(const struct web_request *request)
{
    long status = 0;

    curl_easy_getinfo(request->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

int web_error(const struct web_request *request, CURLcode code, struct error *error)
{
    const char *url = "";

    curl_easy_getinfo(request->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (request->is_too_long)
        return error_set(error, EIO, "%.200s: the answer is longer than %zu bytes", url,
                         request->limit_bytes);
    if (code != CURLE_OK)
        return error_set(error, EIO, "%.200s: %s", url,
                         request->words[0] ? request->words : curl_easy_strerror(code));
    return error_set(error, EIO, "%.200s: status %ld: %.200s", url, web_status(request),
                     request->body ? request->body : "");
}
