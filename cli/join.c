/*
 * grivet join: makes this host a member, for a token, a pinned CA and pinned roots. Fit for user-data. All
 * files of a member are written or none; the host's key comes last, because everything else takes its being
 * there for having joined.
 */
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/policy.h"
#include "agent/replay.h"
#include "client.h"
#include "common/base64.h"
#include "common/certificate.h"
#include "common/io.h"
#include "common/roots.h"

#define ETC           "/etc/grivet"
#define STATE         "/var/lib/grivet"
#define HOST_KEY      STATE "/host.key"
#define COURIER_STATE "/var/lib/grivet-courier"
#define COURIER_USER  "grivet-courier"

/**
 * struct member - what this host is to become
 * @policy_text: agent.yaml as it will be written, NULL = it is there; @policy: the same, decoded
 * @tls_key: PEM; @certificate, @roots: of the coordinator's answer
 */
struct member {
    const char *url, *name;
    json_t *labels;
    struct policy *policy;
    char *policy_text;
    struct secret_key *host_key;
    EVP_PKEY *tls_pair;
    char *tls_key;
    const char *certificate, *roots;
};

static void member_clear(struct member *member)
{
    json_decref(member->labels);
    policy_free(member->policy);
    free(member->policy_text);
    secret_key_free(member->host_key);
    EVP_PKEY_free(member->tls_pair);
    if (member->tls_key)
        explicit_bzero(member->tls_key, strlen(member->tls_key));
    free(member->tls_key);
}

static int check_pin(const struct call *call, const char *option, struct error *error)
{
    const char *pin = call_option(call, option);

    if (strncmp(pin, "sha256:", 7) != 0 || strlen(pin) != PIN_TEXT_MAX - 1 ||
        pin[7 + strspn(pin + 7, "0123456789abcdef")])
        return error_set(error, EBADRQC, "--%s %.80s: expected sha256: and 64 hexadecimal digits", option,
                         pin);
    return 0;
}

static int take_options(const struct call *call, struct member *member, struct error *error)
{
    int r;

    member->url = call->arguments[0];
    member->name = call_option(call, "name");
    if (strncmp(member->url, "https://", 8) != 0 || strlen(member->url) > 255)
        return error_set(error, EBADRQC, "%.80s: expected a URL such as https://10.0.0.2:8443", member->url);
    if (!node_name_is_valid(member->name))
        return error_set(error, EBADRQC,
                         "--name %.80s: expected lower-case letters, digits and ._-, 63 at most",
                         member->name);
    r = call_labels(call, &member->labels, error);
    if (r == 0)
        r = check_pin(call, "ca", error);
    return r == 0 ? check_pin(call, "roots", error) : r;
}

/* JSON strings are YAML as well, whatever is in them. */
static void put_string(FILE *file, const char *before, const char *text, const char *after)
{
    json_auto_t *json = json_string(text);
    _cleanup_free_ char *quoted = json_dumps(json, JSON_ENCODE_ANY);

    fprintf(file, "%s%s%s", before, quoted ? quoted : "null", after);
}

static char *format_policy(const struct call *call, const struct member *member)
{
    static const char defaults[] =
#include "agent-defaults.h" /* made from agent-defaults.yaml */
        ;
    const char *address = call_option(call, "address"), *key;
    char *text = NULL;
    json_t *value;
    size_t length;
    FILE *file = open_memstream(&text, &length);

    if (!file)
        return NULL;
    fprintf(file, "# What root allows on this host; see grivet(1). Written by `grivet join`.\n");
    put_string(file, "host: ", member->name, "\n");
    put_string(file, "environment: ", call_option(call, "environment"), "\n");
    if (json_object_size(member->labels))
        fprintf(file, "labels:\n");
    json_object_foreach(member->labels, key, value)
    {
        fprintf(file, "  %s", key);
        put_string(file, ": ", json_string_value(value), "\n");
    }
    if (address)
        put_string(file, "address: ", address, "\n");
    put_string(file, "coordinators: [", member->url, "]\n");
    fprintf(file, "%s", defaults);
    return fclose(file) == 0 ? text : NULL;
}

/* A policy that is there already is kept, and holds: nothing on the command line may say otherwise. */
static int check_policy(const struct call *call, struct member *member, struct error *error)
{
    const char *environment = call_option(call, "environment");
    json_auto_t *labels = NULL;
    int r = policy_load(&member->policy, POLICY_PATH, error);

    if (r < 0)
        return r;
    labels = member->policy->labels ? node_to_json(member->policy->labels) : json_object();
    if (!labels)
        return error_oom(error);
    if (strcmp(member->policy->host, member->name) != 0)
        return error_set(error, EINVAL, POLICY_PATH " is for host %s, not %s", member->policy->host,
                         member->name);
    if (environment && strcmp(environment, member->policy->environment) != 0)
        return error_set(error, EINVAL, POLICY_PATH " says environment %s, not %s",
                         member->policy->environment, environment);
    if (json_object_size(member->labels) && !json_equal(member->labels, labels))
        return error_set(error, EINVAL, POLICY_PATH " has other labels");
    json_object_update(member->labels, labels);
    return 0;
}

static int make_policy(const struct call *call, struct member *member, struct error *error)
{
    if (access(POLICY_PATH, F_OK) == 0)
        return check_policy(call, member, error);
    if (!call_option(call, "environment"))
        return error_set(error, EBADRQC, "--environment is needed: there is no " POLICY_PATH " that says it");
    member->policy_text = format_policy(call, member);
    if (!member->policy_text)
        return error_oom(error);
    return policy_parse(&member->policy, POLICY_PATH " as it would be", member->policy_text,
                        strlen(member->policy_text), error);
}

/* Signed by the host's new key, so that nobody can enter a key that they do not have. */
static char *format_request(const struct call *call, const struct member *member, const char *csr)
{
    const char *address = call_option(call, "address");
    struct public_key public = secret_key_public(member->host_key);
    char text[512], digest[PIN_TEXT_MAX], public_text[KEY_TEXT_MAX];
    uint8_t signature[KEY_SIGNATURE_BYTES];
    _cleanup_free_ char *proof = NULL;
    json_auto_t *json = NULL;

    snprintf(text, sizeof(text), "grivet-join\n%s\n%s", member->name,
             pin_format(csr, strlen(csr), digest) + strlen("sha256:"));
    secret_key_sign(member->host_key, text, strlen(text), signature);
    proof = base64_encode(signature, sizeof(signature));
    json = json_pack("{s:s, s:s, s:O, s:s*, s:s, s:s, s:s}", "token", call_option(call, "token"), "host",
                     member->name, "labels", member->labels, "address",
                     address ? address : member->policy->address, "public",
                     public_key_format(&public, public_text), "proof", proof, "csr", csr);
    return json_dumps(json, JSON_COMPACT);
}

/* Nothing of the answer is believed before it was held against the pins and our own keys. */
static int check_answer(const struct call *call, struct member *member, const json_t *answer,
                        struct error *error)
{
    _cleanup_(roots_freep) struct roots *roots = NULL;
    _cleanup_free_ char *name = NULL;
    int64_t expires_usec;
    int r;

    member->certificate = json_string_value(json_object_get(answer, "certificate"));
    member->roots = json_string_value(json_object_get(answer, "roots"));
    if (!member->certificate || !member->roots)
        return error_set(error, EPROTO, "the coordinator's answer lacks certificate or roots");
    r = pin_check("--roots", call_option(call, "roots"), member->roots, strlen(member->roots), error);
    if (r == 0)
        r = roots_parse(&roots, "roots", member->roots, strlen(member->roots), error);
    if (r < 0)
        return r;
    r = certificate_check(member->certificate, member->tls_pair, &expires_usec, &name, error);
    if (r < 0)
        return error_wrap(error, "the coordinator's answer");
    if (strcmp(name, member->name) != 0)
        return error_set(error, EPROTO, "the certificate is for %.64s, not %s", name, member->name);
    return 0;
}

/** struct entry - @path: NULL = leave it out; @text: NULL = a folder */
struct entry {
    const char *path, *text;
    mode_t mode;
    const struct passwd *owner;
};

static int make_entry(const struct entry *entry, struct error *error)
{
    int r;

    if (!entry->path)
        return 0;
    r = entry->text ? io_write_file(entry->path, entry->text, strlen(entry->text), entry->mode, error)
                    : io_mkdir(entry->path, entry->mode, error);
    if (r == 0 && entry->owner && chown(entry->path, entry->owner->pw_uid, entry->owner->pw_gid) < 0)
        r = error_errno(error, errno, "can't give %s to %s", entry->path, entry->owner->pw_name);
    return r;
}

/* A memory without a key is what an earlier attempt left when the power went: it remembers nothing. */
static int write_keys(const struct member *member, struct error *error)
{
    struct public_key key = secret_key_public(member->host_key);
    int r = replay_replace(REPLAY_PATH, &key, 0, error);

    if (r == 0)
        r = secret_key_save(member->host_key, HOST_KEY, member->name, NULL, error);
    if (r < 0)
        unlink(REPLAY_PATH);
    return r;
}

static int write_all(const struct member *member, const char *ca, struct error *error)
{
    const struct passwd *courier = getpwnam(COURIER_USER);
    const struct entry entries[] = {
        {ETC, NULL, 0755},
        {STATE, NULL, 0700},
        {COURIER_STATE, NULL, 0700, courier},
        {member->policy_text ? POLICY_PATH : NULL, member->policy_text, 0644},
        {ETC "/roots.json", member->roots, 0644},
        {COURIER_STATE "/ca.crt", ca, 0600, courier},
        {COURIER_STATE "/tls.crt", member->certificate, 0600, courier},
        {COURIER_STATE "/tls.key", member->tls_key, 0600, courier},
    };
    size_t made;
    int r = 0;

    if (!courier)
        return error_set(error, ENOENT,
                         "there is no user " COURIER_USER
                         ": install Grivet's users first (systemd-sysusers)");
    for (made = 0; r == 0 && made < ARRAY_SIZE(entries); made++)
        r = make_entry(&entries[made], error);
    if (r == 0)
        r = write_keys(member, error);
    while (r < 0 && made-- > 0)
        if (entries[made].text)
            unlink(entries[made].path);
    return r;
}

static int join_now(const struct call *call, struct member *member, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_free_ char *csr = NULL, *request = NULL;
    json_auto_t *answer = NULL;
    int r;

    r = secret_key_generate(&member->host_key, error);
    if (r == 0)
        r = certificate_key_generate(&member->tls_pair, error);
    if (r == 0)
        r = certificate_key_format(member->tls_pair, &member->tls_key, error);
    if (r == 0)
        r = certificate_request(member->tls_pair, member->name, &csr, error);
    if (r == 0)
        r = client_open_pinned(&client, member->url, call_option(call, "ca"), error);
    if (r < 0)
        return r;
    request = format_request(call, member, csr);
    if (!request)
        return error_oom(error);
    r = client_call(client, "POST", "/v1/join", request, &answer, error);
    if (r == -EBADE)
        return error_wrap(error, "the coordinator refuses");
    if (r == 0)
        r = check_answer(call, member, answer, error);
    return r == 0 ? write_all(member, client->ca_text, error) : r;
}

/* Return: 1 = nothing to do */
static int check_joined(const struct member *member, struct error *error)
{
    _cleanup_(policy_freep) struct policy *policy = NULL;

    if (access(HOST_KEY, F_OK) < 0)
        return errno == ENOENT ? 0 : error_errno(error, errno, HOST_KEY);
    if (policy_load(&policy, POLICY_PATH, NULL) == 0 && strcmp(policy->host, member->name) == 0)
        return 1;
    return error_set(error, EEXIST, "this host has joined already, as %s",
                     policy ? policy->host : "somebody whose agent.yaml is gone");
}

static int print_joined(const struct call *call, const struct member *member, bool is_new,
                        struct error *error)
{
    if (call->is_json)
        return output_new_json(json_pack("{s:s, s:b}", "host", member->name, "is_new", is_new), error);
    printf("%s has joined %s\n", member->name, is_new ? member->url : "already");
    return EXIT_MET;
}

int command_join(const struct call *call, struct error *error)
{
    _cleanup_(member_clear) struct member member = {0};
    int r = take_options(call, &member, error);

    if (r < 0)
        return r;
    if (geteuid() != 0)
        return error_set(error, EPERM, "only root can join a host");
    r = check_joined(&member, error);
    if (r != 0)
        return r < 0 ? r : print_joined(call, &member, false, error);
    r = make_policy(call, &member, error);
    if (r == 0)
        r = join_now(call, &member, error);
    return r < 0 ? r : print_joined(call, &member, true, error);
}
