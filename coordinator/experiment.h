/* An experiment as people write it (`grivet.experiment/1`), decoded with errors that name the place. */
#pragma once

#include "common/mandate.h"

#define EXPERIMENT_STEPS_MAX  32
#define EXPERIMENT_PROBES_MAX 32
#define EXPERIMENT_BYTES_MAX  (256 * 1024)

/** struct experiment_step - @node: its place; @labels: which hosts, @percent of those */
struct experiment_step {
    const struct node *node;
    const char *name, *fault;
    const struct node *parameters, *labels, *hosts;
    int64_t percent, duration_sec;
    bool takes_late_joiners;
};

/** struct experiment - every pointer belongs to @document, but @probes, which is a copy that says stable_ms
 * for stable_s */
struct experiment {
    struct document *document;
    const char *schema, *name, *description, *environment;
    const struct node *expect, *late_joiners, *observers, *steps_list, *probes_list, *objectives;
    int64_t expect_hosts, max_share_percent;
    int64_t valid_for_sec, max_runs, require_percent, warmup_sec, settle_sec;
    const struct node *late_labels, *observer_labels;
    int64_t late_max;
    size_t n_steps;
    struct experiment_step steps[EXPERIMENT_STEPS_MAX];
    struct node *probes; /* NULL = none */
};

/** experiment_parse() - decode YAML and check all that needs no host, zone or fault; @name is what errors
 * call it */
int experiment_parse(struct experiment **ret, const char *name, const void *text, size_t length,
                     struct error *error);
struct experiment *experiment_free(struct experiment *experiment);
DEFINE_CLEANUP(struct experiment *, experiment_free)

/** experiment_check_faults() - faults exist and take their parameters; @mandate: for its zones */
int experiment_check_faults(const struct experiment *experiment, const struct mandate *mandate,
                            struct error *error);
