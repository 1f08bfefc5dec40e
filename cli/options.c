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

/* The next option by getopt, NULL at their end. */
static int next_option(const struct command *command, int argc, char **argv, const struct option_row **ret,
                       struct error *error)
{
    const struct option_row *rows[ROWS_MAX];
    struct option longs[ROWS_MAX + 1] = {{0}};
    char shorts[2 * ROWS_MAX + 1] = "";
    int count = list_options(command, rows), option;

    for (int i = 0; i < count; i++) {
        longs[i] = (struct option){rows[i]->name, rows[i]->value ? required_argument : no_argument, NULL,
                                   ROW_FIRST + i};
        if (rows[i]->letter)
            sprintf(shorts + strlen(shorts), "%c%s", rows[i]->letter, rows[i]->value ? ":" : "");
    }
    option = getopt_long(argc, argv, shorts, longs, NULL);
    if (option == '?')
        return error_set(error, EBADRQC, "%s: %s: no such option, or without its value; see grivet %s --help",
                         command->name, argv[optind - 1], command->name);
    *ret = NULL;
    for (int i = 0; i < count; i++)
        if (option == ROW_FIRST + i || option == rows[i]->letter)
            *ret = rows[i];
    return 0;
}

static int take_options(struct call *call, int argc, char **argv, struct error *error)
{
    const struct option_row *row;
    int r;

    optind = 1;
    opterr = 0;
    while ((r = next_option(call->command, argc, argv, &row, error)) == 0 && row) {
        if (call->n_options == CALL_OPTIONS_MAX)
            return error_set(error, EBADRQC, "%s: more than %d options", call->command->name,
                             CALL_OPTIONS_MAX);
        call->options[call->n_options].name = row->name;
        call->options[call->n_options++].value = row->value ? optarg : "";
    }
    return r;
}

static int check_number(const struct option_row *row, const char *text, struct error *error)
{
    long long number;
    char *end;

    errno = 0;
    number = strtoll(text, &end, 10);
    if (errno || end == text || *end || number < row->min || number > row->max)
        return error_set(error, EBADRQC, "--%s %.40s: expected a number from %lld to %lld", row->name, text,
                         (long long)row->min, (long long)row->max);
    return 0;
}

static int check_option(const struct call *call, const struct option_row *row, struct error *error)
{
    const char *text = call_option(call, row->name);

    if (!text && row->is_required)
        return error_set(error, EBADRQC, "%s: --%s %s is missing: %s", call->command->name, row->name,
                         row->value, row->help);
    return text && row->max ? check_number(row, text, error) : 0;
}

static int check_options(struct call *call, struct error *error)
{
    const struct command *command = call->command;
    const char *output = call_option(call, "output");
    int r = 0;

    call->config = call_option(call, "config");
    call->is_json = output && strcmp(output, "json") == 0;
    if (output && !call->is_json && strcmp(output, "text") != 0)
        return error_set(error, EBADRQC, "%s: -o takes text or json", command->name);
    for (const struct option_row *row = command->options; row && row->name && r == 0; row++)
        r = check_option(call, row, error);
    return r;
}

int call_parse(struct call *ret, const struct command *command, int argc, char **argv, struct error *error)
{
    int r;

    *ret = (struct call){.command = command};
    r = take_options(ret, argc, argv, error);
    if (r < 0)
        return r;
    if (call_option(ret, "help")) {
        usage_print(command);
        return 1;
    }
    ret->n_arguments = argc - optind;
    if (ret->n_arguments < command->min || ret->n_arguments > command->max)
        return error_set(error, EBADRQC, "usage: grivet %s %s (see grivet %s --help)", command->name,
                         command->arguments, command->name);
    for (int i = 0; i < ret->n_arguments; i++)
        ret->arguments[i] = argv[optind + i];
    return check_options(ret, error);
}

const char *call_option(const struct call *call, const char *name)
{
    for (int i = call->n_options - 1; i >= 0; i--)
        if (strcmp(call->options[i].name, name) == 0)
            return call->options[i].value;
    return NULL;
}

int64_t call_number(const struct call *call, const char *name)
{
    const char *text = call_option(call, name);
    const struct option_row *row = call->command->options;

    while (!text && strcmp(row->name, name) != 0)
        row++;
    return text ? strtoll(text, NULL, 10) : row->fallback;
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
    if (call->is_json)
        return error_set(error, EBADRQC, "completion: a script has no other form: -o json is not for it");
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
