/* A new certificate before the old one ends: same key, replaced in one step; connections that are open keep
 * the old one. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/certificate.h"
#include "common/io.h"
#include "common/times.h"
#include "courier.h"

#define RENEW_BEFORE_USEC (10LL * 86400 * USEC_PER_SEC)
#define RENEW_CHECK_S     3600

struct renewal {
    struct courier *courier;
    struct web_request *request;
    struct event *timer;
    struct backoff backoff;
};

static int renewal_load_key(const struct renewal *renewal, EVP_PKEY **ret, struct error *error)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/tls.key", renewal->courier->folder);
    return certificate_key_load(ret, path, error);
}

/* Return: 1 when it is time, 0 when not, -errno */
static int renewal_is_due(const struct renewal *renewal, EVP_PKEY *key, struct error *error)
{
    _cleanup_free_ char *pem = NULL;
    int64_t expires_usec;
    char path[PATH_MAX];
    size_t length;
    int r;

    snprintf(path, sizeof(path), "%s/tls.crt", renewal->courier->folder);
    r = io_read_file(path, CERTIFICATE_BYTES_MAX, &pem, &length, error);
    if (r < 0)
        return r;
    r = certificate_check(pem, key, &expires_usec, NULL, error);
    if (r < 0)
        return error_wrap(error, "%s", path);
    return expires_usec - time_now_usec() < RENEW_BEFORE_USEC;
}

static int renewal_store(struct renewal *renewal, json_t *answer, struct error *error)
{
    const char *pem = json_string_value(json_object_get(answer, "certificate"));
    _cleanup_(certificate_key_freep) EVP_PKEY *key = NULL;
    int64_t expires_usec;
    char path[PATH_MAX];
    int r;

    r = renewal_load_key(renewal, &key, error);
    if (r < 0)
        return r;
    r = certificate_check(pem ? pem : "", key, &expires_usec, NULL, error);
    if (r < 0)
        return error_wrap(error, "the renewed certificate");
    if (expires_usec - time_now_usec() < RENEW_BEFORE_USEC)
        return error_set(error, EPROTO, "the renewed certificate ends within 10 days too");
    snprintf(path, sizeof(path), "%s/tls.crt", renewal->courier->folder);
    return io_write_file(path, pem, strlen(pem), 0600, error);
}

static void renewal_fail(struct renewal *renewal, const struct error *error)
{
    struct timeval wait;

    if (renewal->backoff.failures < renewal->courier->n_urls)
        courier_say(renewal->courier, error);
    wait = backoff_next(&renewal->backoff);
    event_add(renewal->timer, &wait);
}

static void renewal_rest(struct renewal *renewal)
{
    struct timeval wait = {.tv_sec = RENEW_CHECK_S};

    backoff_reset(&renewal->backoff);
    event_add(renewal->timer, &wait);
}

static void renewal_on_answer(struct web_request *request, CURLcode code, void *context)
{
    _cleanup_(web_request_freep) struct web_request *finished = request;
    struct renewal *renewal = context;
    struct error error = {0};
    json_t *answer = NULL;

    renewal->request = NULL;
    if (courier_answer(renewal->courier, finished, code, &answer, &error) < 0 ||
        renewal_store(renewal, answer, &error) < 0)
        renewal_fail(renewal, &error);
    else
        renewal_rest(renewal);
    json_decref(answer);
}

static int renewal_ask(struct renewal *renewal, EVP_PKEY *key, struct error *error)
{
    _cleanup_free_ char *csr = NULL, *body = NULL;
    json_t *json;
    int r;

    r = certificate_request(key, renewal->courier->host, &csr, error);
    if (r < 0)
        return r;
    json = json_pack("{s:s}", "csr", csr);
    body = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    if (!body)
        return error_oom(error);
    return courier_request(renewal->courier, &renewal->request, "/v1/agent/renew", body, COURIER_ANSWER_MAX,
                           COURIER_TIMEOUT_MSEC, renewal_on_answer, renewal, error);
}

static void renewal_on_timer(evutil_socket_t fd, short what, void *context)
{
    _cleanup_(certificate_key_freep) EVP_PKEY *key = NULL;
    struct renewal *renewal = context;
    struct error error = {0};
    int r;

    r = renewal_load_key(renewal, &key, &error);
    if (r == 0)
        r = renewal_is_due(renewal, key, &error);
    if (r > 0)
        r = renewal_ask(renewal, key, &error);
    else if (r == 0)
        renewal_rest(renewal);
    if (r < 0)
        renewal_fail(renewal, &error);
}

int renewal_new(struct renewal **ret, struct courier *courier, struct error *error)
{
    struct renewal *renewal = calloc(1, sizeof(*renewal));
    struct timeval now = {0};

    if (!renewal)
        return error_oom(error);
    renewal->courier = courier;
    renewal->timer = evtimer_new(courier->base, renewal_on_timer, renewal);
    if (!renewal->timer || event_add(renewal->timer, &now) < 0) {
        renewal_free(renewal);
        return error_oom(error);
    }
    *ret = renewal;
    return 0;
}

struct renewal *renewal_free(struct renewal *renewal)
{
    if (!renewal)
        return NULL;
    web_request_free(renewal->request);
    if (renewal->timer)
        event_free(renewal->timer);
    free(renewal);
    return NULL;
}
