/* grivet halt: ends faults at once, by a halt key through the coordinator, or as root on the host itself. */
#include "halt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/envelope.h"
#include "common/times.h"
#include "executor.h"
#include "keys.h"

#define HALT_VALID_USEC     (300 * USEC_PER_SEC)
#define HALT_LOCAL_MAX_MSEC 10000

static char *format_halt(const char *scope, const char *id)
{
    char issued[TIME_TEXT_MAX], expires[TIME_TEXT_MAX], uuid[UUID_TEXT_MAX];
    int64_t now = time_now_usec();
    json_t *halt = json_pack("{s:s, s:s, s:s, s:s, s:s}", "schema", "grivet.halt/1", "id", uuid_new(uuid),
                             "scope", scope, "issued_at", time_format(now, issued), "expires_at",
                             time_format(now + HALT_VALID_USEC, expires));
    char *text;

    if (id)
        json_object_set_new(halt, scope, json_string(id));
    text = json_dumps(halt, JSON_COMPACT);
    json_decref(halt);
    return text;
}

int halt_send(const struct call *call, struct client *client, const char *key, const char *scope,
              const char *id, json_t **ret, struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *secret = NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ char *payload = format_halt(scope, id), *text = NULL;
    int r;

    if (!payload)
        return error_set(error, EINVAL, "'%.60s' can't be halted: not UTF-8", id ? id : "");
    r = signing_key_load(call, key, &secret, error);
    if (r == 0)
        r = envelope_new(&envelope, ENVELOPE_HALT, payload, strlen(payload), error);
    if (r == 0)
        r = envelope_sign(envelope, secret, error);
    if (r < 0)
        return r;
    text = envelope_format(envelope);
    if (!text)
        return error_oom(error);
    return client_call(client, "POST", "/v1/halt", "application/json", text, strlen(text), ret, error);
}

int halt_print(const json_t *answer)
{
    const json_t *unreachable = json_object_get(answer, "unreachable"), *host;
    size_t index;

    printf("all gone on %lld of %lld hosts", json_integer_value(json_object_get(answer, "gone")),
           json_integer_value(json_object_get(answer, "hosts")));
    json_array_foreach((json_t *)unreachable, index, host)
    {
        const char *ends = json_string_value(json_object_get(host, "ends_at"));

        printf("%s%s, %s%s", index ? "; " : "; unreachable: ", json_text(host, "host"),
               ends ? "ends by itself at " : "nothing known to run there", ends ? ends : "");
    }
    printf("\n");
    return json_array_size(unreachable) ? EXIT_ERROR : EXIT_MET;
}

static int halt_local(const struct call *call, struct error *error)
{
    json_t *answer;
    int r = executor_ask(CHANNEL_HALT_LOCAL, CHANNEL_HALTED, HALT_LOCAL_MAX_MSEC, &answer, error);

    if (r < 0)
        return error_wrap(
            error, "halt on this host (`touch /run/grivet/halt` and `systemctl stop grivetd` do it too)");
    if (call->is_json)
        return output_json(answer);
    printf("ended %lld fault(s) on this host\n", json_integer_value(json_object_get(answer, "ended")));
    json_decref(answer);
    return EXIT_MET;
}

static int halt_remote(const struct call *call, const char *scope, const char *id, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    const char *key = call_option(call, "key");
    json_t *answer;
    int r;

    r = client_open(&client, call->config, error);
    if (r == 0)
        r = halt_send(call, client, key ? key : client_halt_key(client), scope, id, &answer, error);
    if (r < 0)
        return r;
    if (call->is_json) {
        r = json_array_size(json_object_get(answer, "unreachable")) ? EXIT_ERROR : EXIT_MET;
        return output_json(answer), r;
    }
    r = halt_print(answer);
    json_decref(answer);
    return r;
}

int command_halt(const struct call *call, struct error *error)
{
    const char *run = call_option(call, "run"), *host = call_option(call, "host"),
               *fleet = call_option(call, "fleet");

    if (!!run + !!host + !!fleet > 1)
        return error_set(error, EBADRQC, "halt: one of --run, --host and --fleet");
    if (run || host || fleet)
        return halt_remote(call, run ? "run" : host ? "host" : "fleet", run ? run : host, error);
    if (geteuid() == 0 && !call_option(call, "key"))
        return halt_local(call, error);
    return error_set(error, EBADRQC,
                     "halt what? --run ID, --host HOST or --fleet (or as root on a host: that host)");
}
