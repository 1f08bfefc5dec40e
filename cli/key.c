/* grivet key: make a person's signing key, show a public one; passphrases. */
#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "common/document.h"
#include "common/io.h"

#define PASSPHRASE_MAX 1024

static int read_passphrase(const char *path, char ret[PASSPHRASE_MAX], struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_read_file(path, PASSPHRASE_MAX - 1, &text, &length, error);
    if (r < 0)
        return r;
    snprintf(ret, PASSPHRASE_MAX, "%.*s", (int)strcspn(text, "\n"), text);
    sodium_memzero(text, length);
    return *ret ? 0 : error_set(error, EINVAL, "%s: the passphrase is empty", path);
}

/* From --passphrase-file, else asked (@is_new: twice). Wipe it after use. */
static int get_passphrase(const struct call *call, const char *name, bool is_new, char ret[PASSPHRASE_MAX],
                          struct error *error)
{
    const char *file = call_option(call, "passphrase-file");
    char question[PATH_MAX + 64], again[PASSPHRASE_MAX];
    int r;

    if (file)
        return read_passphrase(file, ret, error);
    snprintf(question, sizeof(question), "passphrase of %s:", name);
    r = terminal_ask_passphrase(question, ret, PASSPHRASE_MAX, error);
    if (r < 0 || !is_new)
        return r;
    if (!*ret)
        return error_set(error, EINVAL, "an empty passphrase; --no-passphrase makes an open key");
    r = terminal_ask_passphrase("once more:", again, sizeof(again), error);
    if (r == 0 && strcmp(ret, again) != 0)
        r = error_set(error, EINVAL, "the passphrases differ; nothing was made");
    sodium_memzero(again, sizeof(again));
    return r;
}

int signing_key_load(const struct call *call, const char *path, struct secret_key **ret, struct error *error)
{
    char passphrase[PASSPHRASE_MAX] = "";
    int r = secret_key_is_sealed(path, error);

    if (r > 0)
        r = get_passphrase(call, path, false, passphrase, error);
    if (r >= 0)
        r = secret_key_load(ret, path, passphrase, error);
    sodium_memzero(passphrase, sizeof(passphrase));
    return r;
}

static int print_public(const struct call *call, const struct public_key *key, const char *name)
{
    char text[KEY_TEXT_MAX];
    json_auto_t *json = json_pack("{s:s, s:s}", "name", name, "public", public_key_format(key, text));

    if (call->is_json)
        return output_json(json);
    printf("grivet-ed25519 %s %s\n", text, name);
    return EXIT_MET;
}

static int save_pair(const struct secret_key *key, const struct call *call, const char *name,
                     const char *passphrase, struct error *error)
{
    const char *folder = call_option(call, "folder");
    struct public_key public = secret_key_public(key);
    char secret_path[PATH_MAX], public_path[PATH_MAX];
    int r;

    folder = folder ? folder : ".";
    snprintf(secret_path, sizeof(secret_path), "%s/%s.key", folder, name);
    snprintf(public_path, sizeof(public_path), "%s/%s.pub", folder, name);
    r = secret_key_save(key, secret_path, name, passphrase, error);
    if (r < 0)
        return r;
    r = public_key_save(&public, public_path, name, error);
    if (r < 0) {
        unlink(secret_path);
        return r;
    }
    if (!call->is_json)
        fprintf(stderr, "wrote %s (keep it) and %s (give it to your coordinator)\n", secret_path,
                public_path);
    return print_public(call, &public, name);
}

static int key_new(const struct call *call, const char *name, struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    char passphrase[PASSPHRASE_MAX] = "";
    int r = 0;

    if (!node_name_is_valid(name))
        return error_set(error, EBADRQC, "'%s' is no name: a-z, 0-9 and ._- please, at most 63", name);
    if (!call_option(call, "no-passphrase"))
        r = get_passphrase(call, name, true, passphrase, error);
    if (r == 0)
        r = secret_key_generate(&key, error);
    if (r == 0)
        r = save_pair(key, call, name, passphrase, error);
    sodium_memzero(passphrase, sizeof(passphrase));
    return r;
}

/* The public half stands in the clear in a key file, sealed or not. */
static int key_show(const struct call *call, const char *path, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *name = NULL;
    const char *text = NULL, *of = NULL;
    struct public_key key;
    int r;

    if (document_load(&document, path, 4096, NULL) == 0) {
        text = node_string(document_root(document), "public");
        of = node_string(document_root(document), "name");
    }
    if (text && of && public_key_parse(&key, text) == 0)
        return print_public(call, &key, of);
    r = public_key_load(&key, &name, path, error);
    return r < 0 ? r : print_public(call, &key, name);
}

int command_key(const struct call *call, struct error *error)
{
    if (strcmp(call->arguments[0], "new") == 0)
        return key_new(call, call->arguments[1], error);
    if (strcmp(call->arguments[0], "show") == 0)
        return key_show(call, call->arguments[1], error);
    return error_set(error, EBADRQC, "key %s: expected new or show", call->arguments[0]);
}
