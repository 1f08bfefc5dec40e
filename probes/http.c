/* Probes of kind "http": see http.h. The request itself is made by whoever has an event loop
 * (agent/prober*.c). */
#include "http.h"

#include <string.h>

#define TOKEN_MAX 256

int probe_http_check(const struct probe *probe, const struct document *document, const struct node *node,
                     struct error *error)
{
    const struct node *url = node_get(node, "url");
    const char *host;
    size_t length;

    if (!strncmp(probe->url, "http://", 7))
        host = probe->url + 7;
    else if (!strncmp(probe->url, "https://", 8))
        host = probe->url + 8;
    else
        return node_error(document, url, error, "expected a URL that starts with http:// or https://");
    length = strcspn(host, "/?#");
    if (!length || host[0] == ':')
        return node_error(document, url, error, "expected a host after the scheme");
    if (memchr(host, '@', length))
        return node_error(document, url, error, "expected no user name or password in the URL");
    for (const char *c = probe->url; *c; c++)
        if (*c <= ' ' || *c > '~')
            return node_error(document, url, error, "expected printable ASCII without spaces");
    return 0;
}

/* Undoes ~1 and ~0, in this order (RFC 6901 section 4). Return: false when the token is too long */
static bool pointer_unescape(const char *token, size_t length, char ret[TOKEN_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < length; i++) {
        if (n + 1 >= TOKEN_MAX)
            return false;
        ret[n++] = token[i] != '~' ? token[i] : token[++i] == '1' ? '/' : '~';
    }
    ret[n] = '\0';
    return true;
}

static json_t *pointer_step(json_t *value, const char *token)
{
    char *end;
    unsigned long index;

    if (!json_is_array(value))
        return json_object_get(value, token);
    /* An index has no leading zeros and no sign (RFC 6901 section 4). */
    if (token[0] < '0' || token[0] > '9' || (token[0] == '0' && token[1]) || strlen(token) > 9)
        return NULL;
    index = strtoul(token, &end, 10);
    return *end ? NULL : json_array_get(value, index);
}

static json_t *pointer_find(json_t *root, const char *pointer)
{
    json_t *value = root;
    char token[TOKEN_MAX];

    while (value && *pointer) {
        size_t length = strcspn(++pointer, "/");

        if (!pointer_unescape(pointer, length, token))
            return NULL;
        value = pointer_step(value, token);
        pointer += length;
    }
    return value;
}

static bool value_is_equal(const json_t *value, const json_t *wanted)
{
    if (json_is_number(value) && json_is_number(wanted) && (json_is_real(value) || json_is_real(wanted)))
        return json_number_value(value) == json_number_value(wanted);
    return json_equal(value, wanted);
}

bool probe_accepts(const struct probe *probe, long status, const char *body, size_t length)
{
    json_auto_t *root = NULL;

    if (status < probe->status_min || status > probe->status_max)
        return false;
    if (!probe->assertions)
        return true;
    root = body ? json_loadb(body, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL) : NULL;
    for (const struct node *i = probe->assertions->first; root && i; i = i->next)
        if (!value_is_equal(pointer_find(root, i->key), i->json))
            return false;
    return root;
}
