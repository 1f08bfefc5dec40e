/* grivet halt: ends faults at once, by a halt key through the coordinator, or as root on the host itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/times.h"
#include "local.h"
#include "run.h"

#define HALT_VALID_USEC (300 * USEC_PER_SEC)

static char *format_halt(const char *scope, const char *id)
{
    char issued[TIME_TEXT_MAX], expires[TIME_TEXT_MAX], uuid[UUID_TEXT_MAX];
    int64_t now = time_now_usec();
    json_auto_t *halt = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*}", "schema", "grivet.halt/1", "id",
                                  uuid_new(uuid), "scope", scope, "issued_at", time_format(now, issued),
                                  "expires_at", time_format(now + HALT_VALID_USEC, expires), scope, id);

    return json_dumps(halt, JSON_COMPACT);
}

int halt_send(const struct call *call, struct client *client, const char *scope, const char *id, json_t **ret,
              struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *secret = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ char *payload = format_halt(scope, id);
    const char *key = call_option(call, "key");
    char path[PATH_MAX];
    int r;

    if (!payload)
        return error_set(error, EINVAL, "'%.60s' can't be halted: not UTF-8", id ? id : "");
    r = signing_key_load(call, key ? key : client_path(client, "halt.key", path), &secret, error);
    if (r == 0)
        r = envelope_new(&envelope, ENVELOPE_HALT, payload, strlen(payload), error);
    if (r == 0)
        r = envelope_sign(envelope, secret, error);
    return r < 0 ? r : client_post_envelope(client, "/v1/halt", envelope, ret, error);
}

void halt_print(FILE *out, const json_t *answer)
{
    const json_t *host;
    size_t index;

    fprintf(out, "all gone on %lld of %lld hosts", json_number(answer, "gone"), json_number(answer, "hosts"));
    json_array_foreach(json_object_get(answer, "unreachable"), index, host)
    {
        const char *ends = json_string_value(json_object_get(host, "ends_at"));

        fprintf(out, "%s%s, %s%s", index ? "; " : "; unreachable: ", json_text(host, "host"),
                ends ? "ends by itself at " : "nothing known to run there", ends ? ends : "");
    }
    fprintf(out, "\n");
}

static int halt_remote(const struct call *call, const char *scope, const char *id, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    json_auto_t *answer = NULL;
    int r;

    r = client_open(&client, call, error);
    if (r == 0)
        r = halt_send(call, client, scope, id, &answer, error);
    if (r < 0)
        return r;
    if (call->is_json)
        output_json(answer);
    else
        halt_print(stdout, answer);
    return json_array_size(json_object_get(answer, "unreachable")) ? EXIT_ERROR : EXIT_MET;
}

int command_halt(const struct call *call, struct error *error)
{
    static const char *const scopes[] = {"run", "host", "fleet"};
    const char *scope = NULL, *id;

    for (size_t i = 0; i < ARRAY_SIZE(scopes); i++) {
        if (!call_option(call, scopes[i]))
            continue;
        if (scope)
            return error_set(error, EBADRQC, "halt: one of --run, --host and --fleet");
        scope = scopes[i];
    }
    if (scope) {
        id = call_option(call, scope);
        return halt_remote(call, scope, *id ? id : NULL, error);
    }
    if (geteuid() == 0 && !call_option(call, "key"))
        return local_halt(call, error);
    return error_set(error, EBADRQC,
                     "halt what? --run ID, --host HOST or --fleet (or as root on a host: that host)");
}
