/* See web.h. */
#include "web.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static size_t web_call_on_data(char *data, size_t size, size_t count, void *context)
{
    struct web_call *call = context;
    size_t length = size * count;
    char *body;

    if (length > call->limit_bytes - call->length) {
        call->is_too_long = true;
        return 0;
    }
    body = realloc(call->body, call->length + length + 1);
    if (!body)
        return 0;
    memcpy(body + call->length, data, length);
    call->body = body;
    call->length += length;
    body[call->length] = '\0';
    return length;
}

int web_call_init(struct web_call *call, const char *url, size_t limit_bytes, long timeout_msec,
                  struct error *error)
{
    CURL *easy = call->easy ? call->easy : curl_easy_init();

    call->easy = NULL;
    web_call_clear(call);
    *call = (struct web_call){.easy = easy, .limit_bytes = limit_bytes};
    if (!easy)
        return error_oom(error);
    curl_easy_reset(easy);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, timeout_msec);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "grivet/" GRIVET_VERSION);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, web_call_on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->words);
    return curl_easy_setopt(easy, CURLOPT_URL, url) == CURLE_OK ? 0 : error_oom(error);
}

void web_call_clear(struct web_call *call)
{
    curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    free(call->body);
    *call = (struct web_call){0};
}

int web_call_set_tls(struct web_call *call, const char *ca, const char *certificate, const char *key,
                     struct error *error)
{
    curl_easy_setopt(call->easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(call->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    /* Else libcurl believes the system's authorities besides ours (a default of its build). */
    curl_easy_setopt(call->easy, CURLOPT_CAPATH, NULL);
    if (curl_easy_setopt(call->easy, CURLOPT_CAINFO, ca) != CURLE_OK ||
        curl_easy_setopt(call->easy, CURLOPT_SSLCERT, certificate) != CURLE_OK ||
        curl_easy_setopt(call->easy, CURLOPT_SSLKEY, key) != CURLE_OK)
        return error_oom(error);
    return 0;
}

static int web_call_add_header(struct web_call *call, const char *header, struct error *error)
{
    struct curl_slist *list = curl_slist_append(call->headers, header);

    if (!list)
        return error_oom(error);
    call->headers = list;
    return 0;
}

int web_call_set_body(struct web_call *call, const char *type, const void *body, size_t length,
                      struct error *error)
{
    char content_type[128];

    snprintf(content_type, sizeof(content_type), "Content-Type: %s", type);
    /* Without the empty Expect, curl would wait for a 100 before a large body. */
    if (web_call_add_header(call, content_type, error) < 0 || web_call_add_header(call, "Expect:", error) < 0)
        return -ENOMEM;
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, call->headers);
    curl_easy_setopt(call->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
    return curl_easy_setopt(call->easy, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK ? 0 : error_oom(error);
}

long web_call_status(const struct web_call *call)
{
    long status = 0;

    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

int web_call_error(const struct web_call *call, CURLcode code, struct error *error)
{
    const char *url = "";

    curl_easy_getinfo(call->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (call->is_too_long)
        return error_set(error, EIO, "%.200s: the answer is longer than %zu bytes", url, call->limit_bytes);
    if (code != CURLE_OK)
        return error_set(error, EIO, "%.200s: %s", url,
                         call->words[0] ? call->words : curl_easy_strerror(code));
    return error_set(error, EIO, "%.200s: status %ld: %.200s", url, web_call_status(call),
                     call->body ? call->body : "");
}
