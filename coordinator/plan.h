/* From an experiment and the hosts that are there to a mandate's payload. Pure: the same hosts give the same
 * choice. */
#pragma once

#include "experiment.h"

/** struct candidate - a host that could be chosen; borrowed */
struct candidate {
    const char *id;
    const json_t *labels;
    bool is_in_contact;
};

/** plan_labels_match() - does @labels (an object) contain every key and value of map @wanted? NULL or empty
 * wants nothing */
bool plan_labels_match(const json_t *labels, const struct node *wanted);

/**
 * plan_build() - choose hosts, pin everything
 * @candidates: in order of id
 * @zones: the coordinator's map of zones
 * Return: 0 and a payload owned by the caller; -EINVAL with the place in the experiment
 */
int plan_build(const struct experiment *experiment, const struct candidate *candidates, size_t count,
               const struct node *zones, int64_t now_usec, json_t **ret, struct error *error);
