/* `grivet-coordinator init`: everything that a new coordinator needs, made once and never overwritten. */
#include <errno.h>
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ca.h"
#include "common/io.h"
#include "coordinator.h"

#define ROOTS_DAYS     365
#define DAEMON_USER    "grivet-coordinator"
#define DEFAULT_LISTEN "0.0.0.0:8443"

/* In the order in which they are made: the last one, without which nothing is served, says that all are
 * there. */
enum file {
    CA_CERTIFICATE,
    CA_KEY,
    SERVER_CERTIFICATE,
    SERVER_KEY,
    ORDER_KEY,
    HALT_KEY,
    ROOTS,
    CONFIG,
    FILES,
};

static const char *const file_names[CONFIG] = {"ca.crt",    "ca.key",   "server.crt", "server.key",
                                               "order.key", "halt.key", "roots.json"};

/* @wanted: coordinator.yaml as the options say; @keys: of roots.json; @text: of coordinator.yaml; @n_made: so
 * many of @paths are there by now, and all of them in the end or none */
struct init {
    const struct place *place;
    json_t *wanted, *keys;
    char *text;
    struct config config;
    char paths[FILES][4096];
    size_t n_made;
    char ca_pin[72], roots_pin[65];
    bool is_json;
};

static int add_root(struct init *init, const struct public_key *key, const char *person, json_t *roles,
                    struct error *error)
{
    char text[KEY_TEXT_MAX];
    json_t *root = json_pack("{s:s, s:s, s:o}", "public", public_key_format(key, text), "person", person,
                             "roles", roles);

    return json_array_append_new(init->keys, root) < 0 ? error_oom(error) : 0;
}

static int take_person(struct init *init, const char *path, struct error *error)
{
    _cleanup_free_ char *name = NULL;
    struct public_key key;
    int r = public_key_load(&key, &name, path, error);

    return r < 0 ? r : add_root(init, &key, name, json_pack("[s, s]", "approve", "halt"), error);
}

static void add_to(json_t *map, const char *key, const char *value)
{
    if (!json_object_get(map, key))
        json_object_set_new(map, key, json_array());
    json_array_append_new(json_object_get(map, key), json_string(value));
}

/* ID=CIDR[,CIDR...]; what it means is checked with the whole of the configuration. */
static int take_zone(struct init *init, const char *option, struct error *error)
{
    _cleanup_free_ char *zone = strdup(option);
    char *rest = zone ? strchr(zone, '=') : NULL;

    if (!rest)
        return error_set(error, EINVAL, "init: --zone %s: expected ID=CIDR[,CIDR...]", option);
    *rest++ = '\0';
    for (char *cidr; (cidr = strsep(&rest, ","));)
        add_to(json_object_get(init->wanted, "zones"), zone, cidr);
    return 0;
}

static int parse_options(struct init *init, int argc, char **argv, struct error *error)
{
    static const struct option options[] = {
        {"person", required_argument, NULL, 'p'},
        {"name", required_argument, NULL, 'n'},
        {"zone", required_argument, NULL, 'z'},
        {"listen", required_argument, NULL, 'l'},
        {"environment", required_argument, NULL, 'e'},
        {"output", required_argument, NULL, 'o'},
        {NULL},
    };
    int option, r = 0;

    optind = opterr = 0;
    while (r == 0 && (option = getopt_long(argc, argv, "+o:", options, NULL)) != -1) {
        if (option == 'p')
            r = take_person(init, optarg, error);
        else if (option == 'n')
            add_to(init->wanted, "names", optarg);
        else if (option == 'z')
            r = take_zone(init, optarg, error);
        else if (option == 'l')
            add_to(init->wanted, "listen", optarg);
        else if (option == 'e')
            json_object_set_new(init->wanted, "environment", json_string(optarg));
        else if (option == 'o')
            r = output_take_form(optarg, &init->is_json, error);
        else
            r = error_set(error, EINVAL, "init: %s: no such option, or without its value; see --help",
                          argv[optind - 1]);
    }
    if (r == 0 && optind < argc)
        return error_set(error, EINVAL, "init: %s: expected only options", argv[optind]);
    if (r == 0 && json_array_size(init->keys) == 0)
        return error_set(error, EINVAL,
                         "init: needs --person FILE.pub of each who may sign (made by `grivet key new`)");
    return r;
}

/* coordinator.yaml, a line for each key, read again as `serve` will read it. */
static int make_config(struct init *init, struct error *error)
{
    struct document *document;
    char host[65] = "";
    size_t length;
    FILE *to = open_memstream(&init->text, &length);
    const char *key;
    json_t *value;
    int r;

    if (!to)
        return error_oom(error);
    if (!json_object_get(init->wanted, "names") && gethostname(host, sizeof(host) - 1) == 0)
        add_to(init->wanted, "names", host);
    if (!json_object_get(init->wanted, "listen"))
        add_to(init->wanted, "listen", DEFAULT_LISTEN);
    json_object_foreach(init->wanted, key, value)
    {
        fprintf(to, "%s: ", key);
        json_dumpf(value, to, JSON_ENCODE_ANY);
        fputc('\n', to);
    }
    if (fclose(to) != 0)
        return error_oom(error);
    r = document_parse_yaml(&document, "init: coordinator.yaml as the options say", init->text, length,
                            error);
    return r < 0 ? r : config_take(&init->config, document, error);
}

/* Nothing is made before it is sure that all of it is new. */
static int check_new(struct init *init, struct error *error)
{
    for (enum file i = 0; i < FILES; i++) {
        if (i == CONFIG)
            snprintf(init->paths[i], sizeof(init->paths[i]), "%s", init->place->config);
        else
            snprintf(init->paths[i], sizeof(init->paths[i]), "%s/%s", init->place->folder, file_names[i]);
        if (access(init->paths[i], F_OK) < 0)
            continue;
        if (access(init->place->config, F_OK) < 0)
            return error_set(
                error, EEXIST,
                "%s is there already, but no %s: if hosts have joined this coordinator, bring that "
                "back; else an init was cut off, and %s can be removed",
                init->paths[i], init->place->config, init->place->folder);
        return error_set(error, EEXIST, "%s is there already: this coordinator was set up before",
                         init->paths[i]);
    }
    return 0;
}

static int make_certificates(struct init *init, struct error *error)
{
    _cleanup_(ca_freep) struct ca *ca = NULL;
    char name[80];
    const struct ca_wish itself = {.use = CA_ITSELF,
                                   .common = name,
                                   .certificate_path = init->paths[CA_CERTIFICATE],
                                   .key_path = init->paths[CA_KEY]};
    const struct ca_wish server = {.use = CA_SERVER,
                                   .common = "grivet-coordinator",
                                   .names = init->config.names,
                                   .certificate_path = init->paths[SERVER_CERTIFICATE],
                                   .key_path = init->paths[SERVER_KEY]};
    int r;

    snprintf(name, sizeof(name), "grivet %s", init->config.environment);
    r = ca_issue(NULL, &itself, error);
    if (r < 0)
        return r;
    init->n_made = CA_KEY + 1;
    r = ca_load(&ca, init->place->folder, error);
    if (r < 0)
        return r;
    ca_pin(ca, init->ca_pin);
    r = ca_issue(ca, &server, error);
    if (r == 0)
        init->n_made = SERVER_KEY + 1;
    return r;
}

static int make_key(struct init *init, enum file file, const char *person, const char *role,
                    struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    struct public_key public;
    int r;

    r = secret_key_generate(&key, error);
    if (r == 0)
        r = secret_key_save(key, init->paths[file], person, NULL, error);
    if (r < 0)
        return r;
    init->n_made = file + 1;
    public = secret_key_public(key);
    return add_root(init, &public, person, json_pack("[s]", role), error);
}

static int save(struct init *init, enum file file, const char *text, struct error *error)
{
    int r = io_write_new(init->paths[file], text, strlen(text), 0644, error);

    if (r == 0)
        init->n_made = file + 1;
    return r;
}

static int make_roots(struct init *init, struct error *error)
{
    int64_t expires = time_now_usec() + ROOTS_DAYS * 86400LL * USEC_PER_SEC;
    json_auto_t *roots = json_pack("{s:s, s:i, s:o, s:O}", "schema", "grivet.roots/1", "version", 1,
                                   "expires_at", json_time(expires), "keys", init->keys);
    _cleanup_free_ char *text = json_dumps(roots, JSON_INDENT(2));

    if (!text)
        return error_oom(error);
    ca_sha256(text, init->roots_pin);
    return save(init, ROOTS, text, error);
}

/* Root makes files for the daemon's user: hand them over. */
static int own_all(const struct init *init, struct error *error)
{
    struct passwd *user = geteuid() == 0 ? getpwnam(DAEMON_USER) : NULL;

    if (user && lchown(init->place->folder, user->pw_uid, user->pw_gid) < 0)
        return error_errno(error, errno, "%s", init->place->folder);
    for (enum file i = 0; user && i < FILES; i++)
        if (lchown(init->paths[i], user->pw_uid, user->pw_gid) < 0)
            return error_errno(error, errno, "%s", init->paths[i]);
    return 0;
}

static int make_all(struct init *init, struct error *error)
{
    bool is_first = access(init->place->folder, F_OK) < 0;
    int r;

    r = io_mkdir(init->place->folder, 0700, error);
    if (r == 0)
        r = make_certificates(init, error);
    if (r == 0)
        r = make_key(init, ORDER_KEY, "coordinator", "order", error);
    if (r == 0)
        r = make_key(init, HALT_KEY, "halt-key", "halt", error);
    if (r == 0)
        r = make_roots(init, error);
    if (r == 0)
        r = save(init, CONFIG, init->text, error);
    if (r == 0)
        r = own_all(init, error);
    if (r == 0)
        return 0;
    while (init->n_made)
        unlink(init->paths[--init->n_made]);
    if (is_first)
        rmdir(init->place->folder);
    return r;
}

static int print_result(const struct init *init, struct error *error)
{
    char url[300];

    config_url(&init->config, url, sizeof(url));
    if (init->is_json)
        return output_json(json_pack("{s:s, s:s, s:s, s:o}", "folder", init->place->folder, "coordinator",
                                     url, "ca", init->ca_pin, "roots",
                                     json_sprintf("sha256:%s", init->roots_pin)),
                           error);
    printf("Made in %s:\n"
           "  ca.crt, ca.key          the CA of this coordinator\n"
           "  server.crt, server.key  its own certificate\n"
           "  order.key               signs orders; believed only inside what people signed\n"
           "  halt.key                can only stop: give it to whoever may\n"
           "  roots.json              whom hosts believe\n\n"
           "Hosts join with these pins:\n"
           "  grivet join %s --token TOKEN --ca %s --roots sha256:%s\n\n"
           "Next: grivet-coordinator operator add NAME --out FOLDER\n",
           init->place->folder, url, init->ca_pin, init->roots_pin);
    return 0;
}

int init_run(const struct place *place, int argc, char **argv, struct error *error)
{
    struct init init = {.place = place, .keys = json_array()};
    int r;

    init.wanted = json_pack("{s:s, s:{}}", "environment", "production", "zones");
    r = parse_options(&init, argc, argv, error);
    if (r == 0)
        r = make_config(&init, error);
    if (r == 0)
        r = check_new(&init, error);
    if (r == 0)
        r = make_all(&init, error);
    if (r == 0)
        r = print_result(&init, error);
    config_clear(&init.config);
    json_decref(init.wanted);
    json_decref(init.keys);
    free(init.text);
    return r;
}
