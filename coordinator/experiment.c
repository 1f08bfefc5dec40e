/* Experiments: from YAML to a struct, every error with its place. What they choose is the planner's. */
#include <errno.h>
#include <string.h>

#include "plan.h"
#include "run-state.h"

#define FIELD(in, key, kind, member, ...)                                                                    \
    {                                                                                                        \
        key, kind, offsetof(struct in, member), __VA_ARGS__                                                  \
    }

static const struct field experiment_fields[] = {
    FIELD_SCHEMA_IS("grivet.experiment/1"),
    FIELD(experiment, "name", FIELD_NAME, name, true),
    FIELD(experiment, "description", FIELD_STRING, description, false, 0, 1000),
    FIELD(experiment, "environment", FIELD_NAME, environment, true),
    FIELD(experiment, "expect", FIELD_MAP, expect, true, 1, 2),
    FIELD(experiment, "valid_for_s", FIELD_INTEGER, valid_for_sec, false, 60, 30 * 86400),
    FIELD(experiment, "max_runs", FIELD_INTEGER, max_runs, false, 1, 100),
    FIELD(experiment, "require_percent", FIELD_INTEGER, require_percent, false, 1, 100),
    FIELD(experiment, "warmup_s", FIELD_INTEGER, warmup_sec, false, 0, 600),
    FIELD(experiment, "settle_s", FIELD_INTEGER, settle_sec, false, 0, 3600),
    FIELD(experiment, "late_joiners", FIELD_MAP, late_joiners, false, 1, 2),
    FIELD(experiment, "observers", FIELD_MAP, observers, false, 1, 1),
    FIELD(experiment, "duration_s", FIELD_INTEGER, duration_sec, false, 1, MANDATE_DURATION_MAX_MSEC / 1000),
    FIELD(experiment, "steps", FIELD_LIST, steps_list, false, 1, EXPERIMENT_STEPS_MAX),
    FIELD(experiment, "probes", FIELD_LIST, probes, false, 1, 32),
    FIELD(experiment, "objectives", FIELD_LIST, objectives, false, 1, 64),
    {},
};
static const struct field expect_fields[] = {
    FIELD(experiment, "hosts", FIELD_INTEGER, expect_hosts, true, 1, 100000),
    FIELD(experiment, "max_share_of_group_percent", FIELD_INTEGER, max_share_percent, false, 1, 100),
    {},
};
static const struct field late_fields[] = {
    FIELD(experiment, "labels", FIELD_LABELS, late_labels, true, 1, 32),
    FIELD(experiment, "max", FIELD_INTEGER, late_max, true, 1, 1000),
    {},
};
static const struct field observer_fields[] = {
    FIELD(experiment, "labels", FIELD_LABELS, observer_labels, true, 1, 32),
    {},
};

static const struct field step_fields[] = {
    FIELD(experiment_step, "name", FIELD_NAME, name, true),
    FIELD(experiment_step, "fault", FIELD_NAME, fault, true),
    FIELD(experiment_step, "parameters", FIELD_MAP, parameters, true, 0, 64),
    FIELD(experiment_step, "hosts", FIELD_MAP, hosts, true, 1, 2),
    FIELD(experiment_step, "duration_s", FIELD_INTEGER, duration_sec, true, 1,
          MANDATE_DURATION_MAX_MSEC / 1000),
    FIELD(experiment_step, "late_joiners", FIELD_BOOLEAN, takes_late_joiners, false),
    FIELD(experiment_step, "after", FIELD_NODE, after, false),
    {},
};
static const struct field after_field = {"after", FIELD_NAMES, 0, false, 1, EXPERIMENT_STEPS_MAX};
static const struct field hosts_fields[] = {
    FIELD(experiment_step, "labels", FIELD_LABELS, labels, true, 1, 32),
    FIELD(experiment_step, "percent", FIELD_INTEGER, percent, false, 1, 100),
    {},
};

static const struct experiment_step *step_above(const struct experiment *experiment, const char *name)
{
    for (size_t i = 0; i < experiment->n_steps; i++)
        if (!strcmp(experiment->steps[i].name, name))
            return &experiment->steps[i];
    return NULL;
}

/* A step that follows only what stands above it can't wait for itself. */
static int check_after(const struct experiment *experiment, const struct experiment_step *step,
                       struct error *error)
{
    bool is_one = step->after && step->after->type == DOCUMENT_STRING;
    const struct node *list = step->after, *name;
    int r;

    if (!list)
        return 0;
    r = is_one ? 0 : node_decode_value(experiment->document, list, &after_field, &list, error);
    if (r < 0)
        return r;
    for (name = is_one ? list : list->first; name; name = is_one ? NULL : name->next)
        if (!step_above(experiment, name->string))
            return node_error(experiment->document, name, error, "'%s' is no step that stands above this one",
                              name->string);
    return 0;
}

static int decode_step(struct experiment *experiment, const struct node *node, struct error *error)
{
    struct experiment_step *step = &experiment->steps[experiment->n_steps];
    int r;

    *step = (struct experiment_step){.node = node, .percent = 100};
    r = node_decode(experiment->document, node, step_fields, step, error);
    if (r == 0)
        r = node_decode(experiment->document, step->hosts, hosts_fields, step, error);
    if (r < 0)
        return r;
    if (!strcmp(step->name, MANDATE_OBSERVE))
        return node_error(experiment->document, node_get(node, "name"), error, "this name is reserved");
    if (step_above(experiment, step->name))
        return node_error(experiment->document, node_get(node, "name"), error, "two steps are called %s",
                          step->name);
    if (step->takes_late_joiners && !experiment->late_joiners)
        return node_error(experiment->document, node_get(node, "late_joiners"), error,
                          "the experiment has no late_joiners");
    r = check_after(experiment, step, error);
    experiment->n_steps += r == 0;
    return r;
}

static int check_probe(const struct experiment *experiment, const struct node *node, struct error *error)
{
    struct probe probe;
    int r = probe_decode(&probe, experiment->document, node, error);

    if (r < 0)
        return r;
    for (const struct node *other = experiment->probes->first; other != node; other = other->next)
        if (!strcmp(node_string(other, "name"), probe.name))
            return node_error(experiment->document, node_get(node, "name"), error, "two probes are called %s",
                              probe.name);
    return 0;
}

/* What is about faults can't be judged where there are none. */
static int check_objective(const struct experiment *experiment, const struct node *node, struct error *error)
{
    int r = objective_check(experiment->document, node, experiment->probes, error);

    if (r == 0 && !experiment->steps_list && !node_get(node, "probe"))
        r = node_error(experiment->document, node_get(node, "kind"), error,
                       "is about faults: it takes steps");
    return r;
}

/* Without steps people act, and all that is done is to watch and to judge. */
static int check_observation(const struct experiment *experiment, struct error *error)
{
    static const char *const needed[] = {"duration_s", "observers", "probes", "objectives"};
    const struct node *root = document_root(experiment->document);

    if (experiment->steps_list)
        return !experiment->duration_sec ? 0
                                         : node_error(experiment->document, node_get(root, "duration_s"),
                                                      error, "is for an observation: each step has its own");
    if (experiment->late_joiners)
        return node_error(experiment->document, experiment->late_joiners, error,
                          "there are no steps to join");
    for (size_t i = 0; i < ARRAY_SIZE(needed); i++)
        if (!node_get(root, needed[i]))
            return node_error(experiment->document, root, error,
                              "without 'steps' it is an observation, and '%s' is missing", needed[i]);
    return 0;
}

static const struct node *first_of(const struct node *list)
{
    return list ? list->first : NULL;
}

static int decode_parts(struct experiment *experiment, struct error *error)
{
    const struct document *document = experiment->document;
    int r = node_decode(document, experiment->expect, expect_fields, experiment, error);

    if (r == 0 && experiment->late_joiners)
        r = node_decode(document, experiment->late_joiners, late_fields, experiment, error);
    if (r == 0 && experiment->observers)
        r = node_decode(document, experiment->observers, observer_fields, experiment, error);
    if (r == 0)
        r = check_observation(experiment, error);
    for (const struct node *node = first_of(experiment->steps_list); node && r == 0; node = node->next)
        r = decode_step(experiment, node, error);
    if (r == 0 && experiment->probes && !experiment->observers)
        r = node_error(document, experiment->probes, error, "observers are missing: who asks?");
    for (const struct node *node = first_of(experiment->probes); node && r == 0; node = node->next)
        r = check_probe(experiment, node, error);
    for (const struct node *node = first_of(experiment->objectives); node && r == 0; node = node->next)
        r = check_objective(experiment, node, error);
    return r;
}

int experiment_parse(struct experiment **ret, const char *name, const void *text, size_t length,
                     struct error *error)
{
    _cleanup_(experiment_freep) struct experiment *experiment = calloc(1, sizeof(*experiment));
    int r;

    if (!experiment)
        return error_oom(error);
    experiment->valid_for_sec = 3600;
    experiment->max_runs = 1;
    experiment->require_percent = 100;
    r = document_parse_yaml(&experiment->document, name, text, length, error);
    if (r == 0)
        r = node_decode(experiment->document, document_root(experiment->document), experiment_fields,
                        experiment, error);
    if (r == 0)
        r = decode_parts(experiment, error);
    if (r == 0)
        *ret = TAKE_PTR(experiment);
    return r;
}

struct experiment *experiment_free(struct experiment *experiment)
{
    if (experiment)
        document_free(experiment->document);
    free(experiment);
    return NULL;
}
