/* An experiment as people write it (`grivet.experiment/1`), and what a plan makes of it: a mandate's payload,
 * in which hosts and zones are pinned. */
#pragma once

#include "common/mandate.h"

#define EXPERIMENT_STEPS_MAX 32

/** struct experiment_step - @node: its place; @labels: which hosts, @percent of those; @after: a name or a
 * list of them, NULL = starts first */
struct experiment_step {
    const struct node *node, *parameters, *hosts, *labels, *after;
    const char *name, *fault;
    int64_t percent, duration_sec;
    bool takes_late_joiners;
};

/** struct experiment - every pointer belongs to @document; the optional nodes are NULL when left out */
struct experiment {
    struct document *document;
    const char *name, *description, *environment;
    const struct node *expect, *late_joiners, *observers, *steps_list, *probes, *objectives;
    int64_t expect_hosts, max_share_percent;
    int64_t valid_for_sec, max_runs, require_percent, warmup_sec, settle_sec;
    int64_t duration_sec; /* of an observation: an experiment without steps; else 0 */
    const struct node *late_labels, *observer_labels;
    int64_t late_max;
    size_t n_steps;
    struct experiment_step steps[EXPERIMENT_STEPS_MAX];
};

/** experiment_parse() - decode YAML and check all that needs no host, zone or fault; @name is what errors
 * call it */
int experiment_parse(struct experiment **ret, const char *name, const void *text, size_t length,
                     struct error *error);
struct experiment *experiment_free(struct experiment *experiment);
DEFINE_CLEANUP(struct experiment *, experiment_free)

/** struct candidate - a host that could be chosen; borrowed */
struct candidate {
    const char *id;
    const json_t *labels;
    bool is_in_contact;
};

/**
 * plan_build() - choose hosts, pin everything. Pure: the same hosts give the same choice
 * @candidates: in order of id
 * @zones: the coordinator's map of zones
 * Return: 0 and a payload owned by the caller; -EINVAL with the place in the experiment
 */
int plan_build(const struct experiment *experiment, const struct candidate *candidates, size_t count,
               const struct node *zones, int64_t now_usec, json_t **ret, struct error *error);
/** plan_check_faults() - do this build's faults exist and take their parameters? @mandate: for its zones */
int plan_check_faults(const struct experiment *experiment, const struct mandate *mandate,
                      struct error *error);
/** plan_check_times() - can every step start while the mandate is valid? */
int plan_check_times(const struct experiment *experiment, const struct mandate *mandate, struct error *error);
