/* grivet token: who may become a member. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

static int token_new(const struct call *call, struct error *error)
{
    json_auto_t *labels = NULL, *request = NULL, *token = NULL;
    _cleanup_free_ char *text = NULL;
    int r = call_labels(call, &labels, error);

    if (r < 0)
        return r;
    request = json_pack("{s:O, s:I, s:I}", "labels", labels, "expires_in_s",
                        (json_int_t)call_number(call, "expires-in-s"), "max_uses",
                        (json_int_t)call_number(call, "max-uses"));
    text = json_dumps(request, 0);
    if (!text)
        return error_oom(error);
    r = client_once(call, "POST", "/v1/tokens", text, &token, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(token);
    printf("%s\n", json_text(token, "token"));
    return EXIT_MET;
}

static void format_uses(FILE *out, const json_t *token, const json_t *all)
{
    if (json_is_true(json_object_get(token, "is_revoked")))
        fprintf(out, "revoked");
    else
        json_format(out, json_object_get(token, "uses_left"), all);
}

static int token_list(const struct call *call, struct error *error)
{
    static const struct column columns[] = {
        {"ID", "id"}, {"EXPIRES", "expires_at"}, {"USES LEFT", NULL, format_uses}, {"LABELS", "labels"}, {}};

    return client_list(call, "/v1/tokens", columns, error);
}

static int token_revoke(const struct call *call, struct error *error)
{
    json_auto_t *answer = NULL;
    char path[256];
    int r;

    if (call->n_arguments != 2 || !node_name_is_valid(call->arguments[1]))
        return error_set(error, EBADRQC, "token revoke: which? grivet token list shows their ids");
    snprintf(path, sizeof(path), "/v1/tokens/%s", call->arguments[1]);
    r = client_once(call, "DELETE", path, NULL, &answer, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_new_json(json_pack("{s:s, s:b}", "id", call->arguments[1], "is_revoked", true), error);
    printf("revoked\n");
    return EXIT_MET;
}

int command_token(const struct call *call, struct error *error)
{
    static const struct {
        const char *name;
        int (*run)(const struct call *call, struct error *error);
    } verbs[] = {{"new", token_new}, {"list", token_list}, {"revoke", token_revoke}};

    for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
        if (strcmp(call->arguments[0], verbs[i].name) == 0)
            return verbs[i].run(call, error);
    return error_set(error, EBADRQC, "token %s: expected new, list or revoke", call->arguments[0]);
}
