/* A new certificate before the old one ends: same key, replaced in one step; connections that are open keep
 * the old one. */
#include <errno.h>
#include <string.h>

#include "common/certificate.h"
#include "common/io.h"
#include "common/times.h"
#include "courier.h"

#define CERTIFICATE_PATH  COURIER_FOLDER "/tls.crt"
#define KEY_PATH          COURIER_FOLDER "/tls.key"
#define RENEW_BEFORE_USEC (10LL * 86400 * USEC_PER_SEC)
#define RENEW_CHECK_USEC  (3600 * USEC_PER_SEC)

/* Return: 1 when @pem is for @key and good for longer than 10 days, 0 when it ends earlier, -errno */
static int renewal_is_good(const char *pem, EVP_PKEY *key, const char *name, struct error *error)
{
    int64_t expires_usec;

    if (certificate_check(pem, key, &expires_usec, NULL, error) < 0)
        return error_wrap(error, "%s", name);
    return expires_usec - time_now_usec() >= RENEW_BEFORE_USEC;
}

static int renewal_rest(struct task *task)
{
    task->failures = 0;
    task_wait(task, RENEW_CHECK_USEC, renewal_begin);
    return 0;
}

static int renewal_take(struct task *task, const struct web_call *call, json_t *answer, struct error *error)
{
    const char *pem = json_string_value(json_object_get(answer, "certificate"));
    _cleanup_(certificate_key_freep) EVP_PKEY *key = NULL;
    int r;

    if (!answer)
        return -EIO;
    r = certificate_key_load(&key, KEY_PATH, error);
    if (r == 0)
        r = renewal_is_good(pem ? pem : "", key, "the renewed certificate", error);
    if (r == 0)
        r = error_set(error, EPROTO, "the renewed certificate ends within 10 days too");
    if (r > 0)
        r = io_write_file(CERTIFICATE_PATH, pem, strlen(pem), 0600, error);
    return r < 0 ? r : renewal_rest(task);
}

static int renewal_ask(struct task *task, EVP_PKEY *key, struct error *error)
{
    _cleanup_free_ char *csr = NULL, *body = NULL;
    json_auto_t *json = NULL;
    int r;

    r = certificate_request(key, task->courier->host, &csr, error);
    if (r < 0)
        return r;
    json = json_pack("{s:s}", "csr", csr);
    body = json_dumps(json, JSON_COMPACT);
    if (!body)
        return error_oom(error);
    return task_ask(task, "/v1/agent/renew", body, COURIER_TIMEOUT_MSEC, renewal_take, error);
}

int renewal_begin(struct task *task, struct error *error)
{
    _cleanup_(certificate_key_freep) EVP_PKEY *key = NULL;
    _cleanup_free_ char *pem = NULL;
    size_t length;
    int r;

    r = certificate_key_load(&key, KEY_PATH, error);
    if (r == 0)
        r = io_read_file(CERTIFICATE_PATH, CERTIFICATE_BYTES_MAX, &pem, &length, error);
    if (r == 0)
        r = renewal_is_good(pem, key, CERTIFICATE_PATH, error);
    if (r == 0)
        return renewal_ask(task, key, error);
    return r < 0 ? r : renewal_rest(task);
}
