/* grivet halt: ends faults at once, by a halt key through the coordinator, or as root on the host itself. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/document.h"
#include "common/times.h"
#include "local.h"
#include "run.h"

#define HALT_VALID_USEC (600 * USEC_PER_SEC) /* the longest: clocks may differ by as much */

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
        return error_oom(error);
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

/* Without a certificate, which a halt does not need: one that has expired must not stand in its way. */
static int halt_remote(const struct call *call, const char *scope, const char *id, json_t **ret,
                       struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    int r = client_open(&client, call, error);

    if (r < 0)
        return r;
    client->certificate = client->key = NULL;
    r = halt_send(call, client, scope, id, ret, error);
    if (r == -EIO)
        error_wrap(error, "not halted (as root on a host, `grivet halt` needs no coordinator)");
    return r;
}

/* What @more says, added to @sum. */
static void add_answer(json_t *sum, const json_t *more)
{
    static const char *const counts[] = {"hosts", "gone"};

    for (size_t i = 0; i < ARRAY_SIZE(counts); i++)
        json_object_set_new(sum, counts[i],
                            json_integer(json_number(sum, counts[i]) + json_number(more, counts[i])));
    json_array_extend(json_object_get(sum, "unreachable"), json_object_get(more, "unreachable"));
}

static bool is_under_way(const json_t *run, const char *experiment)
{
    return strcmp(json_text(run, "experiment"), experiment) == 0 &&
           !json_is_string(json_object_get(run, "verdict"));
}

/* Hosts know runs only: all of this name that are under way. One that can't be halted, or has just ended by
 * itself, keeps the others from nothing; the first failure is told. */
static int halt_experiment(const struct call *call, const char *name, json_t **ret, struct error *error)
{
    json_auto_t *runs = NULL, *sum = json_pack("{s:i, s:i, s:[]}", "hosts", 0, "gone", 0, "unreachable");
    size_t index, n_runs = 0;
    const json_t *run;
    int first = 0, r = client_once(call, "GET", "/v1/runs", NULL, &runs, error);

    if (r < 0)
        return error_wrap(error, "which runs are of %s? (`grivet halt --fleet` need not know)", name);
    json_array_foreach(runs, index, run)
    {
        json_auto_t *answer = NULL;
        struct error why = {0};

        if (!is_under_way(run, name))
            continue;
        n_runs++;
        r = halt_remote(call, "run", json_text(run, "run"), &answer, &why);
        if (r < 0 && r != -ENOENT && first == 0) {
            first = r;
            *error = why;
        }
        if (r == 0)
            add_answer(sum, answer);
    }
    if (first < 0)
        return error_wrap(error, "halted on %lld hosts, but", json_number(sum, "gone"));
    if (!n_runs)
        return error_set(error, ENOENT, "no run of %s is under way", name);
    *ret = json_incref(sum);
    return 0;
}

static const struct scope {
    const char *name;
    bool (*is_valid)(const char *id);
    const char *expected;
} scopes[] = {
    {"run", uuid_is_valid, "the id of a run; grivet status lists them"},
    {"experiment", node_name_is_valid, "the name of an experiment; grivet status lists them"},
    {"host", node_name_is_valid, "the name of a host; grivet hosts lists them"},
    {"fleet"},
};

/* Return: 0, and *@ret NULL when the command line names none */
static int find_scope(const struct call *call, const struct scope **ret, struct error *error)
{
    const struct scope *scope = NULL;
    const char *id;

    for (size_t i = 0; i < ARRAY_SIZE(scopes); i++) {
        if (!call_option(call, scopes[i].name))
            continue;
        if (scope)
            return error_set(error, EBADRQC, "halt: one of --run, --experiment, --host and --fleet");
        scope = &scopes[i];
    }
    id = scope ? call_option(call, scope->name) : NULL;
    if (id && scope->is_valid && !scope->is_valid(id))
        return error_set(error, EBADRQC, "--%s %.80s: expected %s", scope->name, id, scope->expected);
    *ret = scope;
    return 0;
}

static int halt_scope(const struct call *call, const struct scope *scope, struct error *error)
{
    const char *id = scope->is_valid ? call_option(call, scope->name) : NULL;
    json_auto_t *answer = NULL;
    int r = strcmp(scope->name, "experiment") == 0 ? halt_experiment(call, id, &answer, error)
                                                   : halt_remote(call, scope->name, id, &answer, error);

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
    const struct scope *scope = NULL;
    int r = find_scope(call, &scope, error);

    if (r < 0)
        return r;
    if (scope)
        return halt_scope(call, scope, error);
    if (geteuid() == 0 && !call_option(call, "key"))
        return local_halt(call, error);
    return error_set(
        error, EBADRQC,
        "halt what? --run ID, --experiment NAME, --host HOST or --fleet (or as root on a host: that host)");
}
