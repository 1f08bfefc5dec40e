/* What people see and are asked: JSON, tables, words; questions at the terminal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

#define COLUMNS_MAX 10

int output_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    return EXIT_MET;
}

static void print_leaf(const json_t *value, const char *before)
{
    _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    printf("%s%s", before, json_is_string(value) ? json_string_value(value) : text);
}

static void print_value(const json_t *value, int indent)
{
    bool has_objects = json_is_object(json_array_get(value, 0));
    const json_t *item;
    size_t index;

    if (json_is_object(value)) {
        printf("\n");
        output_tree(value, indent);
        return;
    }
    printf("%s", has_objects ? "\n" : "");
    json_array_foreach((json_t *)value, index, item)
    {
        if (!has_objects) {
            print_leaf(item, index ? ", " : " ");
            continue;
        }
        printf("%*s-", indent, "");
        print_value(item, indent + 2);
    }
    if (!json_is_array(value))
        print_leaf(value, " ");
    printf("%s", has_objects ? "" : "\n");
}

void output_tree(const json_t *json, int indent)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)json, key, value)
    {
        printf("%*s%s:", indent, "", key);
        print_value(value, indent + 2);
    }
}

/* Appends, with @separator unless it is the first. */
static void add_word(char ret[CELL_BYTES_MAX], const char *separator, const char *key, const char *word)
{
    size_t length = strlen(ret);

    snprintf(ret + length, CELL_BYTES_MAX - length, "%s%s%s%s", length ? separator : "", key, *key ? "=" : "",
             word ? word : "?");
}

void json_format(char ret[CELL_BYTES_MAX], const json_t *value, const json_t *all)
{
    const json_t *child;
    const char *key;
    size_t index;

    *ret = '\0';
    if (json_is_string(value))
        snprintf(ret, CELL_BYTES_MAX, "%s", json_string_value(value));
    else if (json_is_boolean(value))
        snprintf(ret, CELL_BYTES_MAX, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_number(value))
        snprintf(ret, CELL_BYTES_MAX, "%.15g", json_number_value(value));
    json_array_foreach((json_t *)value, index, child) add_word(ret, ", ", "", json_string_value(child));
    json_object_foreach((json_t *)value, key, child) add_word(ret, ",", key, json_string_value(child));
}

void format_wanted(char ret[CELL_BYTES_MAX], const json_t *value, const json_t *all)
{
    strcpy(ret, json_is_true(value) ? "yes" : "NO");
}

void format_unwanted(char ret[CELL_BYTES_MAX], const json_t *value, const json_t *all)
{
    strcpy(ret, json_is_true(value) ? "YES" : "no");
}

void format_clock(char ret[CELL_BYTES_MAX], const json_t *clock, const json_t *all)
{
    const json_t *offset = json_object_get(clock, "offset_usec");

    if (json_is_number(offset))
        snprintf(ret, CELL_BYTES_MAX, "%+.3f ± %.3f", json_number_value(offset) / 1000,
                 json_number_value(json_object_get(clock, "bound_usec")) / 1000);
    else
        strcpy(ret, "-");
}

/* By a key, or by two with a dot between them. */
static const json_t *find(const json_t *row, const char *key)
{
    const char *dot = strchr(key, '.');

    return dot ? find(json_object_getn(row, key, dot - key), dot + 1) : json_object_get(row, key);
}

static void format_cell(char ret[CELL_BYTES_MAX], const struct column *column, const json_t *row,
                        const json_t *all)
{
    const json_t *value = column->key ? find(row, column->key) : row;

    if (!value || json_is_null(value))
        snprintf(ret, CELL_BYTES_MAX, "%s", column->absent ? column->absent : "-");
    else
        (column->format ? column->format : json_format)(ret, value, all);
}

static void measure(const struct column *columns, const json_t *rows, const json_t *all,
                    int widths[COLUMNS_MAX])
{
    char text[CELL_BYTES_MAX];
    const json_t *row;
    size_t index;

    for (int i = 0; columns[i].head; i++) {
        widths[i] = strlen(columns[i].head);
        json_array_foreach((json_t *)rows, index, row)
        {
            format_cell(text, &columns[i], row, all);
            widths[i] = (int)strlen(text) > widths[i] ? (int)strlen(text) : widths[i];
        }
        if (!columns[i + 1].head)
            widths[i] = 0; /* nothing follows that has to be lined up */
    }
}

void output_table(const char *title, const struct column *columns, const json_t *rows, const json_t *all)
{
    bool is_bold = isatty(STDOUT_FILENO);
    char text[CELL_BYTES_MAX];
    int widths[COLUMNS_MAX];
    const json_t *row;
    size_t index;

    if (title && !json_array_size(rows))
        return;
    measure(columns, rows, all, widths);
    printf("%s%s", title ? title : "", is_bold ? "\033[1m" : "");
    for (int i = 0; columns[i].head; i++)
        printf("%-*s%s", widths[i], columns[i].head, columns[i + 1].head ? "  " : "");
    printf("%s\n", is_bold ? "\033[0m" : "");
    json_array_foreach((json_t *)rows, index, row)
    {
        for (int i = 0; columns[i].head; i++) {
            format_cell(text, &columns[i], row, all);
            printf("%-*s%s", widths[i], text, columns[i + 1].head ? "  " : "");
        }
        printf("\n");
    }
}

static void string_make_printable(json_t *string)
{
    _cleanup_free_ char *text = strdup(json_string_value(string));

    for (char *at = text; at && *at; at++)
        if ((unsigned char)*at < ' ' || *at == 0x7f)
            *at = '?';
    if (text)
        json_string_set(string, text);
}

void json_make_printable(json_t *json)
{
    const char *key;
    json_t *child;
    size_t index;

    json_object_foreach(json, key, child) json_make_printable(child);
    json_array_foreach(json, index, child) json_make_printable(child);
    if (json_is_string(json))
        string_make_printable(json);
}

const char *json_text(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));

    return text ? text : "-";
}

long long json_number(const json_t *json, const char *key)
{
    return json_integer_value(json_object_get(json, key));
}

void format_time(char ret[CELL_BYTES_MAX], const json_t *value, const json_t *all)
{
    const char *text = json_string_value(value);

    snprintf(ret, CELL_BYTES_MAX, "%.8s", text && strlen(text) >= 19 ? text + 11 : "-");
}

bool terminal_is_interactive(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int terminal_ask(const char *question, char *ret, size_t size, struct error *error)
{
    if (!terminal_is_interactive())
        return error_set(error, ENOTTY, "there is no terminal to ask on: %s", question);
    fprintf(stderr, "%s ", question);
    if (!fgets(ret, size, stdin))
        return error_set(error, ECANCELED, "no answer");
    ret[strcspn(ret, "\n")] = '\0';
    return 0;
}

int terminal_ask_passphrase(const char *question, char *ret, size_t size, struct error *error)
{
    struct termios before, quiet;
    int r;

    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return error_set(error, ENOTTY,
                         "there is no terminal to ask for a passphrase; see --passphrase-file");
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    r = terminal_ask(question, ret, size, error);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    return r;
}
