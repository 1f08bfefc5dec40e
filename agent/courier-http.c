/* Towards the coordinators: which of them, how, and what counts as an answer. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "courier.h"

#define CONNECT_TIMEOUT_MSEC 3000L
#define KEPT_FOR_S           3600L /* idle connections; a fault may have left them as the only ones that work */

static int courier_take_url(struct courier *courier, const struct node *node, struct error *error)
{
    const char *host;

    if (node->type != DOCUMENT_STRING || strncmp(node->string, "https://", 8))
        return node_error(courier->config, node, error, "expected a URL such as https://10.0.0.2:8443");
    host = node->string + 8;
    if (!*host || host[strcspn(host, "/?#@ ")])
        return node_error(courier->config, node, error, "expected scheme, host and port only");
    courier->urls[courier->n_urls++] = node->string;
    return 0;
}

int courier_load_config(struct courier *courier, const char *path, struct error *error)
{
    const struct node *root, *urls;
    int r;

    r = document_load(&courier->config, path, 1024 * 1024, error);
    if (r < 0)
        return r;
    root = document_root(courier->config);
    courier->host = node_string(root, "host");
    if (!courier->host || !node_name_is_valid(courier->host))
        return node_error(courier->config, root, error, "host: expected this host's id");
    urls = node_get(root, "coordinators");
    if (!urls || urls->type != DOCUMENT_LIST || !urls->count || urls->count > COURIER_COORDINATORS_MAX)
        return node_error(courier->config, urls ? urls : root, error,
                          "coordinators: expected a list of 1 to %d URLs", COURIER_COORDINATORS_MAX);
    for (const struct node *i = urls->first; i; i = i->next) {
        r = courier_take_url(courier, i, error);
        if (r < 0)
            return r;
    }
    return 0;
}

static int courier_set_tls(const struct courier *courier, CURL *easy, struct error *error)
{
    static const struct {
        CURLoption option;
        const char *file;
    } files[] = {
        {CURLOPT_CAINFO, "ca.crt"},
        {CURLOPT_SSLCERT, "tls.crt"},
        {CURLOPT_SSLKEY, "tls.key"},
    };
    char path[PATH_MAX];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", courier->folder, files[i].file);
        if (curl_easy_setopt(easy, files[i].option, path) != CURLE_OK)
            return error_oom(error);
    }
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_TIMEOUT_MSEC);
    curl_easy_setopt(easy, CURLOPT_MAXAGE_CONN, KEPT_FOR_S);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
    return 0;
}

static int courier_set_body(struct web_request *request, const char *body, struct error *error)
{
    /* Without the empty Expect, curl would wait for a 100 before a large body. */
    static const char *const headers[] = {"Content-Type: application/json", "Expect:"};

    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        struct curl_slist *list = curl_slist_append(request->headers, headers[i]);

        if (!list)
            return error_oom(error);
        request->headers = list;
    }
    curl_easy_setopt(request->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)strlen(body));
    return curl_easy_setopt(request->easy, CURLOPT_COPYPOSTFIELDS, body) == CURLE_OK ? 0 : error_oom(error);
}

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
    if (r < 0)
        return r;
    r = courier_set_tls(courier, request->easy, error);
    if (r < 0)
        return r;
    if (body) {
        r = courier_set_body(request, body, error);
        if (r < 0)
            return r;
    }
    r = web_start(courier->web, request, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(request);
    return 0;
}

void courier_blame(struct courier *courier, const struct web_request *request)
{
    const char *current = courier->urls[courier->current], *url = "";

    curl_easy_getinfo(request->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (!strncmp(url, current, strlen(current)))
        courier->current = (courier->current + 1) % courier->n_urls;
}

int courier_answer(struct courier *courier, const struct web_request *request, CURLcode code, json_t **ret,
                   struct error *error)
{
    json_error_t why;

    if (code != CURLE_OK || web_status(request) != 200) {
        if (code != CURLE_OK || web_status(request) >= 500)
            courier_blame(courier, request);
        return web_error(request, code, error);
    }
    *ret = json_loadb(request->body ? request->body : "", request->length, JSON_REJECT_DUPLICATES, &why);
    if (!*ret)
        return error_set(error, EPROTO, "the coordinator's answer:%d:%d: %s", why.line, why.column, why.text);
    return 0;
}
