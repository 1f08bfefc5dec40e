/* grivet faults: the registry, and one fault's parameters, from their tables. */
#include "faults/fault.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"

static const char *const type_names[] = {
    [PARAMETER_INTEGER] = "integer",
    [PARAMETER_STRING] = "string",
    [PARAMETER_CHOICE] = "choice",
    [PARAMETER_CIDRS] = "list of address blocks",
    [PARAMETER_PORTS] = "list of ports",
    [PARAMETER_ZONE] = "zone id",
    [PARAMETER_REGEX] = "regular expression",
    [PARAMETER_USER] = "user",
};

static json_t *describe_type(const struct fault_parameter *parameter)
{
    char text[256];
    size_t length;

    length = snprintf(text, sizeof(text), "%s", type_names[parameter->type]);
    for (const char *const *choice = parameter->choices; choice && *choice && length < sizeof(text); choice++)
        length += snprintf(text + length, sizeof(text) - length, "%s%s",
                           choice == parameter->choices ? ": " : ", ", *choice);
    if (parameter->type == PARAMETER_INTEGER && length < sizeof(text))
        length += snprintf(text + length, sizeof(text) - length, " %lld to %lld", (long long)parameter->min,
                           (long long)parameter->max);
    if (parameter->unit && length < sizeof(text))
        snprintf(text + length, sizeof(text) - length, " %s", parameter->unit);
    return json_string(text);
}

static const char *describe_default(const struct fault_parameter *parameter)
{
    if (parameter->fallback)
        return parameter->fallback;
    return parameter->is_optional ? "none" : "required";
}

static json_t *fault_to_json(const struct fault *fault)
{
    json_t *parameters = json_array();

    for (const struct fault_parameter *parameter = fault->parameters; parameter->name; parameter++)
        json_array_append_new(parameters, json_pack("{s:s, s:o, s:s, s:s}", "name", parameter->name, "type",
                                                    describe_type(parameter), "default",
                                                    describe_default(parameter), "help", parameter->help));
    return json_pack("{s:s, s:s, s:s, s:b, s:o}", "name", fault->name, "summary", fault->summary, "class",
                     fault->class, "is_reversible", (fault->flags & FAULT_REVERSIBLE) != 0, "parameters",
                     parameters);
}

static int show_fault(const struct call *call, const struct fault *fault)
{
    static const struct column columns[] = {
        {"PARAMETER", "name"}, {"TYPE", "type"}, {"DEFAULT", "default"}, {"HELP", "help"}, {}};
    json_auto_t *json = fault_to_json(fault);

    if (call->is_json)
        return output_json(json);
    printf("%s: %s\nclass %s, %s\n\n", fault->name, fault->summary, fault->class,
           fault->flags & FAULT_REVERSIBLE ? "ends with the time box" : "can't be undone");
    output_table(NULL, columns, json_object_get(json, "parameters"), NULL);
    return EXIT_MET;
}

static int show_all(const struct call *call)
{
    static const struct column columns[] = {{"FAULT", "name"},
                                            {"CLASS", "class"},
                                            {"UNDO", "is_reversible", format_wanted},
                                            {"SUMMARY", "summary"},
                                            {}};
    json_auto_t *rows = json_array();

    for (const struct fault *const *fault = fault_registry; *fault; fault++)
        json_array_append_new(rows, fault_to_json(*fault));
    if (call->is_json)
        return output_json(rows);
    output_table(NULL, columns, rows, NULL);
    return EXIT_MET;
}

int command_faults(const struct call *call, struct error *error)
{
    const struct fault *fault;

    if (!call->n_arguments)
        return show_all(call);
    fault = fault_find(call->arguments[0]);
    if (!fault)
        return error_set(error, ENOENT, "there is no fault '%.64s'; grivet faults lists them",
                         call->arguments[0]);
    return show_fault(call, fault);
}
