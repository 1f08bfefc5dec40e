/* Choosing hosts and writing down everything that people will sign. */
#include "plan.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* A share of the hosts that match, rounded down, but at least one: evenly spread over their names, so the
 * same every time, and not only the first zone's. */
static json_t *choose(const struct node *labels, int64_t percent, const struct candidate *candidates,
                      size_t count)
{
    json_t *list = json_array();
    const char *last = NULL;
    int64_t n = 0;

    for (const struct candidate *one = candidates; one < candidates + count; one++) {
        if (!one->is_in_contact || !labels_match(one->labels, labels))
            continue;
        last = one->id;
        n++;
        if (n * percent / 100 > (n - 1) * percent / 100)
            json_array_append_new(list, json_string(last));
    }
    if (last && !json_array_size(list))
        json_array_append_new(list, json_string(last));
    return list;
}

/* Matching hosts that nobody hears of explain a count that is too low. */
static void absent_hosts(const struct node *labels, const struct candidate *candidates, size_t count,
                         char text[200])
{
    size_t length = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count && length < 150; i++)
        if (!candidates[i].is_in_contact && labels_match(candidates[i].labels, labels))
            length += (size_t)snprintf(text + length, 200 - length, "%s%.40s",
                                       length ? ", " : "; not in contact: ", candidates[i].id);
}

/* In a mandate it is always a list. */
static json_t *json_of_after(const struct node *after)
{
    if (!after)
        return NULL;
    return after->type == DOCUMENT_LIST ? json_incref(after->json) : json_pack("[O]", after->json);
}

static json_t *build_step(const struct experiment *experiment, const struct experiment_step *step,
                          const struct candidate *candidates, size_t count, json_t *all, struct error *error)
{
    char absent[200];
    json_t *hosts, *host;
    size_t i;

    hosts = choose(step->labels, step->percent, candidates, count);
    if (!json_array_size(hosts)) {
        absent_hosts(step->labels, candidates, count, absent);
        node_error(experiment->document, step->labels, error, "no host has these labels%s", absent);
        json_decref(hosts);
        return NULL;
    }
    json_array_foreach(hosts, i, host) json_object_set_new(all, json_string_value(host), json_true());
    return json_pack("{s:s, s:s, s:O, s:I, s:o, s:o*, s:b}", "name", step->name, "fault", step->fault,
                     "parameters", step->parameters->json, "duration_ms",
                     (json_int_t)step->duration_sec * 1000, "hosts", hosts, "after",
                     json_of_after(step->after), "late_joiners", step->takes_late_joiners);
}

/* A typing error in labels shows in the count. */
static int check_count(const struct experiment *experiment, const struct candidate *candidates, size_t count,
                       size_t n, struct error *error)
{
    char absent[200] = "";

    if ((int64_t)n == experiment->expect_hosts)
        return 0;
    for (size_t i = 0; i < experiment->n_steps && !*absent; i++)
        absent_hosts(experiment->steps[i].labels, candidates, count, absent);
    if (!experiment->n_steps)
        absent_hosts(experiment->observer_labels, candidates, count, absent);
    return node_error(experiment->document, node_get(experiment->expect, "hosts"), error,
                      "%zu hosts would %s, %lld are expected%s", n,
                      experiment->n_steps ? "get a fault" : "watch", (long long)experiment->expect_hosts,
                      absent);
}

static int build_steps(const struct experiment *experiment, const struct candidate *candidates, size_t count,
                       json_t *steps, struct error *error)
{
    json_t *all = json_object(), *step = all;
    size_t n;

    for (size_t i = 0; i < experiment->n_steps && step; i++) {
        step = build_step(experiment, &experiment->steps[i], candidates, count, all, error);
        json_array_append_new(steps, step);
    }
    n = json_object_size(all);
    json_decref(all);
    if (!step)
        return -EINVAL;
    return experiment->n_steps ? check_count(experiment, candidates, count, n, error) : 0;
}

static json_t *json_of(const struct node *node)
{
    return node ? json_incref(node->json) : NULL;
}

int plan_build(const struct experiment *experiment, const struct candidate *candidates, size_t count,
               const struct node *zones, int64_t now_usec, json_t **ret, struct error *error)
{
    json_t *steps = json_array(), *observers = NULL, *duration = NULL;
    char id[UUID_TEXT_MAX];
    int r = build_steps(experiment, candidates, count, steps, error);

    if (r == 0 && experiment->observer_labels) {
        observers = choose(experiment->observer_labels, 100, candidates, count);
        if (!json_array_size(observers))
            r = node_error(experiment->document, experiment->observer_labels, error,
                           "no host in contact has these labels");
        else if (!experiment->n_steps)
            r = check_count(experiment, candidates, count, json_array_size(observers), error);
    }
    if (r < 0) {
        json_decref(steps);
        json_decref(observers);
        return r;
    }
    if (experiment->duration_sec)
        duration = json_integer(experiment->duration_sec * 1000);
    *ret = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o*, s:o, s:o, s:o, "
                     "s:o*, s:o*, s:o*, s:o*}",
                     "schema", "grivet.mandate/1", "id", uuid_new(id), "experiment", experiment->name,
                     "environment", experiment->environment, "description", experiment->description,
                     "created_at", json_time(now_usec), "not_before", json_time(now_usec), "not_after",
                     json_time(now_usec + experiment->valid_for_sec * USEC_PER_SEC), "max_runs",
                     (json_int_t)experiment->max_runs, "require_percent",
                     (json_int_t)experiment->require_percent, "warmup_ms",
                     (json_int_t)experiment->warmup_sec * 1000, "settle_ms",
                     (json_int_t)experiment->settle_sec * 1000, "duration_ms", duration, "expect",
                     json_of(experiment->expect), "zones", zones ? json_of(zones) : json_object(), "steps",
                     steps, "late_joiners", json_of(experiment->late_joiners), "observers", observers,
                     "probes", json_of(experiment->probes), "objectives", json_of(experiment->objectives));
    return *ret ? 0 : error_oom(error);
}
