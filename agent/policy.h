/* What root allows on this host (/etc/grivet/agent.yaml): identity, labels, classes of faults, what is
 * protected. */
#pragma once

#include "common/document.h"
#include "faults/fault.h"
#include "windows.h"

#define POLICY_PATH             "/etc/grivet/agent.yaml"
#define POLICY_CLASSES_MAX      8
#define POLICY_COORDINATORS_MAX 16
#define POLICY_CLASS_OBSERVE    "observe"

/** struct policy_class - what one class of faults may do here; a class that is not listed may do nothing */
struct policy_class {
    const char *name;
    bool is_allowed;
    int64_t signatures; /* different people */
    int64_t longest_duration_s, concurrency, cool_down_s;
    bool allows_isolation; /* may a fault cut the lifeline? */
    const struct node *windows_list;
    struct windows windows; /* in the policy's time zone */
};

/**
 * struct policy - strings belong to @document
 * @labels: a map of strings; @zone: the label of that name or NULL
 * @lifeline: as far as the file says; lifeline_make() makes it whole
 * @named_ports: of the coordinators that are not given by address
 * @protected_processes: NULL-ended
 */
struct policy {
    struct document *document;
    const char *host, *environment, *address, *zone, *time_zone;
    const struct node *labels;
    bool requires_synchronised_clock;
    int64_t lost_contact_after_s;
    size_t n_classes, n_named_ports;
    struct policy_class classes[POLICY_CLASSES_MAX];
    struct lifeline lifeline;
    uint16_t named_ports[POLICY_COORDINATORS_MAX];
    const char **protected_processes;
    struct parameter_cidrs protected_cidrs;
};

/** policy_parse() - decode and check YAML; every error names `@name:line:column: key`. Its time zone is the
 * process's from now on */
int policy_parse(struct policy **ret, const char *name, const char *text, size_t length, struct error *error);
/** policy_load() - refuses a file that anybody but root may write */
int policy_load(struct policy **ret, const char *path, struct error *error);
struct policy *policy_free(struct policy *policy);
DEFINE_CLEANUP(struct policy *, policy_free)

/** policy_class_find() - NULL = nothing of this class is allowed */
const struct policy_class *policy_class_find(const struct policy *policy, const char *name);
