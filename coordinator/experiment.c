/* Experiments: from YAML to a struct, every error with its place. What they choose is the planner's. */
#include "experiment.h"

#include <errno.h>
#include <string.h>

#include "probes/probe.h"
#include "run-state.h"

#define EXPERIMENT_SCHEMA "grivet.experiment/1"
#define DURATION_MAX_SEC  (MANDATE_DURATION_MAX_MSEC / 1000)

#define FIELD(type_, key, kind, member, is_required, min, max)                                               \
    {                                                                                                        \
        key, kind, offsetof(struct type_, member), is_required, min, max                                     \
    }

static const struct field experiment_fields[] = {
    FIELD(experiment, "schema", FIELD_STRING, schema, true, 1, 64),
    FIELD(experiment, "name", FIELD_NAME, name, true, 0, 0),
    FIELD(experiment, "description", FIELD_STRING, description, false, 0, 1000),
    FIELD(experiment, "environment", FIELD_NAME, environment, true, 0, 0),
    FIELD(experiment, "expect", FIELD_MAP, expect, true, 1, 2),
    FIELD(experiment, "valid_for_s", FIELD_INTEGER, valid_for_sec, false, 60, 30 * 86400),
    FIELD(experiment, "max_runs", FIELD_INTEGER, max_runs, false, 1, 100),
    FIELD(experiment, "require_percent", FIELD_INTEGER, require_percent, false, 1, 100),
    FIELD(experiment, "warmup_s", FIELD_INTEGER, warmup_sec, false, 0, 600),
    FIELD(experiment, "settle_s", FIELD_INTEGER, settle_sec, false, 0, 3600),
    FIELD(experiment, "late_joiners", FIELD_MAP, late_joiners, false, 1, 2),
    FIELD(experiment, "observers", FIELD_MAP, observers, false, 1, 1),
    FIELD(experiment, "steps", FIELD_LIST, steps_list, true, 1, EXPERIMENT_STEPS_MAX),
    FIELD(experiment, "probes", FIELD_LIST, probes_list, false, 1, EXPERIMENT_PROBES_MAX),
    FIELD(experiment, "objectives", FIELD_LIST, objectives, false, 1, 64),
    {0},
};
static const struct field expect_fields[] = {
    FIELD(experiment, "hosts", FIELD_INTEGER, expect_hosts, true, 1, 100000),
    FIELD(experiment, "max_share_of_group_percent", FIELD_INTEGER, max_share_percent, false, 1, 100),
    {0},
};
static const struct field late_fields[] = {
    FIELD(experiment, "labels", FIELD_MAP, late_labels, true, 1, 32),
    FIELD(experiment, "max", FIELD_INTEGER, late_max, true, 1, 1000),
    {0},
};
static const struct field observer_fields[] = {
    FIELD(experiment, "labels", FIELD_MAP, observer_labels, true, 1, 32),
    {0},
};
static const struct field step_fields[] = {
    FIELD(experiment_step, "name", FIELD_NAME, name, true, 0, 0),
    FIELD(experiment_step, "fault", FIELD_NAME, fault, true, 0, 0),
    FIELD(experiment_step, "parameters", FIELD_MAP, parameters, true, 0, 64),
    FIELD(experiment_step, "hosts", FIELD_MAP, hosts, true, 1, 2),
    FIELD(experiment_step, "duration_s", FIELD_INTEGER, duration_sec, true, 1, DURATION_MAX_SEC),
    FIELD(experiment_step, "late_joiners", FIELD_BOOLEAN, takes_late_joiners, false, 0, 0),
    {0},
};
static const struct field hosts_fields[] = {
    FIELD(experiment_step, "labels", FIELD_MAP, labels, true, 1, 32),
    FIELD(experiment_step, "percent", FIELD_INTEGER, percent, false, 1, 100),
    {0},
};

static int check_labels(const struct experiment *experiment, const struct node *labels, struct error *error)
{
    for (const struct node *node = labels ? labels->first : NULL; node; node = node->next)
        if (node->type != DOCUMENT_STRING)
            return node_error(experiment->document, node, error, "expected a string");
    return 0;
}

static int decode_step(struct experiment *experiment, const struct node *node, struct error *error)
{
    struct experiment_step *step = &experiment->steps[experiment->n_steps];
    int r;

    step->node = node;
    step->percent = 100;
    r = node_decode(experiment->document, node, step_fields, step, error);
    if (r < 0)
        return r;
    r = node_decode(experiment->document, step->hosts, hosts_fields, step, error);
    if (r < 0)
        return r;
    if (!strcmp(step->name, MANDATE_OBSERVE))
        return node_error(experiment->document, node_get(node, "name"), error, "this name is reserved");
    for (size_t i = 0; i < experiment->n_steps; i++)
        if (!strcmp(experiment->steps[i].name, step->name))
            return node_error(experiment->document, node_get(node, "name"), error, "two steps are called %s",
                              step->name);
    if (step->takes_late_joiners && !experiment->late_joiners)
        return node_error(experiment->document, node_get(node, "late_joiners"), error,
                          "the experiment has no late_joiners");
    experiment->n_steps++;
    return check_labels(experiment, step->labels, error);
}

/* The probes once more, with stable_ms for stable_s, at the same places: probes/ knows only the mandate's
 * form. */
static int copy_probes(struct experiment *experiment, struct error *error)
{
    const struct node *list = experiment->probes_list;
    size_t n = 1 + list->count;
    struct node *copy, *next;

    for (const struct node *probe = list->first; probe; probe = probe->next)
        n += probe->type == DOCUMENT_MAP ? probe->count : 0;
    copy = experiment->probes = calloc(n, sizeof(*copy));
    if (!copy)
        return error_oom(error);
    *copy = *list;
    copy->first = copy + 1;
    next = copy + 1 + list->count;
    n = 0;
    for (const struct node *probe = list->first; probe; probe = probe->next) {
        struct node *map = copy + 1 + n++;

        *map = *probe;
        map->parent = copy;
        map->next = probe->next ? map + 1 : NULL;
        if (probe->type != DOCUMENT_MAP)
            continue;
        map->first = probe->count ? next : NULL;
        for (const struct node *child = probe->first; child; child = child->next, next++) {
            *next = *child;
            next->parent = map;
            next->next = child->next ? next + 1 : NULL;
            if (strcmp(child->key, "stable_s"))
                continue;
            if (child->type != DOCUMENT_INTEGER || child->integer < 1 || child->integer > 3600)
                return node_error(experiment->document, child, error, "expected an integer from 1 to 3600");
            next->key = "stable_ms";
            next->integer = child->integer * 1000;
        }
    }
    return 0;
}

static int decode_probes(struct experiment *experiment, struct error *error)
{
    struct probe probe;
    int r;

    if (!experiment->probes_list)
        return 0;
    if (!experiment->observers)
        return node_error(experiment->document, experiment->probes_list, error,
                          "observers are missing: who asks?");
    for (const struct node *node = experiment->probes_list->first; node; node = node->next)
        if (node_get(node, "stable_ms"))
            return node_error(experiment->document, node_get(node, "stable_ms"), error,
                              "unknown field, expected stable_s");
    r = copy_probes(experiment, error);
    for (const struct node *node = r < 0 ? NULL : experiment->probes->first; node && r == 0;
         node = node->next) {
        r = probe_decode(&probe, experiment->document, node, error);
        for (const struct node *other = experiment->probes->first; r == 0 && other != node;
             other = other->next)
            if (!strcmp(node_string(other, "name"), probe.name))
                r = node_error(experiment->document, node_get(node, "name"), error,
                               "two probes are called %s", probe.name);
    }
    return r;
}

static int decode_parts(struct experiment *experiment, struct error *error)
{
    const struct document *document = experiment->document;
    int r;

    if (strcmp(experiment->schema, EXPERIMENT_SCHEMA))
        return node_error(document, node_get(document_root(document), "schema"), error, "expected %s",
                          EXPERIMENT_SCHEMA);
    r = node_decode(document, experiment->expect, expect_fields, experiment, error);
    if (r == 0 && experiment->late_joiners)
        r = node_decode(document, experiment->late_joiners, late_fields, experiment, error);
    if (r == 0 && experiment->observers)
        r = node_decode(document, experiment->observers, observer_fields, experiment, error);
    if (r == 0)
        r = check_labels(experiment, experiment->late_labels, error);
    if (r == 0)
        r = check_labels(experiment, experiment->observer_labels, error);
    for (const struct node *node = experiment->steps_list->first; node && r == 0; node = node->next)
        r = decode_step(experiment, node, error);
    if (r == 0)
        r = decode_probes(experiment, error);
    for (const struct node *node = experiment->objectives ? experiment->objectives->first : NULL;
         node && r == 0; node = node->next)
        r = objective_check(document, node, experiment->probes_list, error);
    return r;
}

int experiment_parse(struct experiment **ret, const char *name, const void *text, size_t length,
                     struct error *error)
{
    _cleanup_(experiment_freep) struct experiment *experiment = calloc(1, sizeof(*experiment));
    int r;

    if (!experiment)
        return error_oom(error);
    if (length > EXPERIMENT_BYTES_MAX)
        return error_set(error, E2BIG, "%s: %zu bytes, at most %d are accepted", name, length,
                         EXPERIMENT_BYTES_MAX);
    experiment->valid_for_sec = 3600;
    experiment->max_runs = 1;
    experiment->require_percent = 100;
    experiment->max_share_percent = 100;
    r = document_parse_yaml(&experiment->document, name, text, length, error);
    if (r < 0)
        return r;
    r = node_decode(experiment->document, document_root(experiment->document), experiment_fields, experiment,
                    error);
    if (r < 0)
        return r;
    r = decode_parts(experiment, error);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(experiment);
    return 0;
}

struct experiment *experiment_free(struct experiment *experiment)
{
    if (!experiment)
        return NULL;
    free(experiment->probes);
    document_free(experiment->document);
    free(experiment);
    return NULL;
}
