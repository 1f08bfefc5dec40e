/* From a map of a document into a struct, by a table of fields: see document.h. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

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

static int target_require(const struct target *target, enum document_type type)
{
    if (target->node->type == type)
        return 0;
    return node_error(target->document, target->node, target->error, "expected %s, got %s", type_names[type],
                      type_names[target->node->type]);
}

static int decode_boolean(const struct target *target)
{
    int r = target_require(target, DOCUMENT_BOOLEAN);

    if (r == 0)
        *(bool *)target->value = target->node->boolean;
    return r;
}

/* A row without min and max takes every integer. */
static int decode_integer(const struct target *target)
{
    const struct field *field = target->field;
    int r = target_require(target, DOCUMENT_INTEGER);

    if (r < 0)
        return r;
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
    int64_t max = field->max ? field->max : STRING_BYTES_MAX, length;
    int r = target_require(target, DOCUMENT_STRING);

    if (r < 0)
        return r;
    length = strlen(target->node->string);
    if (length < field->min || length > max)
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " bytes long; expected %" PRId64 " to %" PRId64, length, field->min,
                          max);
    *(const char **)target->value = target->node->string;
    return 0;
}

/* A string that @is_valid takes; @expected describes those. */
static int decode_pattern(const struct target *target, bool (*is_valid)(const char *text),
                          const char *expected)
{
    int r = target_require(target, DOCUMENT_STRING);

    if (r < 0)
        return r;
    if (!is_valid(target->node->string))
        return node_error(target->document, target->node, target->error, "'%.80s' is not %s",
                          target->node->string, expected);
    *(const char **)target->value = target->node->string;
    return 0;
}

static int decode_name(const struct target *target)
{
    return decode_pattern(target, node_name_is_valid,
                          "a name (a-z, 0-9 first; then also . _ -; at most 63 characters)");
}

static int decode_uuid(const struct target *target)
{
    return decode_pattern(target, uuid_is_valid, "a UUID in lower case");
}

static bool hash_is_valid(const char *text)
{
    return strlen(text) == 64 && strspn(text, "0123456789abcdef") == 64;
}

static int decode_hash(const struct target *target)
{
    return decode_pattern(target, hash_is_valid, "a hash (64 lower-case hexadecimal digits)");
}

static int decode_time(const struct target *target)
{
    int r = target_require(target, DOCUMENT_STRING);

    if (r < 0)
        return r;
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

static int decode_children(const struct target *target, enum document_type type)
{
    const struct field *field = target->field;
    int64_t count = target->node->count;
    int r = target_require(target, type);

    if (r < 0)
        return r;
    if (count < field->min)
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " entries; expected at least %" PRId64, count, field->min);
    if (field->max && count > field->max)
        return node_error(target->document, target->node, target->error,
                          "%" PRId64 " entries; expected at most %" PRId64, count, field->max);
    return decode_node(target);
}

static int decode_list(const struct target *target)
{
    return decode_children(target, DOCUMENT_LIST);
}

static int decode_map(const struct target *target)
{
    return decode_children(target, DOCUMENT_MAP);
}

static int (*const decoders[])(const struct target *target) = {
    [FIELD_BOOLEAN] = decode_boolean, [FIELD_INTEGER] = decode_integer, [FIELD_STRING] = decode_string,
    [FIELD_NAME] = decode_name,       [FIELD_UUID] = decode_uuid,       [FIELD_HASH] = decode_hash,
    [FIELD_TIME] = decode_time,       [FIELD_NODE] = decode_node,       [FIELD_LIST] = decode_list,
    [FIELD_MAP] = decode_map,
};

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
        if (!field->key)
            return refuse_unknown(document, child, fields, error);
    }
    return 0;
}

int node_decode(const struct document *document, const struct node *node, const struct field *fields,
                void *ret, struct error *error)
{
    int r;

    if (node->type != DOCUMENT_MAP)
        return node_error(document, node, error, "expected a map, got %s", type_names[node->type]);
    r = check_known(document, node, fields, error);
    for (; r == 0 && fields->key; fields++) {
        struct target target = {document, node_get(node, fields->key), fields, (char *)ret + fields->offset,
                                error};

        if (target.node)
            r = decoders[fields->type](&target);
        else if (fields->is_required)
            r = node_error(document, node, error, "'%s' is missing", fields->key);
    }
    return r;
}

bool node_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    return length >= 1 && length <= 63 && !strchr("._-", name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == length;
}
