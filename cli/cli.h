/* What the commands share: rows of the table, the arguments of one call, exit codes, output. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/error.h"

enum exit_code {
    EXIT_MET = 0, /* or done */
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_MISSED = 3,
    EXIT_UNKNOWN = 4,
    EXIT_REFUSED = 5,
    EXIT_HALTED = 6,
};

#define CLI_OPTIONS_MAX        8
#define CLI_ARGUMENTS_MAX      4
#define MANDATE_FILE_BYTES_MAX (16 << 20)

/**
 * struct option_row - one option of a command; every command also has --help, --config and -o
 * @letter: 0 = no short form; @value: name of its value, NULL = a switch
 */
struct option_row {
    const char *name;
    char letter;
    const char *value, *help;
};

struct call;

/**
 * struct command - one row of the table in main.c
 * @arguments: as the usage shows them; between @min and @max of them
 * @run: Return: exit code >= 0, or -errno with the words that main() prints: -EKEYREJECTED for what was
 *       refused, -EBADRQC for a mistake on the command line
 * @run_raw: instead of @run: reads its arguments by itself
 */
struct command {
    const char *name, *arguments, *summary;
    int min, max;
    const struct option_row *options; /* ended by a row without name, NULL = none */
    int (*run)(const struct call *call, struct error *error);
    int (*run_raw)(int argc, char **argv);
};

/** struct call - the decoded command line; @values in the order of the command's options, NULL = not given
 * ("" for a switch) */
struct call {
    const struct command *command;
    const char *config;
    bool is_json;
    int n_arguments;
    const char *arguments[CLI_ARGUMENTS_MAX];
    const char *values[CLI_OPTIONS_MAX];
};

extern const struct command commands[]; /* ended by a row without name */

/* options.c */
/** call_parse() - @argv[0] is the command's name. Return: 0, -EINVAL (said on stderr), 1 = help was printed
 */
int call_parse(struct call *ret, const struct command *command, int argc, char **argv);
const char *call_option(const struct call *call, const char *name);
/** call_integer() - the option's value within @min..@max, @fallback when it is not given */
int call_integer(const struct call *call, const char *name, int64_t min, int64_t max, int64_t fallback,
                 int64_t *ret, struct error *error);
/** usage_print() - of one command, or the whole table for NULL */
void usage_print(const struct command *command);
/** completion_print() - a bash script, from the same table */
void completion_print(void);

/* output.c */
/** output_json() - to stdout, indented; takes over the reference. Return: EXIT_MET */
int output_json(json_t *json);
/** output_table() - rows (list of lists of strings) under @heads, columns as wide as they must be; heads in
 * bold on a terminal */
void output_table(const char *const *heads, const json_t *rows);
/** json_make_printable() - control characters in strings become `?`: what hosts and balancers said must not
 * steer a terminal */
void json_make_printable(json_t *json);
/** json_text() - the string at @key, "-" if there is none */
const char *json_text(const json_t *json, const char *key);
/** time_short() - HH:MM:SS of an RFC 3339 time, for people in the middle of things; "-" for none */
const char *time_short(const char *text, char ret[16]);

/* terminal.c */
bool terminal_is_interactive(void);
/** terminal_ask() - a line of an answer into @ret; -ENOTTY without a terminal */
int terminal_ask(const char *question, char *ret, size_t size, struct error *error);
/** terminal_ask_passphrase() - the same, unseen */
int terminal_ask_passphrase(const char *question, char *ret, size_t size, struct error *error);

/* The commands, a file each. */
int command_key(const struct call *call, struct error *error);
int command_init(const struct call *call, struct error *error);
int command_plan(const struct call *call, struct error *error);
int command_sign(const struct call *call, struct error *error);
int command_verify(const struct call *call, struct error *error);
int command_run(const struct call *call, struct error *error);
int command_status(const struct call *call, struct error *error);
int command_halt(const struct call *call, struct error *error);
int command_report(const struct call *call, struct error *error);
int command_faults(const struct call *call, struct error *error);
int command_doctor(const struct call *call, struct error *error);
int command_hosts(const struct call *call, struct error *error);
int command_token(const struct call *call, struct error *error);
int command_wait_ready(const struct call *call, struct error *error);
int command_completion(const struct call *call, struct error *error);
