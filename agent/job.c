/* The job as JSON in a sealed memfd: see job.h. */
#include "job.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

#define JOB_BYTES_MAX                                                                                        \
    (24 << 20) /* a mandate of 8 MiB whose every second character is escaped, and change                     \
                */
#define MANDATE_MAX (8 << 20)
#define LIST_MAX    4096

/* A job that was read, and the memory that its host points into. */
struct job_memory {
    struct job job;
    struct lifeline lifeline;
    struct parameter_cidrs cidrs;
    const char **processes;
};

struct job_fields {
    const char *order, *run, *step, *host, *zone, *mandate;
    int64_t deadline_boot_nsec, deadline_real_usec;
    const struct node *lifeline, *protected;
};

#define AT(member) offsetof(struct job_fields, member)
static const struct field job_table[] = {
    {"order", FIELD_UUID, AT(order), true},
    {"run", FIELD_UUID, AT(run), true},
    {"step", FIELD_NAME, AT(step), true},
    {"deadline_boot_nsec", FIELD_INTEGER, AT(deadline_boot_nsec), true, 1, INT64_MAX},
    {"deadline_real_usec", FIELD_INTEGER, AT(deadline_real_usec), true, 1, INT64_MAX},
    {"host", FIELD_NAME, AT(host), true},
    {"zone", FIELD_NAME, AT(zone), false},
    {"lifeline", FIELD_MAP, AT(lifeline), true},
    {"protected", FIELD_MAP, AT(protected), true},
    {"mandate", FIELD_STRING, AT(mandate), true, 1, MANDATE_MAX},
    {},
};
#undef AT

struct lifeline_fields {
    int64_t courier_uid, ssh_port;
    const struct node *coordinators, *resolvers, *time_servers, *management;
};

#define AT(member)    offsetof(struct lifeline_fields, member)
#define ENTRIES(list) (sizeof(((struct lifeline *)NULL)->list) / sizeof(((struct lifeline *)NULL)->list[0]))
static const struct field lifeline_table[] = {
    {"courier_uid", FIELD_INTEGER, AT(courier_uid), true, 0, UINT32_MAX - 1},
    {"ssh_port", FIELD_INTEGER, AT(ssh_port), true, 0, UINT16_MAX},
    {"coordinators", FIELD_LIST, AT(coordinators), true, 0, ENTRIES(coordinators)},
    {"resolvers", FIELD_LIST, AT(resolvers), true, 0, ENTRIES(resolvers)},
    {"time_servers", FIELD_LIST, AT(time_servers), true, 0, ENTRIES(time_servers)},
    {"management", FIELD_LIST, AT(management), true, 0, ENTRIES(management)},
    {},
};
#undef AT

struct protected_fields {
    const struct node *processes, *cidrs;
};

static const struct field protected_table[] = {
    {"processes", FIELD_LIST, offsetof(struct protected_fields, processes), true, 0, LIST_MAX},
    {"cidrs", FIELD_LIST, offsetof(struct protected_fields, cidrs), true, 0, LIST_MAX},
    {},
};

static json_t *cidrs_to_json(const struct cidr *cidrs, size_t count)
{
    json_t *list = json_array();
    char text[CIDR_TEXT_MAX];

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(cidr_format(&cidrs[i], text)));
    return list;
}

static json_t *lifeline_to_json(const struct lifeline *lifeline)
{
    json_t *coordinators = json_array();
    char text[ENDPOINT_TEXT_MAX];

    for (size_t i = 0; i < lifeline->n_coordinators; i++)
        json_array_append_new(coordinators, json_string(endpoint_format(&lifeline->coordinators[i], text)));
    return json_pack("{s:I, s:i, s:o, s:o, s:o, s:o}", "courier_uid", (json_int_t)lifeline->courier_uid,
                     "ssh_port", lifeline->ssh_port, "coordinators", coordinators, "resolvers",
                     cidrs_to_json(lifeline->resolvers, lifeline->n_resolvers), "time_servers",
                     cidrs_to_json(lifeline->time_servers, lifeline->n_time_servers), "management",
                     cidrs_to_json(lifeline->management, lifeline->n_management));
}

static json_t *protected_to_json(const struct fault_host *host)
{
    const struct parameter_cidrs *cidrs = host->protected_cidrs;
    json_t *processes = json_array();

    for (const char *const *name = host->protected_processes; name && *name; name++)
        json_array_append_new(processes, json_string(*name));
    return json_pack("{s:o, s:o}", "processes", processes, "cidrs",
                     cidrs_to_json(cidrs ? cidrs->cidrs : NULL, cidrs ? cidrs->count : 0));
}

static void cleanup_json(json_t **json)
{
    json_decref(*json);
}

int job_write(const struct job *job, const char *mandate_payload, struct error *error)
{
    _cleanup_(cleanup_json) json_t *root =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:s, s:o, s:o, s:s}", "order", job->order, "run", job->run,
                  "step", job->step, "deadline_boot_nsec", (json_int_t)job->deadline_boot_nsec,
                  "deadline_real_usec", (json_int_t)job->deadline_real_usec, "host", job->host.name,
                  "lifeline", lifeline_to_json(job->host.lifeline), "protected",
                  protected_to_json(&job->host), "mandate", mandate_payload);
    _cleanup_free_ char *text = NULL;

    if (root && job->host.zone && json_object_set_new(root, "zone", json_string(job->host.zone)) < 0)
        return error_oom(error);
    text = root ? json_dumps(root, JSON_COMPACT) : NULL;
    if (!text)
        return error_oom(error);
    return io_memfd("job", text, strlen(text), error);
}

static int read_string(const struct document *document, const struct node *node, struct error *error)
{
    return node->type == DOCUMENT_STRING ? 0 : node_error(document, node, error, "expected a string");
}

static int read_cidrs(struct cidr *ret, size_t *ret_count, const struct document *document,
                      const struct node *list, struct error *error)
{
    size_t count = 0;
    int r = 0;

    for (const struct node *node = list->first; r == 0 && node; node = node->next) {
        r = read_string(document, node, error);
        if (r == 0)
            r = cidr_parse(&ret[count++], node->string, error);
    }
    *ret_count = count;
    return r;
}

static int read_coordinators(struct lifeline *ret, const struct document *document, const struct node *list,
                             struct error *error)
{
    int r = 0;

    for (const struct node *node = list->first; r == 0 && node; node = node->next) {
        r = read_string(document, node, error);
        if (r == 0)
            r = endpoint_parse(&ret->coordinators[ret->n_coordinators++], node->string, error);
    }
    return r;
}

static int read_lifeline(struct lifeline *ret, const struct document *document, const struct node *node,
                         struct error *error)
{
    struct lifeline_fields fields = {0};
    int r = node_decode(document, node, lifeline_table, &fields, error);

    if (r < 0)
        return r;
    ret->courier_uid = fields.courier_uid;
    ret->ssh_port = fields.ssh_port;
    r = read_coordinators(ret, document, fields.coordinators, error);
    if (r == 0)
        r = read_cidrs(ret->resolvers, &ret->n_resolvers, document, fields.resolvers, error);
    if (r == 0)
        r = read_cidrs(ret->time_servers, &ret->n_time_servers, document, fields.time_servers, error);
    if (r == 0)
        r = read_cidrs(ret->management, &ret->n_management, document, fields.management, error);
    return r;
}

static int read_protected(struct job_memory *memory, const struct document *document, const struct node *node,
                          struct error *error)
{
    struct protected_fields fields = {0};
    size_t count = 0;
    int r = node_decode(document, node, protected_table, &fields, error);

    if (r < 0)
        return r;
    memory->processes = calloc(fields.processes->count + 1, sizeof(*memory->processes));
    memory->cidrs.cidrs = calloc(fields.cidrs->count + 1, sizeof(*memory->cidrs.cidrs));
    if (!memory->processes || !memory->cidrs.cidrs)
        return error_oom(error);
    for (const struct node *name = fields.processes->first; name; name = name->next) {
        r = read_string(document, name, error);
        if (r < 0)
            return r;
        memory->processes[count++] = name->string;
    }
    return read_cidrs(memory->cidrs.cidrs, &memory->cidrs.count, document, fields.cidrs, error);
}

static int read_mandate(struct job *job, const char *payload, struct error *error)
{
    int r = mandate_parse(&job->mandate, payload, strlen(payload), error);

    if (r < 0)
        return r;
    job->step_of_mandate = mandate_step(job->mandate, job->step);
    if (!job->step_of_mandate)
        return error_set(error, EINVAL, "job: its mandate has no step '%s'", job->step);
    return 0;
}

static int read_fields(struct job_memory *memory, struct error *error)
{
    const struct document *document = memory->job.document;
    struct job *job = &memory->job;
    struct job_fields fields = {0};
    int r = node_decode(document, document_root(document), job_table, &fields, error);

    if (r < 0)
        return r;
    job->order = fields.order;
    job->run = fields.run;
    job->step = fields.step;
    job->deadline_boot_nsec = fields.deadline_boot_nsec;
    job->deadline_real_usec = fields.deadline_real_usec;
    job->host.name = fields.host;
    job->host.zone = fields.zone;
    r = read_lifeline(&memory->lifeline, document, fields.lifeline, error);
    if (r == 0)
        r = read_protected(memory, document, fields.protected, error);
    if (r < 0)
        return r;
    job->host.lifeline = &memory->lifeline;
    job->host.protected_processes = memory->processes;
    job->host.protected_cidrs = &memory->cidrs;
    return read_mandate(job, fields.mandate, error);
}

int job_read(struct job **ret, int fd, struct error *error)
{
    struct job_memory *memory = calloc(1, sizeof(*memory));
    _cleanup_(job_freep) struct job *job = memory ? &memory->job : NULL;
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    if (!job)
        return error_oom(error);
    r = io_memfd_read(fd, JOB_BYTES_MAX, &text, &length, error);
    if (r == 0)
        r = document_parse_json(&job->document, "job", text, length, error);
    if (r == 0)
        r = read_fields(memory, error);
    if (r == 0)
        *ret = TAKE_PTR(job);
    return r;
}

struct job *job_free(struct job *job)
{
    struct job_memory *memory = (struct job_memory *)job;

    if (!memory)
        return NULL;
    mandate_free(job->mandate);
    free(memory->processes);
    free(memory->cidrs.cidrs);
    document_free(job->document);
    free(memory);
    return NULL;
}
