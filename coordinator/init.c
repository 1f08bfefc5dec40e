/* `grivet-coordinator init`: everything that a new coordinator needs, made once and never overwritten. */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ca.h"
#include "command.h"
#include "common/cidr.h"
#include "common/io.h"
#include "coordinator.h"

#define LIST_MAX       32
#define ROOTS_DAYS     365
#define DAEMON_USER    "grivet-coordinator"
#define DEFAULT_LISTEN "0.0.0.0:8443"

struct init {
    const struct place *place;
    const char *environment;
    const char *people[LIST_MAX + 1], *names[LIST_MAX + 1], *zones[LIST_MAX + 1], *listen[LIST_MAX + 1];
    size_t n_people, n_names, n_zones, n_listen;
    char host[65];
    json_t *keys; /* of roots.json */
};

int command_own(const char *path, struct error *error)
{
    struct passwd *user = geteuid() == 0 ? getpwnam(DAEMON_USER) : NULL;

    if (user && lchown(path, user->pw_uid, user->pw_gid) < 0)
        return error_errno(error, errno, "%s", path);
    return 0;
}

static int add(const char **list, size_t *count, const char *value, struct error *error)
{
    if (*count == LIST_MAX)
        return error_set(error, EINVAL, "%s: at most %d of these", value, LIST_MAX);
    list[(*count)++] = value;
    return 0;
}

static int parse_options(struct init *init, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {
        {"person", required_argument, NULL, 'p'},      {"name", required_argument, NULL, 'n'},
        {"zone", required_argument, NULL, 'z'},        {"listen", required_argument, NULL, 'l'},
        {"environment", required_argument, NULL, 'e'}, {NULL},
    };
    int option, r = 0;

    optind = 0;
    while (r == 0 && (option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (option == 'p')
            r = add(init->people, &init->n_people, optarg, error);
        else if (option == 'n')
            r = add(init->names, &init->n_names, optarg, error);
        else if (option == 'z')
            r = add(init->zones, &init->n_zones, optarg, error);
        else if (option == 'l')
            r = add(init->listen, &init->n_listen, optarg, error);
        else if (option == 'e')
            init->environment = optarg;
        else
            r = error_set(error, EINVAL, "init: unknown option; see --help");
    }
    if (r == 0 && optind < argc)
        return error_set(error, EINVAL, "init: %s: expected only options", argv[optind]);
    return r;
}

static int check_options(struct init *init, struct error *error)
{
    if (init->n_people == 0)
        return error_set(error, EINVAL,
                         "init: needs --person FILE.pub of each who may sign (made by `grivet key new`)");
    if (!node_name_is_valid(init->environment))
        return error_set(error, EINVAL, "init: --environment %s: expected a name such as lab",
                         init->environment);
    if (init->n_names == 0 && gethostname(init->host, sizeof(init->host) - 1) == 0)
        init->names[init->n_names++] = init->host;
    if (init->n_listen == 0)
        init->listen[init->n_listen++] = DEFAULT_LISTEN;
    return 0;
}

/* Nothing is made before it is sure that all of it is new. */
static int check_new(const struct init *init, struct error *error)
{
    static const char *const files[] = {"ca.crt",    "ca.key",   "server.crt", "server.key",
                                        "order.key", "halt.key", "roots.json"};
    char path[4096];

    for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
        snprintf(path, sizeof(path), "%s/%s", init->place->folder, files[i]);
        if (access(path, F_OK) == 0)
            return error_set(error, EEXIST, "%s is there already: this coordinator was set up before", path);
    }
    if (access(init->place->config, F_OK) == 0)
        return error_set(error, EEXIST, "%s is there already", init->place->config);
    return 0;
}

static int add_root(struct init *init, const struct public_key *key, const char *person, json_t *roles)
{
    char text[KEY_TEXT_MAX];

    return json_array_append_new(init->keys,
                                 json_pack("{s:s, s:s, s:o}", "public", public_key_format(key, text),
                                           "person", person, "roles", roles));
}

static int load_people(struct init *init, struct error *error)
{
    for (size_t i = 0; i < init->n_people; i++) {
        _cleanup_free_ char *name = NULL;
        struct public_key key;
        int r = public_key_load(&key, &name, init->people[i], error);

        if (r < 0)
            return r;
        if (add_root(init, &key, name, json_pack("[s, s]", "approve", "halt")) < 0)
            return error_oom(error);
    }
    return 0;
}

static int make_key(struct init *init, const char *file, const char *person, const char *role,
                    struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    struct public_key public;
    char path[4096];
    int r;

    snprintf(path, sizeof(path), "%s/%s", init->place->folder, file);
    r = secret_key_generate(&key, error);
    if (r == 0)
        r = secret_key_save(key, path, person, NULL, error);
    if (r == 0)
        r = command_own(path, error);
    if (r < 0)
        return r;
    public = secret_key_public(key);
    return add_root(init, &public, person, json_pack("[s]", role)) < 0 ? error_oom(error) : 0;
}

/* Takes over @text. */
static int save_text(const char *path, char *text, struct error *error)
{
    int r = text ? ca_save_new(path, text, 0644, error) : error_oom(error);

    free(text);
    return r < 0 ? r : command_own(path, error);
}

static int make_roots(struct init *init, char ret_pin[65], struct error *error)
{
    int64_t expires = time_now_usec() + ROOTS_DAYS * 86400LL * USEC_PER_SEC;
    json_t *roots = json_pack("{s:s, s:i, s:o, s:O}", "schema", "grivet.roots/1", "version", 1, "expires_at",
                              json_time(expires), "keys", init->keys);
    char *text = roots ? json_dumps(roots, JSON_INDENT(2)) : NULL, path[4096];

    json_decref(roots);
    if (text)
        ca_sha256(text, strlen(text), ret_pin);
    snprintf(path, sizeof(path), "%s/roots.json", init->place->folder);
    return save_text(path, text, error);
}

static int make_certificates(struct init *init, char ret_pin[72], struct error *error)
{
    static const char *const files[] = {"ca.crt", "ca.key", "server.crt", "server.key"};
    _cleanup_(ca_freep) struct ca *ca = NULL;
    char paths[ARRAY_SIZE(files)][4096];
    int r;

    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        snprintf(paths[i], sizeof(paths[i]), "%s/%s", init->place->folder, files[i]);
    r = ca_create(init->place->folder, init->environment, error);
    if (r == 0)
        r = ca_load(&ca, init->place->folder, error);
    if (r == 0)
        r = ca_issue_server(ca, init->names, paths[2], paths[3], error);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(files); i++)
        r = command_own(paths[i], error);
    if (r == 0)
        ca_pin(ca, ret_pin);
    return r;
}

/* One entry of the map `zones`, written only after each CIDR was understood. */
static int print_zone(FILE *to, const char *option, struct error *error)
{
    size_t length = strcspn(option, "=");
    _cleanup_free_ char *zone = strndup(option, length),
                        *cidrs = strdup(option + length + (option[length] == '='));
    char *rest = cidrs;

    if (!zone || !cidrs)
        return error_oom(error);
    if (option[length] != '=' || !node_name_is_valid(zone))
        return error_set(error, EINVAL, "init: --zone %s: expected ID=CIDR[,CIDR...]", option);
    fprintf(to, "  %s: [", zone);
    for (char *text; (text = strsep(&rest, ","));) {
        char formatted[CIDR_TEXT_MAX];
        struct cidr cidr;

        if (cidr_parse(&cidr, text, error) < 0)
            return error_wrap(error, "init: --zone %s", option);
        fprintf(to, "\"%s\"%s", cidr_format(&cidr, formatted), rest ? ", " : "");
    }
    fprintf(to, "]\n");
    return 0;
}

static void print_list(FILE *to, const char *key, const char *const *list)
{
    fprintf(to, "%s: [", key);
    for (size_t i = 0; list[i]; i++)
        fprintf(to, "%s\"%s\"", i ? ", " : "", list[i]);
    fprintf(to, "]\n");
}

static int format_config(const struct init *init, char **ret, struct error *error)
{
    size_t length;
    FILE *to = open_memstream(ret, &length);
    int r = 0;

    if (!to)
        return error_oom(error);
    fprintf(to, "environment: %s\n", init->environment);
    print_list(to, "listen", init->listen);
    print_list(to, "names", init->names);
    fprintf(to, "zones:%s\n", init->n_zones ? "" : " {}");
    for (size_t i = 0; r == 0 && i < init->n_zones; i++)
        r = print_zone(to, init->zones[i], error);
    fclose(to);
    return r;
}

static void print_result(const struct init *init, const char *ca_pin_text, const char *roots_pin)
{
    const char *port = strrchr(init->listen[0], ':');

    printf("Made in %s:\n"
           "  ca.crt, ca.key          the CA of this coordinator\n"
           "  server.crt, server.key  its own certificate\n"
           "  order.key               signs orders; believed only inside what people signed\n"
           "  halt.key                can only stop: give it to whoever may\n"
           "  roots.json              whom hosts believe\n\n"
           "Hosts join with these pins:\n"
           "  grivet join https://%s%s --token TOKEN --ca %s --roots sha256:%s\n\n"
           "Next: grivet-coordinator operator add NAME --out FOLDER\n",
           init->place->folder, init->names[0], port ? port : ":8443", ca_pin_text, roots_pin);
}

static int init_make(struct init *init, struct error *error)
{
    char ca[72], roots[65], *config = NULL;
    int r;

    r = format_config(init, &config, error);
    if (r < 0) {
        free(config);
        return r;
    }
    r = io_mkdir(init->place->folder, 0700, error);
    if (r == 0)
        r = command_own(init->place->folder, error);
    if (r == 0)
        r = make_certificates(init, ca, error);
    if (r == 0)
        r = make_key(init, "order.key", "coordinator", "order", error);
    if (r == 0)
        r = make_key(init, "halt.key", "halt-key", "halt", error);
    if (r == 0)
        r = make_roots(init, roots, error);
    if (r < 0) {
        free(config);
        return r;
    }
    r = save_text(init->place->config, config, error);
    if (r == 0)
        print_result(init, ca, roots);
    return r;
}

int init_run(const struct place *place, int argc, char **argv, struct error *error)
{
    struct init init = {.place = place, .environment = "production", .keys = json_array()};
    int r;

    r = parse_options(&init, argc, argv, error);
    if (r == 0)
        r = check_options(&init, error);
    if (r == 0)
        r = check_new(&init, error);
    if (r == 0)
        r = load_people(&init, error);
    if (r == 0)
        r = init_make(&init, error);
    json_decref(init.keys);
    return r;
}
