/* See policy.h. Two steps: tables decode the document, then what tables can't say is checked. */
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define POLICY_BYTES_MAX (256 * 1024)
#define LONGEST_MAX_S    (MANDATE_DURATION_MAX_MSEC / 1000)
#define COOL_DOWN_MAX_S  (30 * 24 * 3600)
#define SIGNATURES_MAX   ENVELOPE_SIGNATURES_MAX
#define CONCURRENCY_MAX  8
#define HTTPS_PORT       8443

/* What a host does that was told nothing: what ends with its holder, up to 5 minutes, with two signatures;
 * nothing irreversible. */
static const struct policy_class class_defaults[] = {
    {"network", true, 2, 300, 1, 0},
    {"cpu", true, 2, 300, 1, 0},
    {"process", false, 2, 60, 1, 0},
    {POLICY_CLASS_OBSERVE, true, 1, 3600, 4, 0},
};

struct policy_file {
    const struct node *coordinators, *classes, *protected, *lifeline;
    const struct node *processes, *cidrs, *management, *resolvers, *time_servers;
};

struct policy_read {
    struct policy *policy;
    struct policy_file file;
    struct error *error;
};

#define AT(member)      offsetof(struct policy, member)
#define AT_FILE(member) offsetof(struct policy_file, member)

static const struct field identity_fields[] = {
    {"host", FIELD_NAME, AT(host), true},
    {"environment", FIELD_NAME, AT(environment), true},
    {"labels", FIELD_MAP, AT(labels), false, 0, 64},
    {"address", FIELD_STRING, AT(address), false, 1, 64},
    {"require_synchronised_clock", FIELD_BOOLEAN, AT(requires_synchronised_clock)},
    {"lost_contact_after_s", FIELD_INTEGER, AT(lost_contact_after_s), false, 1, 3600},
    {},
};

static const struct field section_fields[] = {
    {"coordinators", FIELD_LIST, AT_FILE(coordinators), true, 1, POLICY_COORDINATORS_MAX},
    {"classes", FIELD_MAP, AT_FILE(classes), false, 0, POLICY_CLASSES_MAX},
    {"protected", FIELD_MAP, AT_FILE(protected)},
    {"lifeline", FIELD_MAP, AT_FILE(lifeline)},
    {},
};

static const struct field protected_fields[] = {
    {"processes", FIELD_LIST, AT_FILE(processes), false, 0, 256},
    {"cidrs", FIELD_LIST, AT_FILE(cidrs), false, 0, 1024},
    {},
};

static const struct field class_fields[] = {
    {"is_allowed", FIELD_BOOLEAN, offsetof(struct policy_class, is_allowed), true},
    {"signatures", FIELD_INTEGER, offsetof(struct policy_class, signatures), false, 1, SIGNATURES_MAX},
    {"longest_duration_s", FIELD_INTEGER, offsetof(struct policy_class, longest_duration_s), false, 1,
     LONGEST_MAX_S},
    {"concurrency", FIELD_INTEGER, offsetof(struct policy_class, concurrency), false, 1, CONCURRENCY_MAX},
    {"cool_down_s", FIELD_INTEGER, offsetof(struct policy_class, cool_down_s), false, 0, COOL_DOWN_MAX_S},
    {},
};

/* The lifeline's lists land in struct policy_file, its port in struct policy. */
struct lifeline_file {
    int64_t ssh_port;
    const struct node *management, *resolvers, *time_servers;
};

static const struct field lifeline_fields[] = {
    {"ssh_port", FIELD_INTEGER, offsetof(struct lifeline_file, ssh_port), false, 1, 65535},
    {"management", FIELD_LIST, offsetof(struct lifeline_file, management), false, 0, 32},
    {"resolvers", FIELD_LIST, offsetof(struct lifeline_file, resolvers), false, 0, 8},
    {"time_servers", FIELD_LIST, offsetof(struct lifeline_file, time_servers), false, 0, 16},
    {},
};

static int read_string(const struct policy_read *read, const struct node *node, const char **ret)
{
    if (node->type != DOCUMENT_STRING || !*node->string)
        return node_error(read->policy->document, node, read->error, "expected a string");
    *ret = node->string;
    return 0;
}

static int read_labels(const struct policy_read *read)
{
    const char *value;
    int r;

    for (const struct node *node = read->policy->labels ? read->policy->labels->first : NULL; node;
         node = node->next) {
        r = read_string(read, node, &value);
        if (r < 0)
            return r;
    }
    read->policy->zone = node_string(read->policy->labels, "zone");
    return 0;
}

static int read_coordinator(const struct policy_read *read, const struct node *node)
{
    struct policy_coordinator *to = &read->policy->coordinators[read->policy->n_coordinators];
    static const char scheme[] = "https://";
    const char *url = NULL, *end, *colon;
    char text[ENDPOINT_TEXT_MAX];
    unsigned int port = HTTPS_PORT;
    int r = read_string(read, node, &url);

    if (r < 0)
        return r;
    if (strncmp(url, scheme, strlen(scheme)))
        return node_error(read->policy->document, node, read->error, "expected https://HOST:PORT");
    url += strlen(scheme);
    end = url + strcspn(url, "/?#");
    colon = memrchr(url, ':', end - url);
    if (colon && memchr(colon, ']', end - colon))
        colon = NULL;
    if (colon && (sscanf(colon, ":%5u", &port) != 1 || !port || port > UINT16_MAX))
        return node_error(read->policy->document, node, read->error, "expected a port of 1 to 65535");
    if (!colon)
        colon = end;
    if (colon == url || (size_t)(colon - url) >= sizeof(to->host))
        return node_error(read->policy->document, node, read->error, "expected https://HOST:PORT");
    snprintf(to->host, sizeof(to->host), "%.*s", (int)(colon - url), url);
    to->port = port;
    to->is_literal = snprintf(text, sizeof(text), "%s:%u", to->host, port) < (int)sizeof(text) &&
                     endpoint_parse(&to->endpoint, text, NULL) == 0;
    read->policy->n_coordinators++;
    return 0;
}

static int read_coordinators(const struct policy_read *read)
{
    int r = 0;

    for (const struct node *node = read->file.coordinators->first; node && r == 0; node = node->next)
        r = read_coordinator(read, node);
    return r;
}

static struct policy_class *class_get(struct policy *policy, const char *name)
{
    return (struct policy_class *)policy_class_find(policy, name);
}

/* What a class leaves out keeps its default; a class without one needs two signatures. */
static int read_class(const struct policy_read *read, const struct node *node)
{
    static const struct policy_class unknown = {NULL, false, 2, 60, 1, 0};
    struct policy_class *class = class_get(read->policy, node->key);

    if (!class) {
        if (read->policy->n_classes == POLICY_CLASSES_MAX)
            return node_error(read->policy->document, node, read->error, "more than %d classes",
                              POLICY_CLASSES_MAX);
        class = &read->policy->classes[read->policy->n_classes++];
        *class = unknown;
        class->name = node->key;
    }
    return node_decode(read->policy->document, node, class_fields, class, read->error);
}

static int read_classes(const struct policy_read *read)
{
    int r = 0;

    memcpy(read->policy->classes, class_defaults, sizeof(class_defaults));
    read->policy->n_classes = ARRAY_SIZE(class_defaults);
    for (const struct node *node = read->file.classes ? read->file.classes->first : NULL; node && r == 0;
         node = node->next)
        r = read_class(read, node);
    return r;
}

static int read_cidrs(const struct policy_read *read, const struct node *list, struct cidr *ret,
                      size_t *ret_count)
{
    struct error why;
    const char *text = NULL;
    int r;

    for (const struct node *node = list ? list->first : NULL; node; node = node->next) {
        r = read_string(read, node, &text);
        if (r < 0)
            return r;
        if (cidr_parse(&ret[*ret_count], text, &why) < 0)
            return node_error(read->policy->document, node, read->error, "%s", why.text);
        (*ret_count)++;
    }
    return 0;
}

static int read_protected(struct policy_read *read)
{
    const struct node *list;
    size_t count = 0;
    int r = 0;

    if (read->file.protected)
        r = node_decode(read->policy->document, read->file.protected, protected_fields, &read->file,
                        read->error);
    if (r < 0)
        return r;
    list = read->file.processes;
    read->policy->protected_processes = calloc((list ? list->count : 0) + 1, sizeof(char *));
    read->policy->protected_cidrs.cidrs =
        calloc((read->file.cidrs ? read->file.cidrs->count : 0) + 1, sizeof(struct cidr));
    if (!read->policy->protected_processes || !read->policy->protected_cidrs.cidrs)
        return error_oom(read->error);
    for (const struct node *node = list ? list->first : NULL; node && r == 0; node = node->next)
        r = read_string(read, node, &read->policy->protected_processes[count++]);
    if (r < 0)
        return r;
    return read_cidrs(read, read->file.cidrs, read->policy->protected_cidrs.cidrs,
                      &read->policy->protected_cidrs.count);
}

/* Who says nothing keeps the way in; only an empty list closes it. */
static void allow_management(struct policy *policy)
{
    static const struct cidr anywhere[] = {{.family = AF_INET}, {.family = AF_INET6}};

    memcpy(policy->management, anywhere, sizeof(anywhere));
    policy->n_management = ARRAY_SIZE(anywhere);
}

static int read_lifeline(const struct policy_read *read)
{
    struct lifeline_file file = {.ssh_port = 22};
    struct policy *policy = read->policy;
    int r = 0;

    if (read->file.lifeline)
        r = node_decode(policy->document, read->file.lifeline, lifeline_fields, &file, read->error);
    policy->ssh_port = file.ssh_port;
    if (r == 0 && file.management)
        r = read_cidrs(read, file.management, policy->management, &policy->n_management);
    else if (r == 0)
        allow_management(policy);
    if (r == 0)
        r = read_cidrs(read, file.resolvers, policy->resolvers, &policy->n_resolvers);
    if (r == 0)
        r = read_cidrs(read, file.time_servers, policy->time_servers, &policy->n_time_servers);
    return r;
}

/* The rows of two structs decode one map: each table must not trip over the other's keys. */
static int read_top(struct policy_read *read)
{
    struct field fields[ARRAY_SIZE(identity_fields) + ARRAY_SIZE(section_fields)] = {};
    struct policy_rows {
        struct policy policy;
        struct policy_file file;
    } both = {.policy = *read->policy};
    size_t count = 0;
    int r;

    for (const struct field *row = identity_fields; row->key; row++)
        fields[count++] = *row;
    for (const struct field *row = section_fields; row->key; row++) {
        fields[count] = *row;
        fields[count++].offset += offsetof(struct policy_rows, file);
    }
    r = node_decode(read->policy->document, document_root(read->policy->document), fields, &both,
                    read->error);
    *read->policy = both.policy;
    read->file = both.file;
    return r;
}

int policy_parse(struct policy **ret, const char *name, const char *text, size_t length, struct error *error)
{
    _cleanup_(policy_freep) struct policy *policy = calloc(1, sizeof(*policy));
    struct policy_read read = {.policy = policy, .error = error};
    int r;

    if (!policy)
        return error_oom(error);
    policy->requires_synchronised_clock = true;
    policy->lost_contact_after_s = 60;
    r = document_parse_yaml(&policy->document, name, text, length, error);
    if (r == 0)
        r = read_top(&read);
    if (r == 0)
        r = read_labels(&read);
    if (r == 0)
        r = read_coordinators(&read);
    if (r == 0)
        r = read_classes(&read);
    if (r == 0)
        r = read_protected(&read);
    if (r == 0)
        r = read_lifeline(&read);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(policy);
    return 0;
}

int policy_load(struct policy **ret, const char *path, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = io_check_root_only(path, error);

    if (r == 0)
        r = io_read_file(path, POLICY_BYTES_MAX, &text, &length, error);
    return r < 0 ? r : policy_parse(ret, path, text, length, error);
}

struct policy *policy_free(struct policy *policy)
{
    if (!policy)
        return NULL;
    free(policy->protected_processes);
    free(policy->protected_cidrs.cidrs);
    document_free(policy->document);
    free(policy);
    return NULL;
}

const struct policy_class *policy_class_find(const struct policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->n_classes; i++)
        if (!strcmp(policy->classes[i].name, name))
            return &policy->classes[i];
    return NULL;
}
