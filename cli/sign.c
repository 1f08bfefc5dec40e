/* grivet sign and verify: see what is asked of you, sign it; see who has. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "common/io.h"
#include "common/roots.h"
#include "mandate-file.h"

#define ROOTS_PATH      "/etc/grivet/roots.json"
#define ROOTS_BYTES_MAX 65536

/* Whoever signs has to have counted: a yes is typed too easily. */
static int confirm_hosts(const struct call *call, const struct mandate *mandate, struct error *error)
{
    int64_t hosts, answered;
    char answer[32];
    char *end;
    int r;

    r = mandate_count_hosts(mandate, &hosts, error);
    if (r == 0)
        r = call_integer(call, "hosts", 1, INT32_MAX, 0, &answered, error);
    if (r == 0 && !answered) {
        r = terminal_ask("How many hosts do you sign this for? (--hosts N answers in scripts)", answer,
                         sizeof(answer), error);
        if (r == 0)
            answered = strtoll(answer, &end, 10);
    }
    if (r == 0 && answered != hosts)
        r = error_set(error, EKEYREJECTED, "the mandate is for %lld hosts, not %lld; nothing was signed",
                      (long long)hosts, (long long)answered);
    return r;
}

static int sign_and_save(const struct call *call, struct envelope *envelope, const char *path,
                         struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    _cleanup_free_ char *text = NULL;
    int r;

    r = signing_key_load(call, call_option(call, "key"), &key, error);
    if (r == 0)
        r = envelope_sign(envelope, key, error);
    if (r < 0)
        return r;
    text = envelope_format(envelope);
    return text ? io_write_file(path, text, strlen(text), 0644, error) : error_oom(error);
}

int command_sign(const struct call *call, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    const char *path = call->arguments[0];
    int r;

    r = mandate_file_load(path, &envelope, &mandate, error);
    if (r < 0)
        return r;
    mandate_file_print(call->is_json ? stderr : stdout, envelope, mandate); /* seen in any case */
    r = confirm_hosts(call, mandate, error);
    if (r == 0)
        r = sign_and_save(call, envelope, path, error);
    if (r < 0)
        return r;
    if (call->is_json)
        return output_new_json(json_pack("{s:s, s:s, s:I}", "file", path, "mandate", mandate->hash,
                                         "signatures", (json_int_t)envelope->n_signatures),
                               error);
    printf("\nsigned; %s has %zu signature%s now\n", path, envelope->n_signatures,
           envelope->n_signatures == 1 ? "" : "s");
    return EXIT_MET;
}

/* People, each once, in the order of the roots. */
static json_t *find_signers(const struct roots *roots, const struct envelope *envelope)
{
    json_t *people = json_array(), *known;
    size_t index;

    for (size_t i = 0; i < roots->n_keys; i++) {
        const struct roots_key *key = &roots->keys[i];
        bool is_new = true;

        json_array_foreach(people, index, known) is_new &= strcmp(json_string_value(known), key->person) != 0;
        if (is_new && key->roles & ROOTS_APPROVE && envelope_is_signed_by(envelope, &key->key))
            json_array_append_new(people, json_string(key->person));
    }
    return people;
}

/* By --roots; else an operator's lie beside the configuration, a host's where the executor reads them. */
static int load_roots(const struct call *call, struct roots **ret, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    const char *path = call_option(call, "roots");
    _cleanup_free_ char *text = NULL;
    char beside[PATH_MAX];
    size_t length;
    int r;

    if (!path && client_open(&client, call, NULL) == 0 &&
        access(client_path(client, "roots.json", beside), R_OK) == 0)
        path = beside;
    path = path ? path : ROOTS_PATH;
    r = io_read_file(path, ROOTS_BYTES_MAX, &text, &length, error);
    return r < 0 ? r : roots_parse(ret, path, text, length, error);
}

int command_verify(const struct call *call, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    _cleanup_(roots_freep) struct roots *roots = NULL;
    json_auto_t *people = NULL, *json = NULL;
    int64_t needed;
    int r;

    r = call_integer(call, "people", 1, 16, 1, &needed, error);
    if (r == 0)
        r = mandate_file_load(call->arguments[0], &envelope, &mandate, error);
    if (r == 0)
        r = load_roots(call, &roots, error);
    if (r < 0)
        return r;
    people = find_signers(roots, envelope);
    if (call->is_json) {
        json = json_pack("{s:s, s:O}", "mandate", mandate->hash, "signed_by", people);
        output_json(json);
    } else {
        mandate_file_print(stdout, envelope, mandate);
        printf("signed by %zu %s: ", json_array_size(people),
               json_array_size(people) == 1 ? "person" : "people");
        json_format(stdout, people, NULL);
        printf("\n");
    }
    return roots_require(roots, envelope, ROOTS_APPROVE, needed, time_now_usec(), error);
}
