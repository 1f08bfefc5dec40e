/* Finding faults by name, and their parameters by table: see fault.h. */
#include "fault.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define USER_NAME_MAX 32 /* of useradd(8) */

/* What decoding one parameter needs to know. */
struct decoder {
    const struct document *document;
    const struct mandate *mandate;
    const struct fault_parameter *row;
    const struct node *node;
    void *target;
};

const struct fault *fault_find(const char *name)
{
    for (const struct fault *const *fault = fault_registry; *fault; fault++)
        if (strcmp((*fault)->name, name) == 0)
            return *fault;
    return NULL;
}

static int find_choice(const struct fault_parameter *row, const char *text)
{
    int i = 0;

    while (row->choices[i] && strcmp(row->choices[i], text) != 0)
        i++;
    return i;
}

static int finish_choice(const struct decoder *decoder, struct error *error)
{
    *(int *)decoder->target = find_choice(decoder->row, decoder->node->string);
    return 0;
}

static int finish_cidrs(const struct decoder *decoder, struct error *error)
{
    struct parameter_cidrs *ret = decoder->target;
    int r = node_cidrs(decoder->document, decoder->node, &ret->cidrs, &ret->count, error);

    if (r == 0)
        ret->count = cidr_merge(ret->cidrs, ret->count);
    return r;
}

static bool parse_ports(const struct node *entry, struct port_range *ret)
{
    unsigned int from = 0, to = 0;
    int end = 0;

    if (entry->type == DOCUMENT_INTEGER && entry->integer >= 1 && entry->integer <= UINT16_MAX)
        from = to = entry->integer;
    else if (entry->type == DOCUMENT_STRING &&
             strspn(entry->string, "0123456789-") == strlen(entry->string) &&
             (sscanf(entry->string, "%5u-%5u%n", &from, &to, &end) != 2 || entry->string[end]))
        return false;
    *ret = (struct port_range){from, to};
    return from >= 1 && from <= to && to <= UINT16_MAX;
}

static int compare_ports(const void *left, const void *right)
{
    return (int)((const struct port_range *)left)->from - ((const struct port_range *)right)->from;
}

/* Sorts, and joins what overlaps or touches: the kernel refuses overlaps. */
static size_t merge_ports(struct port_range *ranges, size_t count)
{
    size_t kept = 0;

    qsort(ranges, count, sizeof(*ranges), compare_ports);
    for (size_t i = 0; i < count; i++) {
        if (!kept || ranges[i].from > ranges[kept - 1].to + 1)
            ranges[kept++] = ranges[i];
        else if (ranges[i].to > ranges[kept - 1].to)
            ranges[kept - 1].to = ranges[i].to;
    }
    return kept;
}

static int finish_ports(const struct decoder *decoder, struct error *error)
{
    struct parameter_ports *ret = decoder->target;

    ret->ranges = document_allocate(decoder->document, decoder->node->count, sizeof(*ret->ranges));
    if (!ret->ranges)
        return error_oom(error);
    for (const struct node *entry = decoder->node->first; entry; entry = entry->next)
        if (!parse_ports(entry, &ret->ranges[ret->count++]))
            return node_error(decoder->document, entry, error,
                              "expected a port from 1 to 65535, or \"from-to\"");
    ret->count = merge_ports(ret->ranges, ret->count);
    return 0;
}

static int finish_zone(const struct decoder *decoder, struct error *error)
{
    *(const char **)decoder->target = decoder->node->string;
    if (decoder->mandate && !mandate_zone(decoder->mandate, decoder->node->string))
        return node_error(decoder->document, decoder->node, error,
                          "unknown zone '%s': the mandate's zones don't name it", decoder->node->string);
    return 0;
}

static int finish_regex(const struct decoder *decoder, struct error *error)
{
    char words[128];
    regex_t regex;
    int code = regcomp(&regex, decoder->node->string, REG_EXTENDED | REG_NOSUB);

    *(const char **)decoder->target = decoder->node->string;
    if (code) {
        regerror(code, &regex, words, sizeof(words));
        return node_error(decoder->document, decoder->node, error, "not a regular expression: %s", words);
    }
    regfree(&regex);
    return 0;
}

/* A name that /etc/passwd could have, and that is no number. */
static bool is_user_name(const char *text)
{
    size_t length = strlen(text);

    return length && length <= USER_NAME_MAX && strcspn(text, ":/ \t\n") == length &&
           strspn(text, "0123456789") < length;
}

/* Whether there is such a name only its host can tell. (uid_t)-1 is nobody's: it means "leave it" in calls.
 */
static int finish_user(const struct decoder *decoder, struct error *error)
{
    struct parameter_user *ret = decoder->target;
    const struct node *node = decoder->node;
    bool is_number = node->type == DOCUMENT_INTEGER && node->integer >= 0 && node->integer < (uid_t)-1;
    bool is_name = node->type == DOCUMENT_STRING && is_user_name(node->string);

    if (!is_number && !is_name)
        return node_error(decoder->document, node, error,
                          "expected a user's name, or a number from 0 to 4294967294");
    *ret = (struct parameter_user){true, is_name ? node->string : NULL, is_number ? (uid_t)node->integer : 0};
    return 0;
}

/* What rows of other tables can say is checked by their means; @finish then makes the value, where that is
 * another. */
static const struct {
    enum field_type type;
    int (*finish)(const struct decoder *decoder, struct error *error);
} kinds[] = {
    [PARAMETER_INTEGER] = {FIELD_INTEGER},
    [PARAMETER_STRING] = {FIELD_STRING},
    [PARAMETER_CHOICE] = {FIELD_CHOICE, finish_choice},
    [PARAMETER_CIDRS] = {FIELD_LIST, finish_cidrs},
    [PARAMETER_PORTS] = {FIELD_LIST, finish_ports},
    [PARAMETER_ZONE] = {FIELD_STRING, finish_zone},
    [PARAMETER_REGEX] = {FIELD_STRING, finish_regex},
    [PARAMETER_USER] = {FIELD_NODE, finish_user},
};

static int decode_parameter(const struct decoder *decoder, struct error *error)
{
    const struct fault_parameter *row = decoder->row;
    struct field field = {
        .type = kinds[row->type].type, .min = row->min, .max = row->max, .choices = row->choices};
    int64_t checked; /* room for whatever a field may be */
    int r = node_decode_value(decoder->document, decoder->node, &field,
                              kinds[row->type].finish ? (void *)&checked : decoder->target, error);

    return r == 0 && kinds[row->type].finish ? kinds[row->type].finish(decoder, error) : r;
}

/* Defaults are text in the descriptor: the registry's own tables, so they need no located errors. */
static void set_fallback(const struct fault_parameter *row, void *target)
{
    if (!row->fallback)
        return;
    if (row->type == PARAMETER_INTEGER)
        *(int64_t *)target = strtoll(row->fallback, NULL, 10);
    else if (row->type == PARAMETER_CHOICE)
        *(int *)target = find_choice(row, row->fallback);
    else
        *(const char **)target = row->fallback;
}

static const struct fault_parameter *find_row(const struct fault *fault, const char *name)
{
    for (const struct fault_parameter *row = fault->parameters; row->name; row++)
        if (strcmp(row->name, name) == 0)
            return row;
    return NULL;
}

static int decode_rows(const struct fault *fault, struct decoder *decoder, const struct node *map,
                       uint8_t *memory, struct error *error)
{
    for (const struct node *entry = map->first; entry; entry = entry->next)
        if (!find_row(fault, entry->key))
            return node_error(decoder->document, entry, error, "unknown parameter of %s", fault->name);
    for (const struct fault_parameter *row = fault->parameters; row->name; row++) {
        int r = 0;

        decoder->row = row;
        decoder->node = node_get(map, row->name);
        decoder->target = memory + row->offset;
        if (decoder->node)
            r = decode_parameter(decoder, error);
        else if (!row->fallback && !row->is_optional)
            return node_error(decoder->document, map, error, "%s needs '%s': %s", fault->name, row->name,
                              row->help);
        else
            set_fallback(row, decoder->target);
        if (r < 0)
            return r;
    }
    return 0;
}

int fault_decode_parameters(const struct fault *fault, const struct document *document,
                            const struct node *node, const struct mandate *mandate, const void **ret,
                            struct error *error)
{
    struct decoder decoder = {.document = document, .mandate = mandate};
    struct error words;
    void *memory;
    int r;

    if (!node || node->type != DOCUMENT_MAP)
        return node ? node_error(document, node, error, "expected a map of parameters")
                    : error_set(error, EINVAL, "%s: no parameters", fault->name);
    memory = document_allocate(document, 1, fault->parameters_size);
    if (!memory)
        return error_oom(error);
    r = decode_rows(fault, &decoder, node, memory, error);
    if (r == 0 && fault->check && fault->check(memory, mandate, &words) < 0)
        r = node_error(document, node, error, "%s", words.text);
    if (r == 0)
        *ret = memory;
    return r;
}
