/* Requests to the coordinator by libcurl: TLS 1.3, both sides with certificates. See client.h. */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/document.h"

#define ANSWER_BYTES_MAX (64 << 20)
#define CONFIG_BYTES_MAX 65536
#define CONNECT_MAX_MSEC 5000L
#define ANSWER_MAX_MSEC  60000L /* a long poll is held for 25 s, a plan for 10 s */
#define PATH_BYTES_MAX   512

struct client {
    struct document *config;
    const char *url;
    char ca[PATH_MAX], certificate[PATH_MAX], key[PATH_MAX], halt_key[PATH_MAX], roots[PATH_MAX];
    CURL *easy;
    CURLM *multi;
    struct curl_slist *headers;
    char *answer;
    size_t length;
    CURLcode result;
    bool is_over;
};

struct config_fields {
    const char *coordinator, *ca, *certificate, *key;
};

static const struct field config_fields[] = {
    {"coordinator", FIELD_STRING, offsetof(struct config_fields, coordinator), true, 1, 256},
    {"ca", FIELD_STRING, offsetof(struct config_fields, ca), true, 1, PATH_BYTES_MAX},
    {"certificate", FIELD_STRING, offsetof(struct config_fields, certificate), true, 1, PATH_BYTES_MAX},
    {"key", FIELD_STRING, offsetof(struct config_fields, key), true, 1, PATH_BYTES_MAX},
    {},
};

static int find_config(const char *given, char ret[PATH_MAX], struct error *error)
{
    const char *environment = getenv("GRIVET_CONFIG"), *home = getenv("HOME");

    if (given || environment)
        snprintf(ret, PATH_MAX, "%s", given ? given : environment);
    else
        snprintf(ret, PATH_MAX, "%s/.config/grivet/config.yaml", home ? home : "");
    if (access(ret, R_OK) < 0)
        return error_errno(error, errno, "%s: can't read; `grivet-coordinator operator add` makes one", ret);
    return 0;
}

/* Paths in the file count from its own folder. */
static void resolve(const char *config, const char *path, char ret[PATH_MAX])
{
    const char *slash = strrchr(config, '/');

    if (*path == '/' || !slash)
        snprintf(ret, PATH_MAX, "%s", path);
    else
        snprintf(ret, PATH_MAX, "%.*s/%s", (int)(slash - config), config, path);
}

static int load_config(struct client *client, const char *given, struct error *error)
{
    struct config_fields fields = {0};
    char path[PATH_MAX];
    int r;

    r = find_config(given, path, error);
    if (r == 0)
        r = document_load(&client->config, path, CONFIG_BYTES_MAX, error);
    if (r == 0)
        r = node_decode(client->config, document_root(client->config), config_fields, &fields, error);
    if (r < 0)
        return r;
    if (strncmp(fields.coordinator, "https://", 8) != 0)
        return node_error(client->config, node_get(document_root(client->config), "coordinator"), error,
                          "expected a URL such as https://10.0.0.2:8443");
    client->url = fields.coordinator;
    resolve(path, fields.ca, client->ca);
    resolve(path, fields.certificate, client->certificate);
    resolve(path, fields.key, client->key);
    resolve(path, "halt.key", client->halt_key);
    resolve(path, "roots.json", client->roots);
    return 0;
}

static size_t take_answer(char *data, size_t size, size_t count, void *context)
{
    struct client *client = context;
    char *larger;

    if (client->length + count > ANSWER_BYTES_MAX ||
        !(larger = realloc(client->answer, client->length + count + 1)))
        return 0;
    client->answer = larger;
    memcpy(larger + client->length, data, count);
    client->length += count;
    larger[client->length] = '\0';
    return count;
}

int client_open(struct client **ret, const char *config, struct error *error)
{
    _cleanup_(client_freep) struct client *client = calloc(1, sizeof(*client));
    int r;

    if (!client)
        return error_oom(error);
    r = load_config(client, config, error);
    if (r < 0)
        return r;
    client->easy = curl_easy_init();
    client->multi = curl_multi_init();
    if (!client->easy || !client->multi)
        return error_oom(error);
    *ret = TAKE_PTR(client);
    return 0;
}

struct client *client_free(struct client *client)
{
    if (!client)
        return NULL;
    if (client->multi && client->easy)
        curl_multi_remove_handle(client->multi, client->easy);
    curl_easy_cleanup(client->easy);
    curl_multi_cleanup(client->multi);
    curl_slist_free_all(client->headers);
    document_free(client->config);
    free(client->answer);
    free(client);
    return NULL;
}

const char *client_roots(const struct client *client)
{
    return client->roots;
}

const char *client_halt_key(const struct client *client)
{
    return client->halt_key;
}

static void set_connection(struct client *client)
{
    curl_easy_setopt(client->easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(client->easy, CURLOPT_CAINFO, client->ca);
    curl_easy_setopt(client->easy, CURLOPT_SSLCERT, client->certificate);
    curl_easy_setopt(client->easy, CURLOPT_SSLKEY, client->key);
    curl_easy_setopt(client->easy, CURLOPT_NOPROXY,
                     "*"); /* the coordinator is ours: no proxy stands before it */
    curl_easy_setopt(client->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(client->easy, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MAX_MSEC);
    curl_easy_setopt(client->easy, CURLOPT_TIMEOUT_MS, ANSWER_MAX_MSEC);
    curl_easy_setopt(client->easy, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(client->easy, CURLOPT_WRITEDATA, client);
}

int client_begin(struct client *client, const char *method, const char *path, const char *type,
                 const void *body, size_t length, struct error *error)
{
    char url[256 + PATH_BYTES_MAX], header[128];

    curl_multi_remove_handle(client->multi, client->easy);
    curl_easy_reset(client->easy);
    curl_slist_free_all(client->headers);
    client->headers = NULL;
    client->length = 0;
    client->is_over = false;
    set_connection(client);
    snprintf(url, sizeof(url), "%s%s", client->url, path);
    curl_easy_setopt(client->easy, CURLOPT_URL, url);
    curl_easy_setopt(client->easy, CURLOPT_CUSTOMREQUEST, method);
    if (type) {
        snprintf(header, sizeof(header), "Content-Type: %s", type);
        client->headers = curl_slist_append(NULL, header);
        /* Without this, curl waits for a 100 Continue before a large body. */
        client->headers = curl_slist_append(client->headers, "Expect:");
        curl_easy_setopt(client->easy, CURLOPT_HTTPHEADER, client->headers);
        curl_easy_setopt(client->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)length);
        curl_easy_setopt(client->easy, CURLOPT_COPYPOSTFIELDS, body);
    }
    return curl_multi_add_handle(client->multi, client->easy) == CURLM_OK ? 0 : error_oom(error);
}

static bool client_look(struct client *client)
{
    CURLMsg *message;
    int left;

    while ((message = curl_multi_info_read(client->multi, &left)))
        if (message->msg == CURLMSG_DONE) {
            client->result = message->data.result;
            client->is_over = true;
        }
    return client->is_over;
}

int client_wait(struct client *client, int fd, int timeout_msec, struct error *error)
{
    struct curl_waitfd extra = {fd, CURL_WAIT_POLLIN, 0};
    int running;

    if (curl_multi_perform(client->multi, &running) != CURLM_OK)
        return error_set(error, EIO, "the HTTP library failed");
    if (client_look(client))
        return 1;
    if (curl_multi_poll(client->multi, fd >= 0 ? &extra : NULL, fd >= 0, timeout_msec, NULL) != CURLM_OK ||
        curl_multi_perform(client->multi, &running) != CURLM_OK)
        return error_set(error, EIO, "the HTTP library failed");
    return client_look(client);
}

int client_finish(struct client *client, json_t **ret, struct error *error)
{
    const char *words;
    json_t *json;
    long status = 0;

    curl_multi_remove_handle(client->multi, client->easy);
    if (client->result != CURLE_OK)
        return error_set(error, EHOSTUNREACH, "%s: %s", client->url, curl_easy_strerror(client->result));
    curl_easy_getinfo(client->easy, CURLINFO_RESPONSE_CODE, &status);
    json = client->length ? json_loadb(client->answer, client->length, JSON_REJECT_DUPLICATES, NULL)
                          : json_object();
    if (!json)
        return error_set(error, EBADMSG, "%s: status %ld and no JSON", client->url, status);
    json_make_printable(json);
    if (status >= 200 && status < 300) {
        *ret = json;
        return 0;
    }
    words = json_string_value(json_object_get(json, "error"));
    error_set(error, EBADE, "%s", words ? words : "the coordinator refused, and did not say why");
    json_decref(json);
    return -EBADE;
}

int client_call(struct client *client, const char *method, const char *path, const char *type,
                const void *body, size_t length, json_t **ret, struct error *error)
{
    int r = client_begin(client, method, path, type, body, length, error);

    while (r == 0)
        r = client_wait(client, -1, 1000, error);
    return r < 0 ? r : client_finish(client, ret, error);
}
