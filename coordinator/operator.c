/* `operator add`: a folder that makes someone an operator. `token new`: let a host in before there is an
 * operator. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agents.h"
#include "ca.h"
#include "command.h"
#include "common/io.h"
#include "coordinator.h"

#define KEY_FILE_MAX 65536

struct operator
{
    const struct place *place;
    const char *name, *out, *url;
};

static int copy_new(const struct operator* operator, const char * file, unsigned int mode,
                    struct error *error)
{
    _cleanup_free_ char *text = NULL;
    char from[4096], to[4096];
    size_t length;
    int r;

    snprintf(from, sizeof(from), "%s/%s", operator->place->folder, file);
    snprintf(to, sizeof(to), "%s/%s", operator->out, file);
    r = io_read_file(from, KEY_FILE_MAX, &text, &length, error);
    if (r == 0)
        r = ca_save_new(to, text, mode, error);
    if (text)
        explicit_bzero(text, length);
    return r;
}

/* Where the coordinator says that it is: its first name, the port that it listens on. */
static int default_url(const struct place *place, char *ret, size_t size, struct error *error)
{
    struct config config = {NULL};
    const char *port, *name;
    int r = config_load(&config, place->config, error);

    if (r < 0)
        return r;
    name = config.names->first->string;
    port = strrchr(config.listen->first->string, ':');
    snprintf(ret, size, strchr(name, ':') ? "https://[%s]%s" : "https://%s%s", name, port ? port : "");
    config_clear(&config);
    return 0;
}

static int operator_make(const struct operator* operator, struct error * error)
{
    _cleanup_(ca_freep) struct ca *ca = NULL;
    char certificate[4096], key[4096], path[4096], config[8192];
    int r;

    snprintf(certificate, sizeof(certificate), "%s/%s.crt", operator->out, operator->name);
    snprintf(key, sizeof(key), "%s/%s.tls.key", operator->out, operator->name);
    snprintf(path, sizeof(path), "%s/config.yaml", operator->out);
    snprintf(config, sizeof(config),
             "coordinator: \"%s\"\nca: ca.crt\ncertificate: %s.crt\nkey: %s.tls.key\n",
             operator->url, operator->name, operator->name);
    if (access(path, F_OK) == 0)
        return error_set(error, EEXIST, "%s is there already: choose another --out", path);
    r = ca_load(&ca, operator->place->folder, error);
    if (r == 0)
        r = io_mkdir(operator->out, 0700, error);
    if (r == 0)
        r = ca_issue_operator(ca, operator->name, certificate, key, error);
    if (r == 0)
        r = copy_new(operator, "ca.crt", 0644, error);
    if (r == 0)
        r = copy_new(operator, "halt.key", 0600, error);
    return r < 0 ? r : ca_save_new(path, config, 0644, error);
}

static int parse_operator(struct operator* operator, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {
        {"out", required_argument, NULL, 'o'}, {"coordinator", required_argument, NULL, 'c'}, {NULL}};
    int option;

    if (argc < 3 || strcmp(argv[1], "add") != 0)
        return error_set(error, EINVAL, "expected: operator add NAME --out FOLDER");
    optind = 0;
    while ((option = getopt_long(argc - 1, argv + 1, "", options, NULL)) != -1) {
        if (option == 'o')
            operator->out = optarg;
        else if (option == 'c')
            operator->url = optarg;
        else
            return error_set(error, EINVAL, "operator add: unknown option; see --help");
    }
    if (optind != argc - 2 || !operator->out)
        return error_set(error, EINVAL, "expected: operator add NAME --out FOLDER");
    operator->name = argv[optind + 1];
    if (!node_name_is_valid(operator->name))
        return error_set(error, EINVAL, "operator add: %s: expected a name such as alice", operator->name);
    if (operator->url && strpbrk(operator->url, "\"\\\n"))
        return error_set(error, EINVAL, "operator add: --coordinator: expected a URL");
    return 0;
}

int operator_run(const struct place *place, int argc, char **argv, struct error *error)
{
    struct operator operator= {.place = place};
    char url[300];
    int r;

    r = parse_operator(&operator, argc, argv, error);
    if (r == 0 && !operator.url) {
        r = default_url(place, url, sizeof(url), error);
        operator.url = url;
    }
    if (r == 0)
        r = operator_make(&operator, error);
    if (r == 0)
        printf("Made %s: give this folder to %s.\nNext: grivet --config %s/config.yaml status\n",
               operator.out, operator.name, operator.out);
    return r;
}

static int add_label(json_t *labels, const char *text, struct error *error)
{
    size_t length = strcspn(text, "=");
    _cleanup_free_ char *key = strndup(text, length);

    if (!key)
        return error_oom(error);
    if (text[length] != '=' || !node_name_is_valid(key))
        return error_set(error, EINVAL, "token new: --label %s: expected KEY=VALUE", text);
    if (json_object_set_new(labels, key, json_string(text + length + 1)) < 0)
        return error_set(error, EINVAL, "token new: --label %s: expected UTF-8", text);
    return 0;
}

static int parse_number(const char *text, int64_t max, int64_t *ret, struct error *error)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    if (errno || *end || end == text || *ret < 1 || *ret > max)
        return error_set(error, EINVAL, "token new: %s: expected a number from 1 to %lld", text,
                         (long long)max);
    return 0;
}

static int parse_token(struct token_wish *wish, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {{"label", required_argument, NULL, 'l'},
                                            {"uses", required_argument, NULL, 'u'},
                                            {"expires-s", required_argument, NULL, 'e'},
                                            {NULL}};
    int option, r = 0;

    if (argc < 2 || strcmp(argv[1], "new") != 0)
        return error_set(error, EINVAL, "expected: token new --label KEY=VALUE");
    optind = 0;
    while (r == 0 && (option = getopt_long(argc - 1, argv + 1, "+", options, NULL)) != -1) {
        if (option == 'l')
            r = add_label(wish->labels, optarg, error);
        else if (option == 'u')
            r = parse_number(optarg, 100000, &wish->max_uses, error);
        else if (option == 'e')
            r = parse_number(optarg, 366 * 86400, &wish->expires_in_s, error);
        else
            r = error_set(error, EINVAL, "token new: unknown option; see --help");
    }
    if (r == 0 && (json_object_size(wish->labels) == 0 || optind != argc - 1))
        return error_set(error, EINVAL, "token new: needs a --label KEY=VALUE that its hosts must bear");
    return r;
}

int token_run(const struct place *place, int argc, char **argv, struct error *error)
{
    struct token_wish wish = {.labels = json_object(), .expires_in_s = 3600, .max_uses = 1};
    struct event_base *base = event_base_new();
    char path[4096], id[TOKEN_ID_MAX], token[TOKEN_TEXT_MAX];
    struct store *store = NULL;
    int r;

    snprintf(path, sizeof(path), "%s/store.db", place->folder);
    r = base ? parse_token(&wish, argc, argv, error) : error_oom(error);
    if (r == 0)
        r = store_open(&store, path, base, error);
    if (r == 0)
        r = tokens_make(store, &wish, "root", id, token, error);
    if (r == 0 && (r = store_flush(store, error)) == 0)
        puts(token);
    store_close(store);
    if (r == 0)
        r = command_own(path, error);
    json_decref(wish.labels);
    if (base)
        event_base_free(base);
    return r;
}
