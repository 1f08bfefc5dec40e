/* Requests to the coordinator by libcurl: see client.h. */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define ANSWER_BYTES_MAX (64 << 20)
#define CONFIG_BYTES_MAX 65536
#define CONNECT_MAX_MSEC 5000L
#define ANSWER_MAX_MSEC  60000L /* a long poll is held for 25 s, a plan for 10 s */
#define PATH_BYTES_MAX   512
#define TICK_MSEC        500

static const struct field config_fields[] = {
    {"coordinator", FIELD_STRING, offsetof(struct client, url), true, 1, 256},
    {"ca", FIELD_STRING, offsetof(struct client, ca), true, 1, PATH_BYTES_MAX},
    {"certificate", FIELD_STRING, offsetof(struct client, certificate), false, 1, PATH_BYTES_MAX},
    {"key", FIELD_STRING, offsetof(struct client, key), false, 1, PATH_BYTES_MAX},
    {},
};

static int load_config(struct client *client, const char *given, struct error *error)
{
    const char *environment = getenv("GRIVET_CONFIG"), *home = getenv("HOME"), *slash;
    char path[PATH_MAX];
    int r;

    if (given || environment)
        snprintf(path, sizeof(path), "%s", given ? given : environment);
    else
        snprintf(path, sizeof(path), "%s/.config/grivet/config.yaml", home ? home : "");
    if (access(path, R_OK) < 0)
        return error_errno(error, errno, "%s: can't read; `grivet-coordinator operator add` makes one", path);
    r = document_load(&client->config, path, CONFIG_BYTES_MAX, error);
    if (r == 0)
        r = node_decode(client->config, document_root(client->config), config_fields, client, error);
    if (r < 0)
        return r;
    if (strncmp(client->url, "https://", 8) != 0)
        return node_error(client->config, node_get(document_root(client->config), "coordinator"), error,
                          "expected a URL such as https://10.0.0.2:8443");
    slash = strrchr(path, '/');
    snprintf(client->folder, sizeof(client->folder), "%.*s", slash ? (int)(slash - path) + 1 : 0, path);
    return 0;
}

const char *client_path(const struct client *client, const char *name, char ret[PATH_MAX])
{
    snprintf(ret, PATH_MAX, "%s%s", *name == '/' ? "" : client->folder, name);
    return ret;
}

int client_open(struct client **ret, const struct call *call, struct error *error)
{
    _cleanup_(client_freep) struct client *client = calloc(1, sizeof(*client));
    int r = client ? load_config(client, call->config, error) : error_oom(error);

    if (r == 0)
        *ret = TAKE_PTR(client);
    return r;
}

struct client *client_free(struct client *client)
{
    if (!client)
        return NULL;
    web_call_clear(&client->web);
    curl_multi_cleanup(client->multi);
    document_free(client->config);
    free(client->ca_text);
    free(client);
    return NULL;
}

static int set_certificates(struct client *client, struct error *error)
{
    struct curl_blob blob = {client->ca_text, client->ca_text ? strlen(client->ca_text) : 0, CURL_BLOB_COPY};
    char ca[PATH_MAX], certificate[PATH_MAX], key[PATH_MAX];
    int r;

    if (!client->ca_text)
        return web_call_set_tls(&client->web, client_path(client, client->ca, ca),
                                client->certificate ? client_path(client, client->certificate, certificate)
                                                    : NULL,
                                client->key ? client_path(client, client->key, key) : NULL, error);
    r = web_call_set_tls(&client->web, NULL, NULL, NULL, error);
    /* Else OpenSSL would take any pinned certificate for an anchor, a server's own included. */
    curl_easy_setopt(client->web.easy, CURLOPT_SSL_OPTIONS, (long)CURLSSLOPT_NO_PARTIALCHAIN);
    if (r == 0 && curl_easy_setopt(client->web.easy, CURLOPT_CAINFO_BLOB, &blob) != CURLE_OK)
        r = error_oom(error);
    return r;
}

static int perform(struct client *client, struct error *error)
{
    struct curl_waitfd extra = {client->watch_fd, CURL_WAIT_POLLIN, 0};
    CURLM *multi = client->multi ? client->multi : curl_multi_init();
    int running = 1, n_ready, left, r = 0;
    CURLMsg *message;

    client->multi = multi;
    if (!multi || curl_multi_add_handle(multi, client->web.easy) != CURLM_OK)
        r = error_oom(error);
    while (r == 0 && curl_multi_perform(multi, &running) == CURLM_OK && running) {
        curl_multi_poll(multi, &extra, !!client->on_tick, TICK_MSEC, &n_ready);
        if (client->on_tick && (extra.revents || !n_ready) && client->on_tick(client->context) != 0)
            r = error_set(error, ECANCELED, "left");
        extra.revents = 0;
    }
    message = r == 0 ? curl_multi_info_read(multi, &left) : NULL;
    if (r == 0 && (!message || message->data.result != CURLE_OK))
        r = web_call_error(&client->web, message ? message->data.result : CURLE_FAILED_INIT, error);
    curl_multi_remove_handle(multi, client->web.easy);
    return r;
}

/* To join, an answer carries files, which are checked by their bytes. */
static int take_json(const struct client *client, json_t **ret, struct error *error)
{
    const struct web_call *web = &client->web;
    json_auto_t *json =
        web->body ? json_loadb(web->body, web->length, JSON_REJECT_DUPLICATES, NULL) : json_object();
    long status = web_call_status(web);
    const char *words;

    if (!json)
        return error_set(error, EBADMSG, "%s: status %ld and no JSON", client->url, status);
    if (!client->ca_text || status > 299)
        json_make_printable(json);
    words = json_string_value(json_object_get(json, "error"));
    if (status < 200 || status > 299)
        return error_set(error, status == 404 ? ENOENT : EBADE, "%s",
                         words ? words : "the coordinator refused, and did not say why");
    *ret = json_incref(json);
    return 0;
}

int client_call(struct client *client, const char *method, const char *path, const char *text, json_t **ret,
                struct error *error)
{
    char url[256 + PATH_BYTES_MAX];
    int r;

    snprintf(url, sizeof(url), "%s%s", client->url, path);
    r = web_call_init(&client->web, url, ANSWER_BYTES_MAX, ANSWER_MAX_MSEC, error);
    if (r == 0)
        r = set_certificates(client, error);
    if (r == 0 && text)
        r = web_call_set_body(&client->web, *text == '{' ? "application/json" : "application/yaml", text,
                              strlen(text), error);
    if (r < 0)
        return r;
    curl_easy_setopt(client->web.easy, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(client->web.easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MAX_MSEC);
    r = perform(client, error);
    return r < 0 ? r : take_json(client, ret, error);
}

int client_post_envelope(struct client *client, const char *path, const struct envelope *envelope,
                         json_t **ret, struct error *error)
{
    _cleanup_free_ char *text = envelope_format(envelope);

    return text ? client_call(client, "POST", path, text, ret, error) : error_oom(error);
}

int client_once(const struct call *call, const char *method, const char *path, const char *text, json_t **ret,
                struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    int r = client_open(&client, call, error);

    return r < 0 ? r : client_call(client, method, path, text, ret, error);
}

int client_list(const struct call *call, const char *path, const struct column *columns, struct error *error)
{
    json_auto_t *rows = NULL;
    int r = client_once(call, "GET", path, NULL, &rows, error);

    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(rows);
    output_table(NULL, columns, rows, rows);
    return EXIT_MET;
}
