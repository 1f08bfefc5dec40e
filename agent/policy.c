/* See policy.h. Two steps: tables decode the document, then what tables can't say is checked. */
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define POLICY_BYTES_MAX (256 * 1024)
#define LONGEST_MAX_S    (MANDATE_DURATION_MAX_MSEC / 1000)
#define COOL_DOWN_MAX_S  (30 * 24 * 3600)
#define CONCURRENCY_MAX  8
#define HTTPS_PORT       8443

/* What a host does that was told nothing: network faults up to 5 minutes with two signatures; nothing
 * irreversible, and the lifeline stays. */
static const struct policy_class class_defaults[] = {
    {"network", true, 2, 300, 1, 0, false},
    {"cpu", true, 2, 300, 1, 0, false},
    {"process", false, 2, 60, 1, 0, false},
    {POLICY_CLASS_OBSERVE, true, 1, 3600, 4, 0, false},
};
/* A class without defaults of its own. */
static const struct policy_class class_unknown = {NULL, false, 2, 60, 1, 0, false};

/* The document as it is decoded: first into values and nodes, then the nodes into the policy. */
struct decoding {
    struct policy policy;
    int64_t ssh_port;
    const struct node *coordinators, *classes, *protected, *lifeline;
    const struct node *processes, *cidrs, *management, *resolvers, *time_servers;
    struct error *error;
};

#define AT(member)       offsetof(struct decoding, member)
#define AT_CLASS(member) offsetof(struct policy_class, member)

static const struct field top_fields[] = {
    {"host", FIELD_NAME, AT(policy.host), true},
    {"environment", FIELD_NAME, AT(policy.environment), true},
    {"labels", FIELD_MAP, AT(policy.labels), false, 0, 64},
    {"address", FIELD_STRING, AT(policy.address), false, 1, 64},
    {"require_synchronised_clock", FIELD_BOOLEAN, AT(policy.requires_synchronised_clock)},
    {"lost_contact_after_s", FIELD_INTEGER, AT(policy.lost_contact_after_s), false, 1, 3600},
    {"coordinators", FIELD_LIST, AT(coordinators), true, 1, POLICY_COORDINATORS_MAX},
    {"time_zone", FIELD_STRING, AT(policy.time_zone), false, 1, 64},
    {"classes", FIELD_MAP, AT(classes), false, 0, POLICY_CLASSES_MAX},
    {"protected", FIELD_MAP, AT(protected)},
    {"lifeline", FIELD_MAP, AT(lifeline)},
    {},
};

static const struct field protected_fields[] = {
    {"processes", FIELD_LIST, AT(processes), false, 0, 256},
    {"cidrs", FIELD_LIST, AT(cidrs), false, 0, 1024},
    {},
};

static const struct field lifeline_fields[] = {
    {"ssh_port", FIELD_INTEGER, AT(ssh_port), false, 1, 65535},
    {"management", FIELD_LIST, AT(management), false, 0, 32},
    {"resolvers", FIELD_LIST, AT(resolvers), false, 0, 8}, /* leaves room for those in use */
    {"time_servers", FIELD_LIST, AT(time_servers), false, 0, 16},
    {},
};

static const struct field class_fields[] = {
    {"is_allowed", FIELD_BOOLEAN, AT_CLASS(is_allowed), true},
    {"signatures", FIELD_INTEGER, AT_CLASS(signatures), false, 1, ENVELOPE_SIGNATURES_MAX},
    {"longest_duration_s", FIELD_INTEGER, AT_CLASS(longest_duration_s), false, 1, LONGEST_MAX_S},
    {"concurrency", FIELD_INTEGER, AT_CLASS(concurrency), false, 1, CONCURRENCY_MAX},
    {"cool_down_s", FIELD_INTEGER, AT_CLASS(cool_down_s), false, 0, COOL_DOWN_MAX_S},
    {"allows_isolation", FIELD_BOOLEAN, AT_CLASS(allows_isolation)},
    {"windows", FIELD_LIST, AT_CLASS(windows_list), false, 1, WINDOWS_MAX},
    {},
};

static int decode(struct decoding *decoding, const struct node *map, const struct field *fields)
{
    return map ? node_decode(decoding->policy.document, map, fields, decoding, decoding->error) : 0;
}

/* @take_entry is called with each entry of @collection, a list or map of strings. */
static int read_strings(struct decoding *decoding, const struct node *collection,
                        int (*take_entry)(void *context, const char *text, struct error *error),
                        void *context)
{
    const struct document *document = decoding->policy.document;
    struct error why = {0};

    for (const struct node *node = collection ? collection->first : NULL; node; node = node->next) {
        if (node->type != DOCUMENT_STRING || !*node->string)
            return node_error(document, node, decoding->error, "expected a string");
        if (take_entry && take_entry(context, node->string, &why) < 0)
            return node_error(document, node, decoding->error, "%s", why.text);
    }
    return 0;
}

static int take_coordinator(void *context, const char *url, struct error *error)
{
    struct policy *policy = context;
    struct lifeline *lifeline = &policy->lifeline;
    unsigned int port = HTTPS_PORT;
    char text[ENDPOINT_TEXT_MAX];
    int start = 0, length = 0, end = 0;

    /* A name, or an IPv6 address in brackets. */
    if ((sscanf(url, "https://%n%*[^]:/?#[]%n", &start, &length) < 0 || !length) &&
        (sscanf(url, "https://%n[%*[0-9a-fA-F:.]]%n", &start, &length) < 0 || !length))
        return error_set(error, EINVAL, "expected https://HOST:PORT");
    if (url[length] == ':' &&
        (sscanf(url + length, ":%5u%n", &port, &end) != 1 || !port || port > UINT16_MAX))
        return error_set(error, EINVAL, "expected a port of 1 to 65535");
    if (url[length + end] && !strchr("/?#", url[length + end]))
        return error_set(error, EINVAL, "expected https://HOST:PORT");
    if (snprintf(text, sizeof(text), "%.*s:%u", length - start, url + start, port) < (int)sizeof(text) &&
        endpoint_parse(&lifeline->coordinators[lifeline->n_coordinators], text, NULL) == 0)
        lifeline->n_coordinators++;
    else
        policy->named_ports[policy->n_named_ports++] = (uint16_t)port;
    return 0;
}

static int take_window(void *context, const char *text, struct error *error)
{
    return windows_parse(context, text, error);
}

/* What a class leaves out keeps its default. */
static int read_classes(struct decoding *decoding)
{
    struct policy *policy = &decoding->policy;
    int r = 0;

    memcpy(policy->classes, class_defaults, sizeof(class_defaults));
    policy->n_classes = ARRAY_SIZE(class_defaults);
    for (const struct node *node = decoding->classes ? decoding->classes->first : NULL; node && r == 0;
         node = node->next) {
        struct policy_class *class = (struct policy_class *)policy_class_find(policy, node->key);

        if (!class && policy->n_classes == POLICY_CLASSES_MAX)
            return node_error(policy->document, node, decoding->error, "more than %d classes",
                              POLICY_CLASSES_MAX);
        if (!class) {
            class = &policy->classes[policy->n_classes++];
            *class = class_unknown;
            class->name = node->key;
        }
        r = node_decode(policy->document, node, class_fields, class, decoding->error);
        if (r == 0)
            r = read_strings(decoding, class->windows_list, take_window, &class->windows);
    }
    return r;
}

static int read_time_zone(struct decoding *decoding)
{
    const struct document *document = decoding->policy.document;
    struct error why;

    if (windows_use_zone(decoding->policy.time_zone, &why) == 0)
        return 0;
    return node_error(document, node_get(document_root(document), "time_zone"), decoding->error, "%s",
                      why.text);
}

struct cidr_list {
    struct cidr *cidrs;
    size_t *count;
};

static int take_cidr(void *context, const char *text, struct error *error)
{
    const struct cidr_list *list = context;
    int r = cidr_parse(&list->cidrs[*list->count], text, error);

    *list->count += r == 0;
    return r;
}

static int take_process(void *context, const char *name, struct error *error)
{
    const char ***end = context;

    *(*end)++ = name;
    return 0;
}

static int read_protected(struct decoding *decoding)
{
    struct policy *policy = &decoding->policy;
    struct cidr_list cidrs = {NULL, &policy->protected_cidrs.count};
    const char **end;
    int r = decode(decoding, decoding->protected, protected_fields);

    if (r < 0)
        return r;
    end = calloc((decoding->processes ? decoding->processes->count : 0) + 1, sizeof(*end));
    cidrs.cidrs = calloc((decoding->cidrs ? decoding->cidrs->count : 0) + 1, sizeof(struct cidr));
    policy->protected_processes = end;
    policy->protected_cidrs.cidrs = cidrs.cidrs;
    if (!end || !cidrs.cidrs)
        return error_oom(decoding->error);
    r = read_strings(decoding, decoding->processes, take_process, &end);
    return r < 0 ? r : read_strings(decoding, decoding->cidrs, take_cidr, &cidrs);
}

static int read_lifeline(struct decoding *decoding)
{
    static const struct cidr anywhere[] = {{.family = AF_INET}, {.family = AF_INET6}};
    struct lifeline *lifeline = &decoding->policy.lifeline;
    struct cidr_list management = {lifeline->management, &lifeline->n_management},
                     resolvers = {lifeline->resolvers, &lifeline->n_resolvers},
                     time_servers = {lifeline->time_servers, &lifeline->n_time_servers};
    int r = decode(decoding, decoding->lifeline, lifeline_fields);

    lifeline->ssh_port = (uint16_t)decoding->ssh_port;
    if (r == 0)
        r = read_strings(decoding, decoding->management, take_cidr, &management);
    if (r == 0)
        r = read_strings(decoding, decoding->resolvers, take_cidr, &resolvers);
    if (r == 0)
        r = read_strings(decoding, decoding->time_servers, take_cidr, &time_servers);
    if (r < 0 || decoding->management)
        return r;
    /* Who says nothing keeps the way in; only an empty list closes it. */
    memcpy(lifeline->management, anywhere, sizeof(anywhere));
    lifeline->n_management = ARRAY_SIZE(anywhere);
    return 0;
}

int policy_parse(struct policy **ret, const char *name, const char *text, size_t length, struct error *error)
{
    _cleanup_(policy_freep) struct policy *policy = calloc(1, sizeof(*policy));
    struct decoding decoding = {
        .policy = {.requires_synchronised_clock = true, .lost_contact_after_s = 60, .time_zone = "UTC"},
        .ssh_port = 22,
        .error = error,
    };
    int r;

    if (!policy)
        return error_oom(error);
    r = document_parse_yaml(&decoding.policy.document, name, text, length, error);
    if (r == 0)
        r = decode(&decoding, document_root(decoding.policy.document), top_fields);
    if (r == 0)
        r = read_strings(&decoding, decoding.policy.labels, NULL, NULL);
    if (r == 0)
        r = read_strings(&decoding, decoding.coordinators, take_coordinator, &decoding.policy);
    if (r == 0)
        r = read_time_zone(&decoding);
    if (r == 0)
        r = read_classes(&decoding);
    if (r == 0)
        r = read_protected(&decoding);
    if (r == 0)
        r = read_lifeline(&decoding);
    *policy = decoding.policy;
    if (r < 0)
        return r;
    policy->zone = node_string(policy->labels, "zone");
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
