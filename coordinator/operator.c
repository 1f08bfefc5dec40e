/* `operator add`: a folder that makes someone an operator. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

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
    if (r == 0)
        r = copy_new(operator, "roots.json", 0644, error);
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
