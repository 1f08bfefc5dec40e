/* grivet plan: have the coordinator check and pin an experiment and ask every host, show the answers. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"
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

static void print_plan(const json_t *plan)
{
    const json_t *item;
    size_t index;

    printf("\nwhat the hosts say:\n");
    print_answers(json_object_get(plan, "answers"));
    output_table("", budget_columns, json_object_get(plan, "budgets"), plan);
    json_array_foreach(json_object_get(plan, "refused"), index, item)
        printf("  REFUSED by %s: %s\n", json_text(item, "host"), json_text(item, "reason"));
}

/* Does every step get as many hosts as it needs without those of @refused? An observation needs all of them.
 */
static bool is_enough(const struct mandate *mandate, const json_t *refused)
{
    const json_t *one;
    size_t index;

    if (!mandate->n_steps)
        return !json_array_size(refused);
    for (const struct step *step = mandate->steps; step < mandate->steps + mandate->n_steps; step++) {
        size_t left = step->hosts->count;

        json_array_foreach((json_t *)refused, index, one) left -=
            mandate_step_has_host(mandate, step->name, json_text(one, "host"));
        if (left < mandate_step_least(mandate, step))
            return false;
    }
    return true;
}

static int show_plan(const struct call *call, json_t *plan, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    const char *path = call_option(call, "file");
    _cleanup_free_ char *text = json_dumps(json_object_get(plan, "mandate"), JSON_INDENT(2));
    const json_t *refused = json_object_get(plan, "refused");
    int r;

    if (!text)
        return error_set(error, EBADMSG, "the coordinator's answer holds no mandate");
    r = mandate_file_parse("the coordinator's mandate", text, strlen(text), &envelope, &mandate, error);
    if (r == 0 && path)
        r = io_write_file(path, text, strlen(text), 0644, error);
    if (r < 0)
        return r;
    if (call->is_json) {
        output_json(plan);
    } else {
        mandate_file_print(stdout, envelope, mandate);
        print_plan(plan);
    }
    if (json_array_size(refused))
        fprintf(stderr, "grivet: the plan is refused by %zu host(s)%s\n", json_array_size(refused),
                is_enough(mandate, refused) ? "; the others are as many as it requires" : "");
    if (!is_enough(mandate, refused))
        return EXIT_REFUSED;
    if (path)
        fprintf(stderr, "wrote %s; next: grivet sign %s --key YOU.key\n", path, path);
    return EXIT_MET;
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
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *text = NULL;
    const char *path = call->arguments[0];
    json_auto_t *plan = NULL;
    size_t length;
    int r;

    r = io_read_file(path, EXPERIMENT_BYTES_MAX, &text, &length, error);
    /* What is no YAML (a NUL, where our text would end) nobody has to be asked about. */
    if (r == 0)
        r = document_parse_yaml(&document, path, text, length, error);
    if (r == 0)
        r = client_once(call, "POST", "/v1/plan", text, &plan, error);
    if (r == 0)
        r = show_plan(call, plan, error);
    else if (r == -EBADE)
        name_file(error, path);
    return r;
}
