/* `operator add`: a folder that makes someone an operator. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ca.h"
#include "common/io.h"
#include "coordinator.h"

#define FILE_MAX  65536
#define FILES_MAX 8

/* @made: what is in the folder by now: all of it in the end, or none */
struct addition {
    const struct place *place;
    const char *name, *out, *url;
    bool is_json;
    char made[FILES_MAX][4096];
    size_t n_made;
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

static char *name_file(struct addition *addition, size_t index, const char *name, const char *ending)
{
    snprintf(addition->made[index], sizeof(addition->made[index]), "%s/%s%s", addition->out, name, ending);
    return addition->made[index];
}

static int save(struct addition *addition, const char *file, const char *text, unsigned int mode,
                struct error *error)
{
    int r = io_write_new(name_file(addition, addition->n_made, file, ""), text, strlen(text), mode, error);

    if (r == 0)
        addition->n_made++;
    return r;
}

static int copy(struct addition *addition, const char *file, unsigned int mode, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    char from[4096];
    size_t length;
    int r;

    snprintf(from, sizeof(from), "%s/%s", addition->place->folder, file);
    r = io_read_file(from, FILE_MAX, &text, &length, error);
    if (r == 0)
        r = save(addition, file, text, mode, error);
    if (text)
        explicit_bzero(text, length);
    return r;
}

static int fill_folder(struct addition *addition, const struct ca *ca, struct error *error)
{
    char config[8192];
    int r;

    snprintf(config, sizeof(config),
             "coordinator: \"%s\"\nca: ca.crt\ncertificate: %s.crt\nkey: %s.tls.key\n", addition->url,
             addition->name, addition->name);
    r = ca_issue(ca,
                 &(struct ca_wish){.use = CA_OPERATOR,
                                   .common = addition->name,
                                   .certificate_path = name_file(addition, 0, addition->name, ".crt"),
                                   .key_path = name_file(addition, 1, addition->name, ".tls.key")},
                 error);
    if (r < 0)
        return r;
    addition->n_made = 2;
    r = copy(addition, "ca.crt", 0644, error);
    if (r == 0)
        r = copy(addition, "halt.key", 0600, error);
    if (r == 0)
        r = copy(addition, "roots.json", 0644, error);
    return r < 0 ? r : save(addition, "config.yaml", config, 0644, error);
}

static int make_folder(struct addition *addition, struct error *error)
{
    _cleanup_(ca_freep) struct ca *ca = NULL;
    bool is_first = access(addition->out, F_OK) < 0;
    int r;

    if (access(name_file(addition, 0, "config.yaml", ""), F_OK) == 0)
        return error_set(error, EEXIST, "%s is there already: choose another --out", addition->made[0]);
    r = ca_load(&ca, addition->place->folder, error);
    if (r == 0)
        r = io_mkdir(addition->out, 0700, error);
    if (r == 0)
        r = fill_folder(addition, ca, error);
    if (r == 0)
        return 0;
    while (addition->n_made)
        unlink(addition->made[--addition->n_made]);
    if (is_first)
        rmdir(addition->out);
    return r;
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
