/* Join tokens: limited to hosts with certain labels, in number and in time; the store knows only their
 * hashes. */
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#include "agents.h"

#define LABEL_MAX    128
#define TOKEN_ID_MAX 17

struct asked {
    const struct node *labels;
    int64_t expires_in_s, max_uses;
};

static const struct field asked_fields[] = {
    {"labels", FIELD_MAP, offsetof(struct asked, labels), true, 1, 32},
    {"expires_in_s", FIELD_INTEGER, offsetof(struct asked, expires_in_s), true, 1, 366 * 86400},
    {"max_uses", FIELD_INTEGER, offsetof(struct asked, max_uses), true, 1, 100000},
    {NULL},
};

int labels_check(const struct document *document, const struct node *labels, struct error *error)
{
    for (const struct node *label = labels->first; label; label = label->next) {
        if (!node_name_is_valid(label->key))
            return node_error(document, label, error, "expected a name as label");
        if (label->type != DOCUMENT_STRING || strlen(label->string) > LABEL_MAX)
            return node_error(document, label, error, "expected a string of at most %d bytes", LABEL_MAX);
    }
    return 0;
}

static void hex(const unsigned char *bytes, size_t length, char *ret)
{
    for (size_t i = 0; i < length; i++)
        snprintf(ret + 2 * i, 3, "%02x", bytes[i]);
}

/* Stores only the token's hash; the token is told this once. */
static int make_token(struct store *store, const struct asked *asked, const char *by,
                      char ret_id[TOKEN_ID_MAX], char ret_token[TOKEN_TEXT_MAX], struct error *error)
{
    json_t *json = node_to_json(asked->labels);
    _cleanup_free_ char *labels = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    char hash[HASH_TEXT_MAX], secret[65];
    int64_t now = time_now_usec();
    unsigned char bytes[40];
    int r;

    json_decref(json);
    if (!labels || RAND_bytes(bytes, sizeof(bytes)) != 1)
        return error_oom(error);
    hex(bytes, 8, ret_id);
    hex(bytes + 8, 32, secret);
    snprintf(ret_token, TOKEN_TEXT_MAX, "%s.%s", ret_id, secret);
    r = store_write(
        store, error,
        "INSERT INTO tokens (id, hash, labels, uses_left, created, expires, by) VALUES (?, ?, ?, ?, ?, ?, ?)",
        "sssiiis", ret_id, hash_text(ret_token, strlen(ret_token), hash), labels, asked->max_uses, now,
        now + asked->expires_in_s * USEC_PER_SEC, by);
    return r < 0 ? r : 0;
}

struct token {
    char id[TOKEN_ID_MAX];
    int64_t uses_left, expires_usec, is_revoked;
    json_t *labels;
};

static int on_token(void *context, const struct store_row *row)
{
    struct token *token = context;

    snprintf(token->id, sizeof(token->id), "%s", store_text(row, 0));
    token->labels = json_loads(store_text(row, 1), 0, NULL);
    token->uses_left = store_integer(row, 2);
    token->expires_usec = store_integer(row, 3);
    token->is_revoked = store_integer(row, 4);
    return 0;
}

static int token_check(const struct token *token, const json_t *labels, struct error *error)
{
    json_t *value;
    const char *key;

    if (!token->labels || token->is_revoked)
        return error_set(error, EACCES, "token: not known, or revoked");
    if (token->expires_usec <= time_now_usec())
        return error_set(error, EACCES, "token: expired");
    if (token->uses_left == 0)
        return error_set(error, EACCES, "token: used up");
    json_object_foreach(token->labels, key, value)
    {
        json_t *ours = json_object_get(labels, key);

        if (!ours || !json_equal(ours, value))
            return error_set(error, EACCES, "token: only for hosts with the label %s=%s", key,
                             json_string_value(value));
    }
    return 0;
}

int tokens_use(struct store *store, const char *text, const json_t *labels, struct error *error)
{
    struct token token = {.labels = NULL};
    char hash[HASH_TEXT_MAX];
    int r;

    r = store_query(store, on_token, &token, error,
                    "SELECT id, labels, uses_left, expires, is_revoked FROM tokens WHERE hash = ?", "s",
                    hash_text(text, strlen(text), hash));
    if (r == 0)
        r = token_check(&token, labels, error);
    if (r == 0)
        r = store_write(store, error, "UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?", "s",
                        token.id);
    json_decref(token.labels);
    return r < 0 ? r : 0;
}

void tokens_handle_new(void *context, struct http_request *request)
{
    struct asked asked;
    struct coordinator *coordinator = context;
    _cleanup_(document_freep) struct document *document = NULL;
    char id[TOKEN_ID_MAX], token[TOKEN_TEXT_MAX];
    struct error error;

    if (coordinator_refuses(coordinator, request))
        return;
    if (document_parse_json(&document, "token", request->body, request->length, &error) < 0 ||
        node_decode(document, document_root(document), asked_fields, &asked, &error) < 0 ||
        labels_check(document, asked.labels, &error) < 0) {
        http_reply_error(request, 400, "%s", error.text);
        return;
    }
    if (make_token(coordinator->store, &asked, request->peer, id, token, &error) < 0)
        http_reply_error(request, 503, "%s", error.text);
    else
        coordinator_reply_later(coordinator, request, 200, json_pack("{s:s, s:s}", "id", id, "token", token));
}

static int add_token(void *context, const struct store_row *row)
{
    json_t *entry = json_pack(
        "{s:s, s:o, s:I, s:o, s:o, s:s, s:b}", "id", store_text(row, 0), "labels",
        json_loads(store_text(row, 1), 0, NULL), "uses_left", (json_int_t)store_integer(row, 2), "expires_at",
        json_time(store_integer(row, 3)), "created_at", json_time(store_integer(row, 4)), "by",
        store_text(row, 5), "is_revoked", (int)store_integer(row, 6));

    return json_array_append_new(context, entry) < 0 ? -ENOMEM : 0;
}

void tokens_handle_list(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct error error = {.text = "out of memory"};
    json_t *tokens = json_array();

    if (store_query(
            coordinator->store, add_token, tokens, &error,
            "SELECT id, labels, uses_left, expires, created, by, is_revoked FROM tokens ORDER BY created",
            "") < 0) {
        json_decref(tokens);
        http_reply_error(request, 503, "%s", error.text);
        return;
    }
    http_reply_json(request, 200, tokens);
}

void tokens_handle_revoke(void *context, struct http_request *request)
{
    struct coordinator *coordinator = context;
    struct error error;
    int r;

    if (coordinator_refuses(coordinator, request))
        return;
    r = store_write(coordinator->store, &error, "UPDATE tokens SET is_revoked = 1 WHERE id = ?", "s",
                    request->argument);
    if (r < 0)
        http_reply_error(request, 503, "%s", error.text);
    else if (r == 0)
        http_reply_error(request, 404, "no such token");
    else
        coordinator_reply_later(coordinator, request, 200, json_object());
}
