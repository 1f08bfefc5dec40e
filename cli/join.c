/* grivet join: makes this host a member, for a token, a pinned CA and pinned roots. Fit for user-data. */
#include <errno.h>
#include <getopt.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/base64.h"
#include "common/certificate.h"
#include "common/roots.h"
#include "common/times.h"
#include "join.h"

#define POLICY_PATH    "/etc/grivet/agent.yaml"
#define VALUE_LETTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._:/-"
#define CA_BYTES_MAX   65536
#define TOKEN_LONG_MAX 512

static const char usage[] =
    "usage: grivet join URL --token T --ca sha256:HEX --roots sha256:HEX --name HOST\n"
    "                   [--label KEY=VALUE]... [--address A] [--environment E]\n";

static int join_add_label(struct join *join, const char *text, struct error *error)
{
    const char *equals = strchr(text, '=');
    char key[64];

    if (!equals || (size_t)(equals - text) >= sizeof(key))
        return error_set(error, EINVAL, "--label %.80s: expected KEY=VALUE", text);
    snprintf(key, sizeof(key), "%.*s", (int)(equals - text), text);
    if (!node_name_is_valid(key) || !equals[1] || strlen(equals + 1) > 128 ||
        equals[1 + strspn(equals + 1, VALUE_LETTERS)])
        return error_set(error, EINVAL,
                         "--label %.80s: expected a name, and a value of letters, digits and ._:/-", text);
    if (json_object_size(join->labels) == JOIN_LABELS)
        return error_set(error, E2BIG, "--label: at most %d", JOIN_LABELS);
    return json_object_set_new(join->labels, key, json_string(equals + 1)) < 0 ? error_oom(error) : 0;
}

static int join_parse_options(struct join *join, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {
        {"token", required_argument, NULL, 't'},       {"ca", required_argument, NULL, 'c'},
        {"roots", required_argument, NULL, 'r'},       {"name", required_argument, NULL, 'n'},
        {"label", required_argument, NULL, 'l'},       {"address", required_argument, NULL, 'a'},
        {"environment", required_argument, NULL, 'e'}, {0},
    };
    const char *ca = NULL, *roots = NULL;
    int option, r = 0;

    optind = 1;
    while (r == 0 && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        const struct {
            int letter;
            const char **to;
        } texts[] = {{'t', &join->token},   {'c', &ca},
                     {'r', &roots},         {'n', &join->name},
                     {'a', &join->address}, {'e', &join->environment}};

        if (option == '?')
            return -EINVAL;
        for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
            if (texts[i].letter == option)
                *texts[i].to = optarg;
        if (option == 'l')
            r = join_add_label(join, optarg, error);
    }
    if (r < 0)
        return r;
    if (optind + 1 != argc || !join->token || !ca || !roots || !join->name)
        return -EINVAL;
    join->url = argv[optind];
    r = join_pin_parse(ca, join->ca_pin, error);
    return r < 0 ? r : join_pin_parse(roots, join->roots_pin, error);
}

static int join_check_options(const struct join *join, struct error *error)
{
    const char *host = join->url + 8;

    if (strncmp(join->url, "https://", 8) || !*host || strlen(host) > 255 ||
        host[strspn(host, VALUE_LETTERS "[]")] || strchr(host, '/'))
        return error_set(error, EINVAL, "%.80s: expected a URL such as https://10.0.0.2:8443", join->url);
    if (!node_name_is_valid(join->name))
        return error_set(error, EINVAL,
                         "--name %.80s: expected lower-case letters, digits and ._-, 63 at most", join->name);
    if (join->environment && !node_name_is_valid(join->environment))
        return error_set(error, EINVAL, "--environment %.80s: expected a name", join->environment);
    if (join->address && (strlen(join->address) > 63 || join->address[strspn(join->address, VALUE_LETTERS)]))
        return error_set(error, EINVAL, "--address %.80s: expected an address", join->address);
    if (strlen(join->token) > TOKEN_LONG_MAX)
        return error_set(error, EINVAL, "--token: longer than %d characters", TOKEN_LONG_MAX);
    return 0;
}

/* What the policy says already holds; what is not said on the command line comes from it. */
static int join_load_policy(struct join *join, struct error *error)
{
    const struct node *root, *labels;
    const char *host, *environment;
    int r;

    if (access(POLICY_PATH, F_OK) < 0) {
        if (join->environment)
            return 0;
        return error_set(error, EINVAL, "--environment is needed: there is no " POLICY_PATH " that says it");
    }
    r = document_load(&join->policy, POLICY_PATH, 256 * 1024, error);
    if (r < 0)
        return r;
    root = document_root(join->policy);
    host = node_string(root, "host");
    environment = node_string(root, "environment");
    labels = node_get(root, "labels");
    if (!host || strcmp(host, join->name))
        return error_set(error, EINVAL, POLICY_PATH " is for host %s, not %s", host ? host : "?", join->name);
    if (join->environment && (!environment || strcmp(environment, join->environment)))
        return error_set(error, EINVAL, POLICY_PATH " says environment %s, not %s",
                         environment ? environment : "?", join->environment);
    if (!join->address)
        join->address = node_string(root, "address");
    if (labels && !json_object_size(join->labels)) {
        json_decref(join->labels);
        join->labels = node_to_json(labels);
    }
    return join->labels ? 0 : error_oom(error);
}

/* Signed by the host's new key, so that nobody can enter a key that they do not have. */
static char *join_format_proof(const struct secret_key *key, const char *name, const char *csr)
{
    uint8_t digest[JOIN_PIN_BYTES], signature[KEY_SIGNATURE_BYTES];
    char text[512];
    int length;

    if (!EVP_Digest(csr, strlen(csr), digest, NULL, EVP_sha256(), NULL))
        return NULL;
    length = snprintf(text, sizeof(text), "grivet-join\n%s\n", name);
    for (size_t i = 0; i < sizeof(digest); i++)
        length += sprintf(text + length, "%02x", digest[i]);
    secret_key_sign(key, text, (size_t)length, signature);
    return base64_encode(signature, sizeof(signature));
}

static char *join_format_request(const struct join *join, const struct secret_key *key, const char *csr)
{
    _cleanup_free_ char *proof = join_format_proof(key, join->name, csr);
    struct public_key public = secret_key_public(key);
    char public_text[KEY_TEXT_MAX], *text;
    json_t *json;

    json = json_pack("{s:s, s:s, s:O, s:s*, s:s, s:s, s:s}", "token", join->token, "host", join->name,
                     "labels", join->labels, "address", join->address, "public",
                     public_key_format(&public, public_text), "proof", proof, "csr", csr);
    text = json ? json_dumps(json, JSON_COMPACT) : NULL;
    json_decref(json);
    return text;
}

/* Nothing of the answer is believed before it was held against the pins and our own keys. */
static int join_check_answer(const struct join *join, json_t *answer, EVP_PKEY *tls_key,
                             struct join_result *result, struct error *error)
{
    _cleanup_(roots_freep) struct roots *roots = NULL;
    _cleanup_free_ char *name = NULL;
    int64_t expires_usec;
    int r;

    result->certificate = json_string_value(json_object_get(answer, "certificate"));
    result->roots = json_string_value(json_object_get(answer, "roots"));
    if (!result->certificate || !result->roots)
        return error_set(error, EPROTO, "the coordinator's answer lacks certificate or roots");
    r = join_pin_check(result->roots, strlen(result->roots), join->roots_pin, "--roots", error);
    if (r < 0)
        return r;
    r = roots_parse(&roots, "roots", result->roots, strlen(result->roots), error);
    if (r < 0)
        return r;
    r = certificate_check(result->certificate, tls_key, &expires_usec, &name, error);
    if (r < 0)
        return error_wrap(error, "the coordinator's answer");
    if (strcmp(name, join->name))
        return error_set(error, EPROTO, "the certificate is for %.64s, not %s", name, join->name);
    return 0;
}

static int join_now(const struct join *join, struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *host_key = NULL;
    _cleanup_(certificate_key_freep) EVP_PKEY *tls_key = NULL;
    _cleanup_free_ char *csr = NULL, *key_text = NULL, *request = NULL, *ca = NULL;
    struct join_result result = {0};
    json_t *answer = NULL;
    int r;

    r = secret_key_generate(&host_key, error);
    if (r == 0)
        r = certificate_key_generate(&tls_key, error);
    if (r == 0)
        r = certificate_key_format(tls_key, &key_text, error);
    if (r == 0)
        r = certificate_request(tls_key, join->name, &csr, error);
    if (r < 0)
        return r;
    request = join_format_request(join, host_key, csr);
    if (!request)
        return error_oom(error);
    r = join_pin_post(join->url, "/v1/join", request, join->ca_pin, &answer, &ca, error);
    if (r < 0)
        return r;
    result = (struct join_result){.host_key = host_key, .tls_key = key_text, .ca = ca};
    r = join_check_answer(join, answer, tls_key, &result, error);
    if (r == 0)
        r = join_files_write(join, &result, error);
    json_decref(answer);
    explicit_bzero(key_text, strlen(key_text));
    return r;
}

/* Return: 1 nothing to do, 0 go on, -errno */
static int join_check_state(const struct join *join, struct error *error)
{
    _cleanup_free_ char *name = NULL;
    int r = join_files_state(&name, error);

    if (r <= 0)
        return r;
    if (name && !strcmp(name, join->name)) {
        printf("%s has joined already\n", name);
        return 1;
    }
    return error_set(error, EEXIST, "this host has joined already, as %s",
                     name ? name : "somebody whose agent.yaml is gone");
}

static int join_run(struct join *join, int argc, char **argv, struct error *error)
{
    int r;

    r = join_parse_options(join, argc, argv, error);
    if (r == 0)
        r = join_check_options(join, error);
    if (r < 0)
        return r;
    if (geteuid() != 0)
        return error_set(error, EPERM, "only root can join a host");
    r = join_check_state(join, error);
    if (r == 0)
        r = join_load_policy(join, error);
    if (r == 0) {
        r = join_now(join, error);
        if (r == 0)
            printf("%s has joined %s\n", join->name, join->url);
    }
    return r;
}

int command_join(int argc, char **argv)
{
    struct join join = {.labels = json_object()};
    struct error error = {0};
    int r;

    if (argc == 2 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))) {
        json_decref(join.labels);
        fputs(usage, stdout);
        return EXIT_SUCCESS;
    }
    r = join_run(&join, argc, argv, &error);

    json_decref(join.labels);
    document_free(join.policy);
    if (r == -EINVAL && !error.code) {
        fputs(usage, stderr);
        return 2;
    }
    if (r < 0)
        fprintf(stderr, "grivet join: %s\n", error.text);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
