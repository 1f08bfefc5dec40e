/* grivet plan: check the experiment here, have the coordinator pin it and ask every host, show the answers.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
#include "faults/fault.h"
#include "mandate-file.h"
#include "run.h"

#define EXPERIMENT_BYTES_MAX (256 << 10)

static void print_lines(const char *head, const json_t *lines)
{
    const json_t *line;
    size_t index;

    json_array_foreach((json_t *)lines, index, line) printf("    %s%s\n", head, json_string_value(line));
}

/* Do both hosts say the same, word for word? */
static bool answers_agree(const json_t *a, const json_t *b)
{
    return json_equal(json_object_get(a, "steps"), json_object_get(b, "steps")) &&
           json_equal(json_object_get(a, "lifeline"), json_object_get(b, "lifeline"));
}

static void print_answer(const json_t *answer)
{
    const json_t *step;
    size_t index;

    json_array_foreach(json_object_get(answer, "steps"), index, step)
    {
        bool is_accepted = json_is_true(json_object_get(step, "is_accepted"));

        printf("    %s: %s%s%s\n", json_text(step, "step"),
               is_accepted ? "would do" : "refuses: ", is_accepted ? "" : json_text(step, "reason"),
               json_is_true(json_object_get(step, "is_victim")) ? ", and fails itself" : "");
        print_lines("  ", json_object_get(step, "summary"));
        print_lines("  limit: ", json_object_get(step, "limits"));
    }
    print_lines("lifeline: ", json_object_get(answer, "lifeline"));
}

/* Hosts that say the same are named together. */
static void print_answers(json_t *answers)
{
    while (json_array_size(answers)) {
        json_t *first = json_incref(json_array_get(answers, 0));

        printf(" ");
        for (size_t i = 0; i < json_array_size(answers);) {
            if (!answers_agree(first, json_array_get(answers, i))) {
                i++;
                continue;
            }
            printf(" %s", json_text(json_array_get(answers, i), "host"));
            json_array_remove(answers, i);
        }
        printf("\n");
        print_answer(first);
        json_decref(first);
    }
}

static void print_plan(const struct mandate_file *file, const json_t *plan)
{
    const json_t *item;
    size_t index;

    mandate_file_print(file);
    printf("\nwhat the hosts say:\n");
    print_answers(json_object_get(plan, "answers"));
    json_array_foreach(json_object_get(plan, "budgets"), index, item) budget_print(item);
    json_array_foreach(json_object_get(plan, "refused"), index, item)
        printf("  REFUSED by %s: %s\n", json_text(item, "host"), json_text(item, "reason"));
}

static int show_plan(const struct call *call, json_t *plan, struct error *error)
{
    _cleanup_(mandate_file_clear) struct mandate_file file = {0};
    const char *path = call_option(call, "file");
    _cleanup_free_ char *text = json_dumps(json_object_get(plan, "mandate"), JSON_INDENT(2));
    int r;

    if (!text)
        return error_set(error, EBADMSG, "the coordinator's answer holds no mandate");
    r = mandate_file_parse(&file, "the coordinator's mandate", text, strlen(text), error);
    if (r == 0 && path)
        r = io_write_file(path, text, strlen(text), 0644, error);
    if (r < 0)
        return r;
    if (call->is_json)
        output_json(plan);
    else
        print_plan(&file, plan);
    if (json_array_size(json_object_get(plan, "refused"))) {
        fprintf(stderr, "grivet: the plan is refused by %zu host(s)\n",
                json_array_size(json_object_get(plan, "refused")));
        return EXIT_REFUSED;
    }
    if (path)
        fprintf(stderr, "wrote %s; next: grivet sign %s --key YOU.key\n", path, path);
    return EXIT_MET;
}

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

static int check_experiment(const char *path, const char *text, size_t length, struct error *error)
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

/* The coordinator calls what we posted "experiment"; here it has a name that an editor can open. */
static void name_file(struct error *error, const char *path)
{
    static const char name[] = "experiment:";
    char text[ERROR_TEXT_MAX];

    if (strncmp(error->text, name, strlen(name)) != 0)
        return;
    snprintf(text, sizeof(text), "%s", error->text + strlen(name));
    error_set(error, EBADE, "%s:%s", path, text);
}

int command_plan(const struct call *call, struct error *error)
{
    _cleanup_(client_freep) struct client *client = NULL;
    _cleanup_free_ char *text = NULL;
    const char *path = call->arguments[0];
    json_auto_t *plan = NULL;
    size_t length;
    int r;

    r = io_read_file(path, EXPERIMENT_BYTES_MAX, &text, &length, error);
    if (r == 0)
        r = check_experiment(path, text, length, error);
    if (r == 0)
        r = client_open(&client, call, error);
    if (r == 0)
        r = client_call(client, "POST", "/v1/plan", text, &plan, error);
    if (r == 0)
        r = show_plan(call, plan, error);
    else if (r == -EBADE)
        name_file(error, path);
    return r;
}
