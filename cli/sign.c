/* grivet sign: see what is asked of you, and sign it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/io.h"
#include "mandate-file.h"

/* Whoever signs has to have counted: a yes is typed too easily. */
static int confirm_hosts(const struct call *call, const struct mandate *mandate, struct error *error)
{
    int64_t hosts, answered = call_number(call, "hosts");
    char answer[32];
    int r;

    r = mandate_count_hosts(mandate, &hosts, error);
    if (r == 0 && !answered) {
        r = terminal_ask("How many hosts do you sign this for? (--hosts N answers in scripts)", answer,
                         sizeof(answer), error);
        if (r == 0)
            answered = strtoll(answer, NULL, 10);
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
