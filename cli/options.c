/* Command lines by table: parsing, usage, completion for the shell. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define OPTION_VALUE 256 /* long options of a command have this and more as their number */

static const struct option_row no_options[] = {{}};

static const struct option_row common_options[] = {
    {"config", 'c', "FILE", "config.yaml (default: $GRIVET_CONFIG, ~/.config/grivet/config.yaml)"},
    {"output", 'o', "text|json", "form of the output"},
    {"help", 'h', NULL, "this text"},
    {},
};

enum { COMMON_CONFIG, COMMON_OUTPUT, COMMON_HELP, COMMON_OPTIONS };

static const struct option_row *command_options(const struct command *command)
{
    return command->options ? command->options : no_options;
}

static void add_rows(const struct option_row *rows, int number, struct option *longs, char *shorts)
{
    for (; rows->name; rows++, number++) {
        while (longs->name)
            longs++;
        *longs = (struct option){rows->name, rows->value ? required_argument : no_argument, NULL, number};
        if (rows->letter)
            sprintf(shorts + strlen(shorts), "%c%s", rows->letter, rows->value ? ":" : "");
    }
}

/* Return: the place of a short or long option in @rows, -1 = not there. */
static int find_option(const struct option_row *rows, int option, int first)
{
    for (int i = 0; rows[i].name; i++)
        if (option == first + i || (option < OPTION_VALUE && option == rows[i].letter))
            return i;
    return -1;
}

static int take_common(struct call *call, int index, const char *value)
{
    if (index == COMMON_HELP) {
        usage_print(call->command);
        return 1;
    }
    if (index == COMMON_CONFIG) {
        call->config = value;
        return 0;
    }
    call->is_json = strcmp(value, "json") == 0;
    if (call->is_json || strcmp(value, "text") == 0)
        return 0;
    fprintf(stderr, "grivet %s: -o takes text or json\n", call->command->name);
    return -EINVAL;
}

static int take_options(struct call *call, int argc, char **argv)
{
    struct option longs[CLI_OPTIONS_MAX + COMMON_OPTIONS + 1] = {{0}};
    const struct option_row *rows = command_options(call->command);
    char shorts[64] = "";
    int option, index, r = 0;

    add_rows(rows, OPTION_VALUE, longs, shorts);
    add_rows(common_options, OPTION_VALUE + CLI_OPTIONS_MAX, longs, shorts);
    optind = 1;
    while (r == 0 && (option = getopt_long(argc, argv, shorts, longs, NULL)) != -1) {
        if (option == '?')
            return -EINVAL;
        index = find_option(rows, option, OPTION_VALUE);
        if (index >= 0)
            call->values[index] = optarg ? optarg : "";
        else
            r = take_common(call, find_option(common_options, option, OPTION_VALUE + CLI_OPTIONS_MAX),
                            optarg);
    }
    return r;
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
    *ret = call;
    return 0;
}

const char *call_option(const struct call *call, const char *name)
{
    const struct option_row *rows = command_options(call->command);

    for (int i = 0; rows[i].name; i++)
        if (strcmp(rows[i].name, name) == 0)
            return call->values[i];
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

static void print_options(const struct option_row *rows)
{
    for (; rows->name; rows++) {
        char left[64];

        snprintf(left, sizeof(left), "%c%c%s--%s%s%s", rows->letter ? '-' : ' ',
                 rows->letter ? rows->letter : ' ', rows->letter ? ", " : "  ", rows->name,
                 rows->value ? " " : "", rows->value ? rows->value : "");
        printf("  %-34s %s\n", left, rows->help);
    }
}

void usage_print(const struct command *command)
{
    if (command) {
        printf("usage: grivet %s %s%s[option...]\n\n%s\n", command->name, command->arguments,
               *command->arguments ? " " : "", command->summary);
        if (!command->run_raw) {
            printf("\n");
            print_options(command_options(command));
            print_options(common_options);
        }
        return;
    }
    printf("usage: grivet COMMAND [argument...] [option...]\n\nSigned, time-boxed outages, and proof of "
           "recovery.\n\n");
    for (command = commands; command->name; command++)
        printf("  %-11s %s\n", command->name, command->summary);
    printf("\ngrivet COMMAND --help says more. Exit codes: 0 met or done, 1 error, 2 usage, 3 missed, 4 "
           "unknown, "
           "5 refused, 6 halted.\n");
}

void completion_print(void)
{
    printf("# bash completion for grivet: eval \"$(grivet completion bash)\"\n_grivet() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} words\n    case $COMP_CWORD:${COMP_WORDS[1]} in\n    "
           "1:*) words='");
    for (const struct command *command = commands; command->name; command++)
        printf("%s ", command->name);
    printf("--help --version' ;;\n");
    for (const struct command *command = commands; command->name; command++) {
        printf("    *:%s) words='", command->name);
        for (const struct option_row *row = command_options(command); row->name; row++)
            printf("--%s ", row->name);
        for (const struct option_row *row = common_options; row->name && !command->run_raw; row++)
            printf("--%s ", row->name);
        printf("' ;;\n");
    }
    printf("    esac\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
           "complete -o default -F _grivet grivet\n");
}

int command_completion(const struct call *call, struct error *error)
{
    if (strcmp(call->arguments[0], "bash") != 0)
        return error_set(error, EBADRQC, "completion: only bash is known");
    completion_print();
    return EXIT_MET;
}
