/* grivet hosts and grivet token: who is a member, and who may become one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "client.h"
#include "common/document.h"

static json_t *format_labels(const json_t *labels)
{
    char text[512] = "";
    const json_t *value;
    size_t length = 0;
    const char *key;

    json_object_foreach((json_t *)labels, key, value) if (length < sizeof(text)) length += snprintf(
        text + length, sizeof(text) - length, "%s%s=%s", length ? "," : "", key, json_string_value(value));
    return json_string(text);
}

static json_t *format_clock(const json_t *clock)
{
    char text[64] = "-";

    if (json_is_object(clock))
        snprintf(text, sizeof(text), "%+.3f ± %.3f",
                 json_number_value(json_object_get(clock, "offset_usec")) / 1000,
                 json_number_value(json_object_get(clock, "bound_usec")) / 1000);
    return json_string(text);
}

static void print_hosts(const json_t *hosts)
{
    static const char *const heads[] = {"HOST",    "CONTACT",  "SUSPECT", "SEEN",
                                        "ADDRESS", "CLOCK MS", "LABELS",  NULL};
    json_t *rows = json_array(), *host;
    char seen[16];
    size_t index;

    json_array_foreach((json_t *)hosts, index, host) json_array_append_new(
        rows, json_pack("[s, s, s, s, s, o, o]", json_text(host, "host"),
                        json_is_true(json_object_get(host, "is_in_contact")) ? "yes" : "NO",
                        json_is_true(json_object_get(host, "is_suspect")) ? "YES" : "no",
                        time_short(json_text(host, "last_seen"), seen), json_text(host, "address"),
                        format_clock(json_object_get(host, "clock")),
                        format_labels(json_object_get(host, "labels"))));
    output_table(heads, rows);
    json_decref(rows);
}

int command_hosts(const struct call *call, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    json_t *hosts;
    int r;

    r = client_open(&client, call->config, error);
    if (r == 0)
        r = client_call(client, "GET", "/v1/hosts", NULL, NULL, 0, &hosts, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(hosts);
    print_hosts(hosts);
    json_decref(hosts);
    return EXIT_MET;
}

/* "zone=a,group=web" as an object. */
static int parse_labels(const char *text, json_t *labels, struct error *error)
{
    _cleanup_free_ char *copy = strdup(text ? text : "");
    char *next = copy, *part, *value;

    while (copy && (part = strsep(&next, ",")) && *part) {
        value = strchr(part, '=');
        if (!value || !value[1])
            return error_set(error, EBADRQC, "--label %s: expected KEY=VALUE", part);
        *value++ = '\0';
        json_object_set_new(labels, part, json_string(value));
    }
    return copy ? 0 : error_oom(error);
}

static int token_new(const struct call *call, struct client *client, struct error *error)
{
    json_t *labels = json_object(), *request, *token;
    _cleanup_free_ char *text = NULL;
    int64_t expires, uses;
    int r;

    r = call_integer(call, "expires-in-s", 1, 365 * 86400, 3600, &expires, error);
    if (r == 0)
        r = call_integer(call, "max-uses", 1, 100000, 1, &uses, error);
    if (r == 0)
        r = parse_labels(call_option(call, "label"), labels, error);
    if (r < 0) {
        json_decref(labels);
        return r;
    }
    request = json_pack("{s:o, s:I, s:I}", "labels", labels, "expires_in_s", (json_int_t)expires, "max_uses",
                        (json_int_t)uses);
    text = json_dumps(request, 0);
    json_decref(request);
    r = client_call(client, "POST", "/v1/tokens", "application/json", text, strlen(text), &token, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(token);
    printf("%s\n", json_text(token, "token"));
    json_decref(token);
    return EXIT_MET;
}

static void print_tokens(const json_t *tokens)
{
    static const char *const heads[] = {"ID", "EXPIRES", "USES LEFT", "LABELS", NULL};
    json_t *rows = json_array(), *token;
    char uses[32];
    size_t index;

    json_array_foreach((json_t *)tokens, index, token)
    {
        snprintf(uses, sizeof(uses), "%lld", json_integer_value(json_object_get(token, "uses_left")));
        json_array_append_new(
            rows, json_pack("[s, s, s, o]", json_text(token, "id"), json_text(token, "expires_at"),
                            json_is_true(json_object_get(token, "is_revoked")) ? "revoked" : uses,
                            format_labels(json_object_get(token, "labels"))));
    }
    output_table(heads, rows);
    json_decref(rows);
}

static int token_list(const struct call *call, struct client *client, struct error *error)
{
    json_t *tokens;
    int r = client_call(client, "GET", "/v1/tokens", NULL, NULL, 0, &tokens, error);

    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(tokens);
    print_tokens(tokens);
    json_decref(tokens);
    return EXIT_MET;
}

static int token_revoke(const struct call *call, struct client *client, struct error *error)
{
    char path[256];
    json_t *answer;
    int r;

    if (call->n_arguments != 2 || !node_name_is_valid(call->arguments[1]))
        return error_set(error, EBADRQC, "token revoke: which? grivet token list shows their ids");
    snprintf(path, sizeof(path), "/v1/tokens/%s", call->arguments[1]);
    r = client_call(client, "DELETE", path, NULL, NULL, 0, &answer, error);
    if (r < 0)
        return r;
    json_decref(answer);
    if (!call->is_json)
        printf("revoked\n");
    return EXIT_MET;
}

int command_token(const struct call *call, struct error *error)
{
    static const struct {
        const char *name;
        int (*run)(const struct call *call, struct client *client, struct error *error);
    } verbs[] = {{"new", token_new}, {"list", token_list}, {"revoke", token_revoke}};
    _cleanup_(client_freep) struct client *client = NULL;
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
        if (strcmp(call->arguments[0], verbs[i].name) != 0)
            continue;
        r = client_open(&client, call->config, error);
        return r < 0 ? r : verbs[i].run(call, client, error);
    }
    return error_set(error, EBADRQC, "token %s: expected new, list or revoke", call->arguments[0]);
}
