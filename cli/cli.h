/* What the commands share: rows of the table, the arguments of one call, exit codes, output. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "common/key.h"

enum exit_code {
    EXIT_MET = 0, /* or done */
    EXIT_ERROR = 1,
    EXIT_USAGE = 2,
    EXIT_MISSED = 3,
    EXIT_UNKNOWN = 4,
    EXIT_REFUSED = 5,
    EXIT_HALTED = 6,
};

#define CALL_ARGUMENTS_MAX 4
#define CALL_OPTIONS_MAX   40

/**
 * struct option_row - one option of a command; every command also has --help, --config and -o
 * @letter: 0 = no short form; @value: name of its value, NULL = a switch; @is_required: a call without it is
 *          a mistake
 * @min, @max: of a number, @max 0 = it is none; @fallback: what it is when it is not given
 */
struct option_row {
    const char *name;
    char letter;
    const char *value, *help;
    bool is_required;
    int64_t min, max, fallback;
};

struct call;

/**
 * struct command - one row of the table in main.c: parsing, usage and completion come from it
 * @arguments: as the usage shows them; between @min and @max of them
 * @run: Return: exit code >= 0, or -errno with the words that main() prints: -EKEYREJECTED for what was
 *       refused, -EBADRQC for a mistake on the command line
 * @options: ended by a row without name, NULL = none
 */
struct command {
    const char *name, *arguments, *summary;
    int min, max;
    const struct option_row *options;
    int (*run)(const struct call *call, struct error *error);
};

/** struct call - the decoded command line; @options as they were given, @value "" for a switch */
struct call {
    const struct command *command;
    const char *config;
    bool is_json;
    int n_arguments, n_options;
    const char *arguments[CALL_ARGUMENTS_MAX];
    struct {
        const char *name, *value;
    } options[CALL_OPTIONS_MAX];
};

extern const struct command commands[]; /* ended by a row without name */

/* options.c */
/** call_parse() - @argv[0] is the command's name. Return: 0, -EBADRQC, 1 = help was printed */
int call_parse(struct call *ret, const struct command *command, int argc, char **argv, struct error *error);
/** call_option() - the value that was given last, NULL = not given */
const char *call_option(const struct call *call, const char *name);
/** call_number() - the value of an option whose row says that it is a number */
int64_t call_number(const struct call *call, const char *name);
/** call_labels() - every --label KEY=VALUE[,...] as a map, owned by the caller */
int call_labels(const struct call *call, json_t **ret, struct error *error);
/** usage_print() - of one command, or the whole table for NULL */
void usage_print(const struct command *command);

/* output.c */
/**
 * struct column - one column of a table
 * @key: of the row, "a.b" = of an object in it, NULL = the whole row
 * @format: writes the value in words; @all: what output_table() was given; NULL = json_format()
 * @absent: where there is none, NULL = "-"
 */
struct column {
    const char *head, *key;
    void (*format)(FILE *out, const json_t *value, const json_t *all);
    const char *absent;
};

/** output_json() - to stdout, indented: all that a command prints there under -o json. Return: EXIT_MET */
int output_json(const json_t *json);
/** output_new_json() - the same for what has just been made: @json is taken; NULL = out of memory */
int output_new_json(json_t *json, struct error *error);
/** output_tree() - an object as lines of `key: value`, in the order it has, by @indent spaces */
void output_tree(FILE *out, const json_t *json, int indent);
/** output_table() - objects as rows under @columns (ended by one without head), as wide as they must be;
 * heads in bold on a terminal; @title (NULL = none) and heads only where there are rows or no title */
void output_table(const char *title, const struct column *columns, const json_t *rows, const json_t *all);
/** json_format() - strings and numbers as they are, yes and no, `a, b`, `key=value,...` */
void json_format(FILE *out, const json_t *value, const json_t *all);
/** format_wanted() - yes or NO; format_unwanted() - YES or no */
void format_wanted(FILE *out, const json_t *value, const json_t *all);
void format_unwanted(FILE *out, const json_t *value, const json_t *all);
/** format_clock() - `offset ± bound` in milliseconds */
void format_clock(FILE *out, const json_t *clock, const json_t *all);
/** format_time() - HH:MM:SS of an RFC 3339 time, for people in the middle of things; "-" for none */
void format_time(FILE *out, const json_t *value, const json_t *all);

/** json_make_printable() - control characters in strings become `?`: what hosts and balancers said must not
 * steer a terminal */
void json_make_printable(json_t *json);
/** json_text() - the string at @key, "-" if there is none */
const char *json_text(const json_t *json, const char *key);
long long json_number(const json_t *json, const char *key);
bool terminal_is_interactive(void);
/** terminal_ask() - a line of an answer into @ret; -ENOTTY without a terminal */
int terminal_ask(const char *question, char *ret, size_t size, struct error *error);
/** terminal_ask_passphrase() - the same, unseen */
int terminal_ask_passphrase(const char *question, char *ret, size_t size, struct error *error);

/** signing_key_load() - a key file, with its passphrase (asked, or --passphrase-file) if it is sealed */
int signing_key_load(const struct call *call, const char *path, struct secret_key **ret, struct error *error);

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
int command_join(const struct call *call, struct error *error);
int command_wait_ready(const struct call *call, struct error *error);
int command_completion(const struct call *call, struct error *error);
