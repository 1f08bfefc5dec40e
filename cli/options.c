/* Command lines by table: parsing, usage, completion for the shell. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/document.h"

#define ROWS_MAX  16
#define ROW_FIRST 256 /* getopt's number of row 0: beyond every letter */

static const struct option_row common_options[] = {
    {"config", 'c', "FILE", "config.yaml (default: $GRIVET_CONFIG, ~/.config/grivet/config.yaml)"},
    {"output", 'o', "text|json", "form of the output"},
    {"help", 'h', NULL, "this text"},
    {},
};

/* A command's own rows, then the common ones. Return: how many */
static int list_options(const struct command *command, const struct option_row *ret[ROWS_MAX])
{
    int count = 0;

    for (const struct option_row *row = command->options; row && row->name; row++)
        ret[count++] = row;
    for (const struct option_row *row = common_options; row->name; row++)
        ret[count++] = row;
    return count;
}

static const struct option_row *next_option(const struct option_row *const *rows, int count, int argc,
                                            char **argv, int *ret)
{
    struct option longs[ROWS_MAX + 1] = {{0}};
    char shorts[2 * ROWS_MAX + 1] = "";

    for (int i = 0; i < count; i++) {
        longs[i] = (struct option){rows[i]->name, rows[i]->value ? required_argument : no_argument, NULL,
                                   ROW_FIRST + i};
        if (rows[i]->letter)
            sprintf(shorts + strlen(shorts), "%c%s", rows[i]->letter, rows[i]->value ? ":" : "");
    }
    *ret = getopt_long(argc, argv, shorts, longs, NULL);
    for (int i = 0; i < count; i++)
        if (*ret == ROW_FIRST + i || *ret == rows[i]->letter)
            return rows[i];
    return NULL;
}

static int take_option(struct call *call, const struct option_row *row, const char *value)
{
    if (strcmp(row->name, "help") == 0) {
        usage_print(call->command);
        return 1;
    }
    if (call->n_options == CALL_OPTIONS_MAX) {
        fprintf(stderr, "grivet %s: more than %d options\n", call->command->name, CALL_OPTIONS_MAX);
        return -EINVAL;
    }
    call->options[call->n_options].name = row->name;
    call->options[call->n_options++].value = value ? value : "";
    return 0;
}

static int take_options(struct call *call, int argc, char **argv)
{
    const struct option_row *rows[ROWS_MAX], *row;
    int count = list_options(call->command, rows), option, r = 0;

    optind = 1;
    while (r == 0 && (row = next_option(rows, count, argc, argv, &option)))
        r = take_option(call, row, optarg);
    return r == 0 && option == '?' ? -EINVAL : r;
}

static int check_options(const struct call *call)
{
    for (const struct option_row *row = call->command->options; row && row->name; row++)
        if (row->is_required && !call_option(call, row->name)) {
            fprintf(stderr, "grivet %s: --%s %s is missing: %s\n", call->command->name, row->name, row->value,
                    row->help);
            return -EINVAL;
        }
    return 0;
}

static int take_common(struct call *call)
{
    const char *output = call_option(call, "output");

    call->config = call_option(call, "config");
    call->is_json = output && strcmp(output, "json") == 0;
    if (call->is_json || !output || strcmp(output, "text") == 0)
        return 0;
    fprintf(stderr, "grivet %s: -o takes text or json\n", call->command->name);
    return -EINVAL;
}

int call_parse(struct call *ret, const struct command *command, int argc, char **argv)
{
    struct call call = {.command = command};
    int r = take_options(&call, argc, argv);

    if (r != 0)
        return r;
    call.n_arguments = argc - optind;
    if (call.n_arguments < command->min || call.n_arguments > command->max) {
        fprintf(stderr, "usage: grivet %s %s\nsee grivet %s --help\n", command->name, command->arguments,
                command->name);
        return -EINVAL;
    }
    for (int i = 0; i < call.n_arguments; i++)
        call.arguments[i] = argv[optind + i];
    r = take_common(&call);
    if (r == 0)
        r = check_options(&call);
    *ret = call;
    return r;
}

const char *call_option(const struct call *call, const char *name)
{
    for (int i = call->n_options - 1; i >= 0; i--)
        if (strcmp(call->options[i].name, name) == 0)
            return call->options[i].value;
    return NULL;
}

int call_integer(const struct call *call, const char *name, int64_t min, int64_t max, int64_t fallback,
                 int64_t *ret, struct error *error)
{
    const char *text = call_option(call, name);
    char *end;

    *ret = fallback;
    if (!text)
        return 0;
    errno = 0;
    *ret = strtoll(text, &end, 10);
    if (errno || end == text || *end || *ret < min || *ret > max)
        return error_set(error, EBADRQC, "--%s %s: expected a number from %lld to %lld", name, text,
                         (long long)min, (long long)max);
    return 0;
}

static int add_labels(json_t *labels, const char *text, struct error *error)
{
    _cleanup_free_ char *copy = strdup(text);
    char *next = copy, *part, *value;

    while (copy && (part = strsep(&next, ","))) {
        value = strchr(part, '=');
        if (value)
            *value++ = '\0';
        if (!value || !*value || !node_name_is_valid(part) ||
            json_object_set_new(labels, part, json_string(value)) < 0)
            return error_set(error, EBADRQC, "--label %.80s: expected KEY=VALUE", part);
    }
    return copy ? 0 : error_oom(error);
}

int call_labels(const struct call *call, json_t **ret, struct error *error)
{
    json_auto_t *labels = json_object();
    int r = 0;

    for (int i = 0; i < call->n_options && r == 0; i++)
        if (strcmp(call->options[i].name, "label") == 0)
            r = add_labels(labels, call->options[i].value, error);
    if (r == 0)
        *ret = json_incref(labels);
    return r;
}

static void print_option(const struct option_row *row)
{
    char left[64];

    snprintf(left, sizeof(left), "%c%c%s--%s%s%s", row->letter ? '-' : ' ', row->letter ? row->letter : ' ',
             row->letter ? ", " : "  ", row->name, row->value ? " " : "", row->value ? row->value : "");
    printf("  %-34s %s%s\n", left, row->help, row->is_required ? "; required" : "");
}

void usage_print(const struct command *command)
{
    const struct option_row *rows[ROWS_MAX];
    int count;

    if (command) {
        printf("usage: grivet %s %s%s[option...]\n\n%s\n\n", command->name, command->arguments,
               *command->arguments ? " " : "", command->summary);
        count = list_options(command, rows);
        for (int i = 0; i < count; i++)
            print_option(rows[i]);
        return;
    }
    printf("usage: grivet COMMAND [argument...] [option...]\n\nSigned, time-boxed outages, and proof of "
           "recovery.\n\n");
    for (command = commands; command->name; command++)
        printf("  %-11s %s\n", command->name, command->summary);
    printf("\ngrivet COMMAND --help says more. Exit codes: 0 met or done, 1 error, 2 usage, 3 missed, 4 "
           "unknown, 5 refused, 6 halted.\n");
}

int command_completion(const struct call *call, struct error *error)
{
    const struct option_row *rows[ROWS_MAX];

    if (strcmp(call->arguments[0], "bash") != 0)
        return error_set(error, EBADRQC, "completion: only bash is known");
    printf("# bash completion for grivet: eval \"$(grivet completion bash)\"\n_grivet() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} words\n    case $COMP_CWORD:${COMP_WORDS[1]} in\n    "
           "1:*) words='--help --version");
    for (const struct command *command = commands; command->name; command++)
        printf(" %s", command->name);
    for (const struct command *command = commands; command->name; command++) {
        int count = list_options(command, rows);

        printf("' ;;\n    *:%s) words='", command->name);
        for (int i = 0; i < count; i++)
            printf("--%s ", rows[i]->name);
    }
    printf("' ;;\n    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
           "complete -o default -F _grivet grivet\n");
    return EXIT_MET;
}
