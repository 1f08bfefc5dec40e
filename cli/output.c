/* Output of commands: JSON, tables, times. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define COLUMNS_MAX 10

int output_json(json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2));
    printf("\n");
    json_decref(json);
    return EXIT_MET;
}

static size_t measure(const char *const *heads, const json_t *rows, int widths[COLUMNS_MAX])
{
    size_t count = 0, index;
    const json_t *row;

    for (; count < COLUMNS_MAX && heads[count]; count++)
        widths[count] = strlen(heads[count]);
    json_array_foreach((json_t *)rows, index, row) for (size_t i = 0; i < count; i++)
    {
        int length = json_string_length(json_array_get(row, i));

        widths[i] = length > widths[i] ? length : widths[i];
    }
    return count;
}

void output_table(const char *const *heads, const json_t *rows)
{
    bool is_bold = isatty(STDOUT_FILENO);
    int widths[COLUMNS_MAX];
    size_t count = measure(heads, rows, widths), index;
    const json_t *row;

    printf("%s", is_bold ? "\033[1m" : "");
    for (size_t i = 0; i < count; i++)
        printf("%-*s%s", i + 1 < count ? widths[i] : 0, heads[i], i + 1 < count ? "  " : "");
    printf("%s\n", is_bold ? "\033[0m" : "");
    json_array_foreach((json_t *)rows, index, row)
    {
        for (size_t i = 0; i < count; i++)
            printf("%-*s%s", i + 1 < count ? widths[i] : 0, json_string_value(json_array_get(row, i)),
                   i + 1 < count ? "  " : "");
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

const char *time_short(const char *text, char ret[16])
{
    if (!text || strlen(text) < 19)
        return "-";
    snprintf(ret, 16, "%.8s", text + 11);
    return ret;
}
