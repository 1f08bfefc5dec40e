/*
 * The files that make a host a member: all of them or none. The host's key comes last, because everything
 * else takes its being there for having joined.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/replay.h"
#include "common/io.h"
#include "join.h"

#define ETC           "/etc/grivet"
#define POLICY        ETC "/agent.yaml"
#define ROOTS         ETC "/roots.json"
#define STATE         "/var/lib/grivet"
#define HOST_KEY      STATE "/host.key"
#define COURIER_STATE "/var/lib/grivet-courier"
#define COURIER_USER  "grivet-courier"

int join_files_state(char **ret_name, struct error *error)
{
    _cleanup_(document_freep) struct document *policy = NULL;
    const char *name;

    *ret_name = NULL;
    if (access(HOST_KEY, F_OK) < 0)
        return errno == ENOENT ? 0 : error_errno(error, errno, HOST_KEY);
    if (document_load(&policy, POLICY, 256 * 1024, NULL) == 0) {
        name = node_string(document_root(policy), "host");
        *ret_name = name ? strdup(name) : NULL;
    }
    return 1;
}

static int files_find_courier(struct join_files *files, struct error *error)
{
    const struct passwd *user = getpwnam(COURIER_USER);

    if (!user)
        return error_set(error, ENOENT,
                         "there is no user " COURIER_USER
                         ": install Grivet's users first (systemd-sysusers)");
    files->courier_uid = user->pw_uid;
    files->courier_gid = user->pw_gid;
    return 0;
}

static void files_note(struct join_files *files, const char *path)
{
    files->made[files->n_made++] = path;
}

/* A file that is there already is kept as it is by nobody: only agent.yaml may exist, and that is not written
 * here. */
static int files_write(struct join_files *files, const char *path, const char *text, mode_t mode,
                       bool is_couriers, struct error *error)
{
    int r;

    files_note(files, path);
    r = io_write_file(path, text, strlen(text), mode, error);
    if (r < 0)
        return r;
    if (is_couriers && chown(path, files->courier_uid, files->courier_gid) < 0)
        return error_errno(error, errno, "can't give %s to " COURIER_USER, path);
    return 0;
}

static int files_make_folders(const struct join_files *files, struct error *error)
{
    int r;

    r = io_mkdir(ETC, 0755, error);
    if (r == 0)
        r = io_mkdir(STATE, 0700, error);
    if (r == 0)
        r = io_mkdir(COURIER_STATE, 0700, error);
    if (r == 0 && chown(COURIER_STATE, files->courier_uid, files->courier_gid) < 0)
        r = error_errno(error, errno, "can't give " COURIER_STATE " to " COURIER_USER);
    return r;
}

static void policy_write_labels(FILE *file, json_t *labels)
{
    const char *key;
    json_t *value;

    if (!json_object_size(labels))
        return;
    fprintf(file, "labels:\n");
    json_object_foreach(labels, key, value) fprintf(file, "  %s: \"%s\"\n", key, json_string_value(value));
}

/* Names, labels and addresses were checked when they were read: none needs escaping. */
static char *policy_format(const struct join *join)
{
    static const char defaults[] =
        "require_synchronised_clock: true\n"
        "lost_contact_after_s: 60\n"
        "classes:\n"
        "  network: {is_allowed: true, signatures: 2, longest_duration_s: 300, concurrency: 1, cool_down_s: "
        "0}\n"
        "  process: {is_allowed: false, signatures: 2, longest_duration_s: 60, concurrency: 1, cool_down_s: "
        "0}\n"
        "  observe: {is_allowed: true, signatures: 1, longest_duration_s: 3600, concurrency: 4, cool_down_s: "
        "0}\n"
        "protected: {processes: [sshd], cidrs: []}\n"
        "lifeline: {ssh_port: 22, management: [0.0.0.0/0, \"::/0\"], resolvers: [], time_servers: []}\n";
    char *text = NULL;
    size_t length;
    FILE *file = open_memstream(&text, &length);

    if (!file)
        return NULL;
    fprintf(file, "# What root allows on this host; see grivet(1). Written by `grivet join`.\n");
    fprintf(file, "host: \"%s\"\nenvironment: \"%s\"\n", join->name, join->environment);
    policy_write_labels(file, join->labels);
    if (join->address)
        fprintf(file, "address: \"%s\"\n", join->address);
    fprintf(file, "coordinators: [\"%s\"]\n%s", join->url, defaults);
    return fclose(file) == 0 ? text : NULL;
}

static int files_write_policy(struct join_files *files, const struct join *join, struct error *error)
{
    _cleanup_free_ char *text = NULL;

    if (join->policy)
        return 0;
    text = policy_format(join);
    return text ? files_write(files, POLICY, text, 0644, false, error) : error_oom(error);
}

static int files_write_all(struct join_files *files, const struct join *join,
                           const struct join_result *result, struct error *error)
{
    const struct {
        const char *path, *text;
        mode_t mode;
        bool is_couriers;
    } rows[] = {
        {ROOTS, result->roots, 0644, false},
        {COURIER_STATE "/ca.crt", result->ca, 0600, true},
        {COURIER_STATE "/tls.crt", result->certificate, 0600, true},
        {COURIER_STATE "/tls.key", result->tls_key, 0600, true},
    };
    struct public_key key = secret_key_public(result->host_key);
    int r;

    r = files_make_folders(files, error);
    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(rows); i++)
        r = files_write(files, rows[i].path, rows[i].text, rows[i].mode, rows[i].is_couriers, error);
    if (r == 0)
        r = files_write_policy(files, join, error);
    if (r < 0)
        return r;
    /* A memory without a key is what an earlier attempt left when the power went: it remembers nothing. */
    if (unlink(REPLAY_PATH) < 0 && errno != ENOENT)
        return error_errno(error, errno, "can't replace " REPLAY_PATH);
    files_note(files, REPLAY_PATH);
    r = replay_create(REPLAY_PATH, &key, error);
    if (r < 0)
        return r;
    files_note(files, HOST_KEY);
    return secret_key_save(result->host_key, HOST_KEY, join->name, NULL, error);
}

int join_files_write(const struct join *join, const struct join_result *result, struct error *error)
{
    struct join_files files = {0};
    int r;

    r = files_find_courier(&files, error);
    if (r == 0)
        r = files_write_all(&files, join, result, error);
    for (size_t i = 0; r < 0 && i < files.n_made; i++)
        unlink(files.made[i]);
    return r;
}
