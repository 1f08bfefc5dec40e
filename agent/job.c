/* The job as JSON in a sealed memfd: see job.h. */
#include "job.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/io.h"

#define JOB_BYTES_MAX (16 << 20) /* the zones of a mandate of 8 MiB, and change */

/* A job that was read: the memory that it points into, and what is decoded in a second step. */
struct job_memory {
    struct job job;
    struct mandate zones;
    struct lifeline lifeline;
    struct parameter_cidrs protected;
    const char **processes;
    const char *fault_name;
    int64_t courier_uid, ssh_port;
    const struct node *zone_map, *process_list, *protected_list, *coordinators, *resolvers, *time_servers,
        *management;
};

#define AT(member)      offsetof(struct job_memory, member)
#define ENTRIES(member) ARRAY_SIZE(((struct lifeline *)NULL)->member)
static const struct field job_table[] = {
    {"order", FIELD_UUID, AT(job.order), true},
    {"deadline_boot_nsec", FIELD_INTEGER, AT(job.deadline_boot_nsec), true, 1, INT64_MAX},
    {"deadline_real_usec", FIELD_INTEGER, AT(job.deadline_real_usec), true, 1, INT64_MAX},
    {"fault", FIELD_STRING, AT(fault_name), true},
    {"parameters", FIELD_MAP, AT(job.parameters), true},
    {"zones", FIELD_MAP, AT(zone_map), true},
    {"host", FIELD_NAME, AT(job.host.name), true},
    {"zone", FIELD_NAME, AT(job.host.zone), false},
    {"processes", FIELD_LIST, AT(process_list), true},
    {"protected", FIELD_LIST, AT(protected_list), true},
    {"courier_uid", FIELD_INTEGER, AT(courier_uid), true, 0, UINT32_MAX - 1},
    {"ssh_port", FIELD_INTEGER, AT(ssh_port), true, 0, UINT16_MAX},
    {"coordinators", FIELD_LIST, AT(coordinators), true, 0, ENTRIES(coordinators)},
    {"resolvers", FIELD_LIST, AT(resolvers), true, 0, ENTRIES(resolvers)},
    {"time_servers", FIELD_LIST, AT(time_servers), true, 0, ENTRIES(time_servers)},
    {"management", FIELD_LIST, AT(management), true, 0, ENTRIES(management)},
    {},
};

/* ---- the executor's side */

static json_t *cidrs_to_json(const struct cidr *cidrs, size_t count)
{
    json_t *list = json_array();
    char text[CIDR_TEXT_MAX];

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(cidr_format(&cidrs[i], text)));
    return list;
}

static json_t *coordinators_to_json(const struct lifeline *lifeline)
{
    json_t *list = json_array();
    char text[ENDPOINT_TEXT_MAX];

    for (size_t i = 0; i < lifeline->n_coordinators; i++)
        json_array_append_new(list, json_string(endpoint_format(&lifeline->coordinators[i], text)));
    return list;
}

static json_t *zones_to_json(const struct mandate *mandate)
{
    json_t *map = json_object();

    for (size_t i = 0; i < mandate->n_zones; i++)
        json_object_set_new(map, mandate->zones[i].name,
                            cidrs_to_json(mandate->zones[i].cidrs, mandate->zones[i].n_cidrs));
    return map;
}

static json_t *processes_to_json(const struct fault_host *host)
{
    json_t *list = json_array();

    for (const char *const *name = host->protected_processes; name && *name; name++)
        json_array_append_new(list, json_string(*name));
    return list;
}

int job_write(const struct job *job, struct error *error)
{
    const struct fault_host *host = &job->host;
    const struct lifeline *lifeline = host->lifeline;
    json_t *root =
        json_pack("{s:s s:I s:I s:s s:O s:o s:s s:s* s:o s:o s:I s:i s:o s:o s:o s:o}", "order", job->order,
                  "deadline_boot_nsec", (json_int_t)job->deadline_boot_nsec, "deadline_real_usec",
                  (json_int_t)job->deadline_real_usec, "fault", job->fault->name, "parameters",
                  job->parameters->json, "zones", zones_to_json(job->mandate), "host", host->name, "zone",
                  host->zone, "processes", processes_to_json(host), "protected",
                  cidrs_to_json(host->protected_cidrs->cidrs, host->protected_cidrs->count), "courier_uid",
                  (json_int_t)lifeline->courier_uid, "ssh_port", lifeline->ssh_port, "coordinators",
                  coordinators_to_json(lifeline), "resolvers",
                  cidrs_to_json(lifeline->resolvers, lifeline->n_resolvers), "time_servers",
                  cidrs_to_json(lifeline->time_servers, lifeline->n_time_servers), "management",
                  cidrs_to_json(lifeline->management, lifeline->n_management));
    _cleanup_free_ char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;

    json_decref(root);
    return text ? io_memfd("job", text, strlen(text), error) : error_oom(error);
}

/* ---- the holder's side */

static int read_cidrs(const struct document *document, const struct node *list, struct cidr *ret,
                      size_t *ret_count, struct error *error)
{
    int r = 0;

    for (const struct node *node = list->first; r == 0 && node; node = node->next)
        r = node_cidr(document, node, &ret[(*ret_count)++], error);
    return r;
}

static int read_zones(struct job_memory *memory, struct error *error)
{
    struct mandate *zones = &memory->zones;
    int r = 0;

    zones->zones = calloc(memory->zone_map->count + 1, sizeof(*zones->zones));
    if (!zones->zones)
        return error_oom(error);
    for (const struct node *node = memory->zone_map->first; r == 0 && node; node = node->next) {
        struct zone *zone = &zones->zones[zones->n_zones++];

        zone->name = node->key;
        zone->cidrs = calloc(node->count + 1, sizeof(*zone->cidrs));
        r = zone->cidrs ? read_cidrs(memory->job.document, node, zone->cidrs, &zone->n_cidrs, error)
                        : error_oom(error);
    }
    memory->job.mandate = zones;
    return r;
}

static int read_protected(struct job_memory *memory, struct error *error)
{
    size_t count = 0;

    memory->processes = calloc(memory->process_list->count + 1, sizeof(*memory->processes));
    memory->protected.cidrs = calloc(memory->protected_list->count + 1, sizeof(*memory->protected.cidrs));
    if (!memory->processes || !memory->protected.cidrs)
        return error_oom(error);
    for (const struct node *name = memory->process_list->first; name; name = name->next)
        memory->processes[count++] = json_string_value(name->json);
    memory->job.host.protected_processes = memory->processes;
    memory->job.host.protected_cidrs = &memory->protected;
    return read_cidrs(memory->job.document, memory->protected_list, memory->protected.cidrs,
                      &memory->protected.count, error);
}

static int read_lifeline(struct job_memory *memory, struct error *error)
{
    const struct document *document = memory->job.document;
    struct lifeline *lifeline = &memory->lifeline;
    int r = read_cidrs(document, memory->resolvers, lifeline->resolvers, &lifeline->n_resolvers, error);

    if (r == 0)
        r = read_cidrs(document, memory->time_servers, lifeline->time_servers, &lifeline->n_time_servers,
                       error);
    if (r == 0)
        r = read_cidrs(document, memory->management, lifeline->management, &lifeline->n_management, error);
    for (const struct node *node = memory->coordinators->first; r == 0 && node; node = node->next)
        r = endpoint_parse(&lifeline->coordinators[lifeline->n_coordinators++], json_string_value(node->json),
                           error);
    lifeline->courier_uid = memory->courier_uid;
    lifeline->ssh_port = memory->ssh_port;
    memory->job.host.lifeline = lifeline;
    return r;
}

static int read_all(struct job_memory *memory, const char *text, size_t length, struct error *error)
{
    struct job *job = &memory->job;
    int r = document_decode(&job->document, "job", text, length, job_table, memory, error);

    if (r < 0)
        return r;
    job->fault = fault_find(memory->fault_name);
    if (!job->fault)
        return error_set(error, EINVAL, "job: unknown fault '%s'", memory->fault_name);
    r = read_zones(memory, error);
    if (r == 0)
        r = read_protected(memory, error);
    return r < 0 ? r : read_lifeline(memory, error);
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
        r = read_all(memory, text, length, error);
    if (r == 0)
        *ret = TAKE_PTR(job);
    return r;
}

struct job *job_free(struct job *job)
{
    struct job_memory *memory = (struct job_memory *)job;

    if (!memory)
        return NULL;
    for (size_t i = 0; i < memory->zones.n_zones; i++)
        free(memory->zones.zones[i].cidrs);
    free(memory->zones.zones);
    free(memory->processes);
    free(memory->protected.cidrs);
    document_free(job->document);
    free(memory);
    return NULL;
}
