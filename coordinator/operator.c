/* `operator add`: a folder that makes someone an operator. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "ca.h"
#include "common/io.h"
#include "coordinator.h"

#define FILE_MAX 65536

struct addition {
    const struct place *place;
    const char *name, *out, *url;
    bool is_json;
};

static int parse_options(struct addition *addition, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {
        {"out", required_argument, NULL, 'f'},
        {"coordinator", required_argument, NULL, 'c'},
        {"output", required_argument, NULL, 'o'},
        {NULL},
    };
    int option, r = 0;

    optind = opterr = 0;
    while (r == 0 && (option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
        if (option == 'f')
            addition->out = optarg;
        else if (option == 'c')
            addition->url = optarg;
        else if (option == 'o')
            r = output_take_form(optarg, &addition->is_json, error);
        else
            r = error_set(error, EINVAL, "operator add: %s: no such option, or without its value; see --help",
                          argv[optind - 1]);
    }
    if (r < 0)
        return r;
    if (argc - optind != 2 || strcmp(argv[optind], "add") != 0 || !addition->out)
        return error_set(error, EINVAL, "expected: operator add NAME --out FOLDER");
    addition->name = argv[optind + 1];
    if (!node_name_is_valid(addition->name))
        return error_set(error, EINVAL, "operator add: %s: expected a name such as alice", addition->name);
    if (addition->url && strpbrk(addition->url, "\"\\\n"))
        return error_set(error, EINVAL, "operator add: --coordinator: expected a URL");
    return 0;
}

static int copy_new(const struct addition *addition, const char *file, unsigned int mode, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    char from[4096], to[4096];
    size_t length;
    int r;

    snprintf(from, sizeof(from), "%s/%s", addition->place->folder, file);
    snprintf(to, sizeof(to), "%s/%s", addition->out, file);
    r = io_read_file(from, FILE_MAX, &text, &length, error);
    if (r == 0)
        r = ca_save_new(to, text, mode, error);
    if (text)
        explicit_bzero(text, length);
    return r;
}

static int make_folder(const struct addition *addition, struct error *error)
{
    _cleanup_(ca_freep) struct ca *ca = NULL;
    char certificate[4096], key[4096], path[4096], config[8192];
    int r;

    snprintf(certificate, sizeof(certificate), "%s/%s.crt", addition->out, addition->name);
    snprintf(key, sizeof(key), "%s/%s.tls.key", addition->out, addition->name);
    snprintf(path, sizeof(path), "%s/config.yaml", addition->out);
    snprintf(config, sizeof(config),
             "coordinator: \"%s\"\nca: ca.crt\ncertificate: %s.crt\nkey: %s.tls.key\n", addition->url,
             addition->name, addition->name);
    if (access(path, F_OK) == 0)
        return error_set(error, EEXIST, "%s is there already: choose another --out", path);
    r = ca_load(&ca, addition->place->folder, error);
    if (r == 0)
        r = io_mkdir(addition->out, 0700, error);
    if (r == 0)
        r = ca_issue(ca, CA_OPERATOR, addition->name, NULL, certificate, key, error);
    if (r == 0)
        r = copy_new(addition, "ca.crt", 0644, error);
    if (r == 0)
        r = copy_new(addition, "halt.key", 0600, error);
    if (r == 0)
        r = copy_new(addition, "roots.json", 0644, error);
    return r < 0 ? r : ca_save_new(path, config, 0644, error);
}

int operator_run(const struct place *place, int argc, char **argv, struct error *error)
{
    struct addition addition = {.place = place};
    struct config config = {NULL};
    char url[300];
    int r;

    r = parse_options(&addition, argc, argv, error);
    if (r == 0 && !addition.url) {
        r = config_load(&config, place->config, error);
        if (r == 0)
            addition.url = config_url(&config, url, sizeof(url));
        config_clear(&config);
    }
    if (r == 0)
        r = make_folder(&addition, error);
    if (r < 0)
        return r;
    if (addition.is_json)
        return output_json(json_pack("{s:s, s:s, s:s}", "operator", addition.name, "folder", addition.out,
                                     "coordinator", addition.url),
                           error);
    printf("Made %s: give this folder to %s.\nNext: grivet --config %s/config.yaml status\n", addition.out,
           addition.name, addition.out);
    return 0;
}
