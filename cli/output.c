/* What people see and are asked: JSON, tables, words; questions at the terminal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

#define COLUMNS_MAX     10
#define LIST_SPREAD_MAX 4 /* of more objects than that, each is a line of JSON */

int output_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    return EXIT_MET;
}

int output_new_json(json_t *json, struct error *error)
{
    int r = json ? output_json(json) : error_oom(error);

    json_decref(json);
    return r;
}

static void print_value(FILE *out, const json_t *value, int indent)
{
    const json_t *item;
    size_t index;

    if (json_is_object(value)) {
        fprintf(out, "\n");
        output_tree(out, value, indent);
        return;
    }
    if (!json_is_object(json_array_get(value, 0))) {
        fprintf(out, " ");
        json_format(out, value, NULL);
    }
    fprintf(out, "\n");
    json_array_foreach((json_t *)value, index, item) if (json_is_object(item))
    {
        fprintf(out, "%*s- ", indent, "");
        if (json_array_size(value) <= LIST_SPREAD_MAX) {
            print_value(out, item, indent + 2);
        } else {
            json_dumpf(item, out, 0);
            fprintf(out, "\n");
        }
    }
}

void output_tree(FILE *out, const json_t *json, int indent)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)json, key, value)
    {
        fprintf(out, "%*s%s:", indent, "", key);
        print_value(out, value, indent + 2);
    }
}

void json_format(FILE *out, const json_t *value, const json_t *all)
{
    _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const json_t *child;
    const char *key;
    size_t index;
    int count = 0;

    if (json_is_string(value))
        fprintf(out, "%s", json_string_value(value));
    else if (!json_is_object(value) && !json_is_array(value))
        fprintf(out, "%s", text ? text : "-");
    json_array_foreach((json_t *)value, index, child)
    {
        fprintf(out, "%s", index ? ", " : "");
        json_format(out, child, all);
    }
    json_object_foreach((json_t *)value, key, child)
    {
        fprintf(out, "%s%s=", count++ ? "," : "", key);
        json_format(out, child, all);
    }
}

void format_wanted(FILE *out, const json_t *value, const json_t *all)
{
    fprintf(out, "%s", json_is_true(value) ? "yes" : "NO");
}

void format_unwanted(FILE *out, const json_t *value, const json_t *all)
{
    fprintf(out, "%s", json_is_true(value) ? "YES" : "no");
}

void format_clock(FILE *out, const json_t *clock, const json_t *all)
{
    const json_t *offset = json_object_get(clock, "offset_usec");

    if (json_is_number(offset))
        fprintf(out, "%+.3f ± %.3f", json_number_value(offset) / 1000,
                json_number_value(json_object_get(clock, "bound_usec")) / 1000);
    else
        fprintf(out, "-");
}

void format_time(FILE *out, const json_t *value, const json_t *all)
{
    const char *text = json_string_value(value);

    fprintf(out, "%.8s", text && strlen(text) >= 19 ? text + 11 : "-");
}

/* By a key, or by two with a dot between them. */
static const json_t *find(const json_t *row, const char *key)
{
    const char *dot = strchr(key, '.');

    return dot ? find(json_object_getn(row, key, dot - key), dot + 1) : json_object_get(row, key);
}

/* Return: the cell as a JSON string */
static json_t *format_cell(const struct column *column, const json_t *row, const json_t *all)
{
    const json_t *value = column->key ? find(row, column->key) : row;
    _cleanup_free_ char *text = NULL;
    size_t length;
    FILE *out = open_memstream(&text, &length);

    if (!out)
        return json_string("?");
    if (!value || json_is_null(value))
        fprintf(out, "%s", column->absent ? column->absent : "-");
    else
        (column->format ? column->format : json_format)(out, value, all);
    fclose(out);
    return json_string(text);
}

static void print_row(const json_t *cells, const int *widths, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        printf("%-*s  ", widths[i], json_string_value(json_array_get(cells, i)));
    printf("%s\n", json_string_value(json_array_get(cells, count - 1)));
}

void output_table(const char *title, const struct column *columns, const json_t *rows, const json_t *all)
{
    json_auto_t *table = json_array(), *heads = json_array();
    const char *bold = isatty(STDOUT_FILENO) ? "\033[1m" : "";
    int widths[COLUMNS_MAX];
    size_t count, index;
    const json_t *row;

    if (title && !json_array_size(rows))
        return;
    json_array_foreach((json_t *)rows, index, row) json_array_append_new(table, json_array());
    for (count = 0; columns[count].head; count++) {
        json_array_append_new(heads, json_string(columns[count].head));
        widths[count] = strlen(columns[count].head);
        json_array_foreach((json_t *)rows, index, row)
        {
            json_t *cell = format_cell(&columns[count], row, all);
            int length = json_string_length(cell);

            widths[count] = length > widths[count] ? length : widths[count];
            json_array_append_new(json_array_get(table, index), cell);
        }
    }
    printf("%s%s", title ? title : "", bold);
    print_row(heads, widths, count);
    printf("%s", *bold ? "\033[0m" : "");
    json_array_foreach(table, index, row) print_row(row, widths, count);
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
    setvbuf(stdin, NULL, _IONBF, 0); /* no second copy that nobody wipes */
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    r = terminal_ask(question, ret, size, error);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    return r;
}
