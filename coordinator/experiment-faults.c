/* An experiment's faults against the registry of this build. */
#include "experiment.h"
#include "faults/fault.h"

int experiment_check_faults(const struct experiment *experiment, const struct mandate *mandate,
                            struct error *error)
{
    for (size_t i = 0; i < experiment->n_steps; i++) {
        const struct experiment_step *step = &experiment->steps[i];
        const struct fault *fault = fault_find(step->fault);
        void *parameters = NULL;
        int r;

        if (!fault)
            return node_error(experiment->document, node_get(step->node, "fault"), error,
                              "there is no fault %s", step->fault);
        r = fault_decode_parameters(fault, experiment->document, step->parameters, mandate, &parameters,
                                    error);
        if (r < 0)
            return r;
        fault_free_parameters(fault, parameters);
    }
    return 0;
}
