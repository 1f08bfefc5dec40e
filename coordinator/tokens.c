/* Join tokens: limited to hosts with certain labels, in number and in time; the store knows only their
 * hashes. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "agents.h"

#define LABEL_MAX 128

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

/* `ID.SECRET`, told this once: only its hash is stored. */
static int make_token(struct store *store, const struct asked *asked, const char *by,
                      char ret[TOKEN_TEXT_MAX], struct error *error)
{
    _cleanup_free_ char *labels = json_dumps(asked->labels->json, JSON_COMPACT | JSON_SORT_KEYS);
    char hash[HASH_TEXT_MAX], id[TOKEN_ID_MAX], secret[65];
    int64_t now = time_now_usec();
    unsigned char bytes[40];

    if (!labels)
        return error_oom(error);
    randombytes_buf(bytes, sizeof(bytes));
    sodium_bin2hex(id, sizeof(id), bytes, 8);
    sodium_bin2hex(secret, sizeof(secret), bytes + 8, 32);
    snprintf(ret, TOKEN_TEXT_MAX, "%s.%s", id, secret);
    return store_write(
        store, error,
        "INSERT INTO tokens (id, hash, labels, uses_left, created, expires, by) VALUES (?, ?, ?, ?, ?, ?, ?)",
        "sssiiis", id, hash_text(ret, strlen(ret), hash), labels, asked->max_uses, now,
        now + asked->expires_in_s * USEC_PER_SEC, by);
}

static int check_row(const struct store_row *row, const json_t *labels, struct error *error)
{
    json_auto_t *wanted = json_loads(store_text(row, 1), 0, NULL);
    json_t *value;
    const char *key;

    if (!wanted || store_integer(row, 4))
        return error_set(error, EACCES, "token: not known, or revoked");
    if (store_integer(row, 3) <= time_now_usec())
        return error_set(error, EACCES, "token: expired");
    if (store_integer(row, 2) == 0)
        return error_set(error, EACCES, "token: used up");
    json_object_foreach(wanted, key, value)
    {
        json_t *ours = json_object_get(labels, key);

        if (!ours || !json_equal(ours, value))
            return error_set(error, EACCES, "token: only for hosts with the label %s=%s", key,
                             json_string_value(value));
    }
    return 0;
}

int tokens_check(struct store *store, const char *text, const json_t *labels, char ret_id[TOKEN_ID_MAX],
                 struct error *error)
{
    char hash[HASH_TEXT_MAX];
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        store, error, "SELECT id, labels, uses_left, expires, is_revoked FROM tokens WHERE hash = ?", "s",
        hash_text(text, strlen(text), hash));
    int r = store_next(row, error);

    if (r == 0)
        return error_set(error, EACCES, "token: not known, or revoked");
    if (r > 0)
        r = check_row(row, labels, error);
    if (r == 0)
        snprintf(ret_id, TOKEN_ID_MAX, "%s", store_text(row, 0));
    return r;
}

int tokens_use(struct store *store, const char *id, struct error *error)
{
    return store_write(store, error, "UPDATE tokens SET uses_left = uses_left - 1 WHERE id = ?", "s", id);
}

int tokens_handle_new(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    char token[TOKEN_TEXT_MAX];
    struct asked asked;
    int r;

    r = document_decode(&document, "token", request->body, request->length, asked_fields, &asked, error);
    if (r == 0)
        r = labels_check(document, asked.labels, error);
    if (r == 0)
        r = make_token(coordinator->store, &asked, request->peer, token, error);
    if (r == 0)
        http_reply_json(request, 200,
                        json_pack("{s:s%, s:s}", "id", token, strcspn(token, "."), "token", token));
    return r;
}

int tokens_handle_list(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    static const char sql[] =
        "SELECT json_group_array(json_object('id', id, 'labels', json(labels),"
        " 'uses_left', uses_left, 'expires_at', " STORE_TIME(
            "expires") ","
                       " 'created_at', " STORE_TIME(
                           "created") ", 'by', by,"
                                      " 'is_revoked', json(iif(is_revoked, 'true', 'false'))))"
                                      " FROM (SELECT * FROM tokens ORDER BY created)";
    _cleanup_(store_row_freep) struct store_row *row = store_select(coordinator->store, error, sql, "");
    int r = store_next(row, error);

    if (r < 0)
        return r;
    http_reply_text(request, store_text(row, 0));
    return 0;
}

int tokens_handle_revoke(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    int r = store_write(coordinator->store, error, "UPDATE tokens SET is_revoked = 1 WHERE id = ?", "s",
                        request->argument);

    if (r == 0 && store_changes(coordinator->store) == 0)
        r = error_set(error, ENOENT, "no such token");
    if (r == 0)
        http_reply_json(request, 200, json_object());
    return r;
}
