/* From a map of a document into a struct, by a table of fields: see document.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cidr.h"
#include "document.h"
#include "times.h"

#define STRING_BYTES_MAX 4096

struct target {
    const struct document *document;
    const struct node *node;
    const struct field *field;
    void *value;
    struct error *error;
};

static const char *const type_names[] = {
    [DOCUMENT_NULL] = "nothing",       [DOCUMENT_BOOLEAN] = "true or false",
    [DOCUMENT_INTEGER] = "an integer", [DOCUMENT_REAL] = "a real number",
    [DOCUMENT_STRING] = "a string",    [DOCUMENT_LIST] = "a list",
    [DOCUMENT_MAP] = "a map",
};

static int require_type(const struct document *document, const struct node *node, enum document_type type,
                        struct error *error)
{
    if (node->type == type)
        return 0;
    return node_error(document, node, error, "expected %s, got %s", type_names[type], type_names[node->type]);
}

static int decode_boolean(const struct target *target)
{
    *(bool *)target->value = target->node->boolean;
    return 0;
}

static int decode_integer(const struct target *target)
{
    const struct field *field = target->field;

    if ((field->min || field->max) &&
        (target->node->integer < field->min || target->node->integer > field->max))
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " is out of range; expected %" PRId64 " to %" PRId64,
                          target->node->integer, field->min, field->max);
    *(int64_t *)target->value = target->node->integer;
    return 0;
}

static int decode_string(const struct target *target)
{
    const struct field *field = target->field;
    int64_t max = field->max ? field->max : STRING_BYTES_MAX, length = strlen(target->node->string);

    if (length < field->min || length > max)
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " bytes long; expected %" PRId64 " to %" PRId64, length, field->min,
                          max);
    *(const char **)target->value = target->node->string;
    return 0;
}

static bool hash_is_valid(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static const struct {
    bool (*is_valid)(const char *text);
    const char *expected;
} patterns[] = {
    [FIELD_NAME] = {node_name_is_valid, "a name (a-z, 0-9 first; then also . _ -; at most 63 characters)"},
    [FIELD_UUID] = {uuid_is_valid, "a UUID in lower case"},
    [FIELD_HASH] = {hash_is_valid, "a hash (64 lower-case hexadecimal digits)"},
};

static int decode_pattern(const struct target *target)
{
    if (!patterns[target->field->type].is_valid(target->node->string))
        return node_error(target->document, target->node, target->error, "'%.80s' is not %s",
                          target->node->string, patterns[target->field->type].expected);
    *(const char **)target->value = target->node->string;
    return 0;
}

static int decode_choice(const struct target *target)
{
    const char *const *choices = target->field->choices;
    char list[256] = "";
    size_t used = 0;

    for (; *choices; choices++) {
        if (strcmp(*choices, target->node->string) == 0) {
            if (target->field->type == FIELD_CHOICE)
                *(const char **)target->value = *choices;
            return 0;
        }
        if (used < sizeof(list))
            used += snprintf(list + used, sizeof(list) - used, "%s%s", used ? ", " : "", *choices);
    }
    return node_error(target->document, target->node, target->error, "expected %s%s",
                      target->field->type == FIELD_CHOICE ? "one of " : "", list);
}

static int decode_time(const struct target *target)
{
    if (time_parse(target->node->string, target->value) < 0)
        return node_error(target->document, target->node, target->error,
                          "'%.40s' is no time; expected 2026-01-31T12:00:00.000000Z", target->node->string);
    return 0;
}

static int decode_node(const struct target *target)
{
    *(const struct node **)target->value = target->node;
    return 0;
}

static int decode_children(const struct target *target)
{
    const struct field *field = target->field;
    int64_t count = target->node->count;

    if (count < field->min)
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " entries; expected at least %" PRId64, count, field->min);
    if (field->max && count > field->max)
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " entries; expected at most %" PRId64, count, field->max);
    return decode_node(target);
}

static int decode_names(const struct target *target)
{
    json_t *names = json_object();
    int r = names ? decode_children(target) : error_oom(target->error);

    for (const struct node *node = target->node->first; node && r == 0; node = node->next) {
        if (node->type != DOCUMENT_STRING || !node_name_is_valid(node->string))
            r = node_error(target->document, node, target->error, "expected a name");
        else if (json_object_get(names, node->string))
            r = node_error(target->document, node, target->error, "'%s' is given twice", node->string);
        else if (json_object_set(names, node->string, node->json) < 0)
            r = error_oom(target->error);
    }
    json_decref(names);
    return r;
}

static int decode_labels(const struct target *target)
{
    for (const struct node *node = target->node->first; node; node = node->next)
        if (node->type != DOCUMENT_STRING || !*node->string)
            return node_error(target->document, node, target->error, "expected a string that is not empty");
    return decode_children(target);
}

/* FIELD_NODE takes every type. */
static const struct {
    enum document_type type;
    int (*decode)(const struct target *target);
} decoders[] = {
    [FIELD_BOOLEAN] = {DOCUMENT_BOOLEAN, decode_boolean},
    [FIELD_INTEGER] = {DOCUMENT_INTEGER, decode_integer},
    [FIELD_STRING] = {DOCUMENT_STRING, decode_string},
    [FIELD_NAME] = {DOCUMENT_STRING, decode_pattern},
    [FIELD_UUID] = {DOCUMENT_STRING, decode_pattern},
    [FIELD_HASH] = {DOCUMENT_STRING, decode_pattern},
    [FIELD_CHOICE] = {DOCUMENT_STRING, decode_choice},
    [FIELD_SCHEMA] = {DOCUMENT_STRING, decode_choice},
    [FIELD_TIME] = {DOCUMENT_STRING, decode_time},
    [FIELD_NODE] = {DOCUMENT_NULL, decode_node},
    [FIELD_LIST] = {DOCUMENT_LIST, decode_children},
    [FIELD_NAMES] = {DOCUMENT_LIST, decode_names},
    [FIELD_MAP] = {DOCUMENT_MAP, decode_children},
    [FIELD_LABELS] = {DOCUMENT_MAP, decode_labels},
};

int node_decode_value(const struct document *document, const struct node *node, const struct field *field,
                      void *ret, struct error *error)
{
    int r = field->type == FIELD_NODE ? 0 : require_type(document, node, decoders[field->type].type, error);

    return r < 0 ? r : decoders[field->type].decode(&(struct target){document, node, field, ret, error});
}

static int refuse_unknown(const struct document *document, const struct node *node,
                          const struct field *fields, struct error *error)
{
    char known[256] = "";
    size_t length = 0;

    for (; fields->key && length < sizeof(known); fields++)
        length += snprintf(known + length, sizeof(known) - length, "%s%s", length ? ", " : "", fields->key);
    return node_error(document, node, error, "unknown field; expected one of %s", known);
}

static int check_known(const struct document *document, const struct node *node, const struct field *fields,
                       struct error *error)
{
    for (const struct node *child = node->first; child; child = child->next) {
        const struct field *field = fields;

        while (field->key && strcmp(field->key, child->key) != 0)
            field++;
        if (!field->key && field->type != FIELD_NODE)
            return refuse_unknown(document, child, fields, error);
    }
    return 0;
}

int node_decode(const struct document *document, const struct node *node, const struct field *fields,
                void *ret, struct error *error)
{
    int r = require_type(document, node, DOCUMENT_MAP, error);

    if (r == 0)
        r = check_known(document, node, fields, error);
    for (; r == 0 && fields->key; fields++) {
        const struct node *value = node_get(node, fields->key);

        if (value)
            r = node_decode_value(document, value, fields, (char *)ret + fields->offset, error);
        else if (fields->is_required)
            r = node_error(document, node, error, "'%s' is missing", fields->key);
    }
    return r;
}

int document_decode(struct document **ret_document, const char *name, const void *text, size_t length,
                    const struct field *fields, void *ret, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    int r = document_parse_json(&document, name, text, length, error);

    if (r == 0)
        r = node_decode(document, document_root(document), fields, ret, error);
    if (r == 0)
        *ret_document = TAKE_PTR(document);
    return r;
}

int node_cidr(const struct document *document, const struct node *node, struct cidr *ret, struct error *error)
{
    struct error why;
    int r = require_type(document, node, DOCUMENT_STRING, error);

    if (r < 0)
        return r;
    return cidr_parse(ret, node->string, &why) < 0 ? node_error(document, node, error, "%s", why.text) : 0;
}

int node_cidrs(const struct document *document, const struct node *node, struct cidr **ret, size_t *ret_count,
               struct error *error)
{
    struct cidr *cidrs = document_allocate(document, node->count, sizeof(*cidrs));
    size_t count = 0;
    int r = cidrs ? 0 : error_oom(error);

    for (const struct node *entry = node->first; entry && r == 0; entry = entry->next)
        r = node_cidr(document, entry, &cidrs[count++], error);
    *ret = cidrs;
    *ret_count = count;
    return r;
}

bool node_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    return length >= 1 && length <= 63 && !strchr("._-", name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}
