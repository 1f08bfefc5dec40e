/* What an experiment says of faults, held against their tables: see experiment-check.h. */
#include "experiment-check.h"

#include "faults/fault.h"

/* Errors in faults and their parameters are found before anybody is asked, at their place in the file. */
static int check_step(const struct document *document, const struct node *step, struct error *error)
{
    const struct node *parameters = node_get(step, "parameters"), *name = node_get(step, "fault");
    const struct fault *fault;
    void *decoded = NULL;
    int r;

    if (!name || name->type != DOCUMENT_STRING)
        return node_error(document, step, error,
                          "'fault' is missing: the name of a fault (see grivet faults)");
    fault = fault_find(name->string);
    if (!fault)
        return node_error(document, name, error, "there is no fault '%.64s'; see grivet faults",
                          name->string);
    if (!parameters)
        return node_error(document, step, error, "'parameters' is missing");
    r = fault_decode_parameters(fault, document, parameters, NULL, &decoded, error);
    fault_free_parameters(fault, decoded);
    return r;
}

int experiment_check(const char *path, const char *text, size_t length, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    const struct node *steps;
    int r;

    r = document_parse_yaml(&document, path, text, length, error);
    if (r < 0)
        return r;
    steps = node_get(document_root(document), "steps");
    if (!steps || steps->type != DOCUMENT_LIST)
        return node_error(document, document_root(document), error, "expected a list 'steps'");
    for (const struct node *step = steps->first; step && r == 0; step = step->next)
        r = check_step(document, step, error);
    return r;
}
