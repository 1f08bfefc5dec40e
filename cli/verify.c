/* grivet verify: who has signed a mandate, and are they enough? */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client.h"
#include "common/io.h"
#include "common/roots.h"
#include "mandate-file.h"

#define ROOTS_PATH      "/etc/grivet/roots.json"
#define ROOTS_BYTES_MAX 65536

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
    int r;

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
    return roots_require(roots, envelope, ROOTS_APPROVE, call_number(call, "people"), time_now_usec(), error);
}
