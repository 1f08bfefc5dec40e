/* The tree of a document, its memory, and errors that name a place in it: see document.h. */
#include "document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "document-build.h"
#include "io.h"
#include "times.h"

/**
 * struct document - the values as jansson has them, and a node for each that knows its place
 * @nodes: in the order of the text, the root first
 */
struct document {
    char *name;
    json_t *json;
    struct node *nodes;
    struct memory *memory;
};

/** struct memory - what others keep with a document, newest first */
struct memory {
    struct memory *next;
    max_align_t data[];
};

void places_clear(struct places *places)
{
    free(places->list);
}

/* Replaces control characters, so that a hostile text can't make more than one line. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

int place_error(const struct places *places, struct place place, struct error *error, int code,
                const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list arguments;

    if (!error)
        return -code;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    error_set(error, code, "%s:%u:%u: %s", places->name, place.line, place.column, text);
    make_printable(error->text);
    return -code;
}

int places_add(struct places *places, struct place place, unsigned int depth, struct error *error)
{
    if (depth >= DOCUMENT_DEPTH_MAX)
        return place_error(places, place, error, E2BIG, "nested deeper than %d", DOCUMENT_DEPTH_MAX);
    if (places->count == DOCUMENT_NODES_MAX)
        return place_error(places, place, error, E2BIG, "more than %d values", DOCUMENT_NODES_MAX);
    if (places->count == places->size) {
        size_t size = places->size ? 2 * places->size : 64;
        struct place *grown = reallocarray(places->list, size, sizeof(*grown));

        if (!grown)
            return error_oom(error);
        places->list = grown;
        places->size = size;
    }
    places->list[places->count++] = place;
    return 0;
}

/* Where the nodes of a document are made, one after the other. */
struct builder {
    const struct places *places;
    struct node *nodes;
    size_t count;
};

static const enum document_type types[] = {
    [JSON_OBJECT] = DOCUMENT_MAP,      [JSON_ARRAY] = DOCUMENT_LIST, [JSON_STRING] = DOCUMENT_STRING,
    [JSON_INTEGER] = DOCUMENT_INTEGER, [JSON_REAL] = DOCUMENT_REAL,  [JSON_TRUE] = DOCUMENT_BOOLEAN,
    [JSON_FALSE] = DOCUMENT_BOOLEAN,   [JSON_NULL] = DOCUMENT_NULL,
};

static void node_append(struct node *parent, struct node *node)
{
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
}

static void node_set_scalar(struct node *node)
{
    if (node->type == DOCUMENT_STRING)
        node->string = json_string_value(node->json);
    else if (node->type == DOCUMENT_INTEGER)
        node->integer = json_integer_value(node->json);
    else if (node->type == DOCUMENT_REAL)
        node->real = json_real_value(node->json);
    else
        node->boolean = json_is_true(node->json);
}

/* As deep as places_add() lets a text be. Return: false when the text has fewer places than values */
static bool build_node(struct builder *builder, struct node *parent, const char *key, json_t *json)
{
    struct node *node = &builder->nodes[builder->count];
    bool is_built = true;
    json_t *child;
    size_t index;

    if (builder->count == builder->places->count)
        return false;
    *node = (struct node){.type = types[json_typeof(json)], .key = key, .json = json, .parent = parent};
    node->line = builder->places->list[builder->count].line;
    node->column = builder->places->list[builder->count++].column;
    if (parent)
        node_append(parent, node);
    json_object_foreach(json, key, child) is_built = is_built && build_node(builder, node, key, child);
    json_array_foreach(json, index, child) is_built = is_built && build_node(builder, node, NULL, child);
    if (node->type != DOCUMENT_MAP && node->type != DOCUMENT_LIST)
        node_set_scalar(node);
    return is_built;
}

int document_build(struct document **ret, json_t *json, const struct places *places, struct error *error)
{
    _cleanup_(document_freep) struct document *document = calloc(1, sizeof(*document));
    struct builder builder = {.places = places};

    if (!document) {
        json_decref(json);
        return error_oom(error);
    }
    document->json = json;
    document->name = strdup(places->name);
    document->nodes = builder.nodes = calloc(places->count + 1, sizeof(*document->nodes));
    if (!document->name || !document->nodes)
        return error_oom(error);
    if (!build_node(&builder, NULL, NULL, json) || builder.count != places->count)
        return error_set(error, EINVAL, "%s: can't tell where its values stand", places->name);
    *ret = TAKE_PTR(document);
    return 0;
}

struct document *document_free(struct document *document)
{
    if (!document)
        return NULL;
    while (document->memory) {
        struct memory *memory = document->memory;

        document->memory = memory->next;
        free(memory);
    }
    json_decref(document->json);
    free(document->nodes);
    free(document->name);
    free(document);
    return NULL;
}

int document_load(struct document **ret, const char *path, size_t limit_bytes, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length, path_length = strlen(path);
    int r;

    r = io_read_file(path, limit_bytes, &text, &length, error);
    if (r < 0)
        return r;
    if (path_length >= 5 && strcmp(path + path_length - 5, ".json") == 0)
        return document_parse_json(ret, path, text, length, error);
    return document_parse_yaml(ret, path, text, length, error);
}

/* What is read is constant; what is kept with it is not. */
void *document_allocate(const struct document *document, size_t count, size_t size)
{
    struct document *owner = (struct document *)document;
    struct memory *memory;
    size_t bytes;

    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX - sizeof(*memory) ||
        !(memory = calloc(1, sizeof(*memory) + bytes)))
        return NULL;
    memory->next = owner->memory;
    owner->memory = memory;
    return memory->data;
}

const struct node *document_root(const struct document *document)
{
    return document->nodes;
}

const struct node *node_get(const struct node *node, const char *key)
{
    if (!node || node->type != DOCUMENT_MAP)
        return NULL;
    for (node = node->first; node; node = node->next)
        if (strcmp(node->key, key) == 0)
            break;
    return node;
}

const char *node_string(const struct node *node, const char *key)
{
    const struct node *child = node_get(node, key);

    return child && child->type == DOCUMENT_STRING ? child->string : NULL;
}

json_t *json_time(int64_t usec)
{
    char text[TIME_TEXT_MAX];

    return json_string(time_format(usec, text));
}

json_t *node_to_json(const struct node *node)
{
    return json_deep_copy(node->json);
}

static size_t node_format_path(const struct node *node, char *path, size_t size)
{
    size_t length, index = 0;

    if (!node->parent)
        return 0;
    length = node_format_path(node->parent, path, size);
    if (length >= size)
        return length;
    if (node->key)
        return length + snprintf(path + length, size - length, "%s%.64s", length ? "." : "", node->key);
    for (const struct node *before = node->parent->first; before != node; before = before->next)
        index++;
    return length + snprintf(path + length, size - length, "[%zu]", index);
}

int node_error(const struct document *document, const struct node *node, struct error *error,
               const char *format, ...)
{
    char path[256] = "", text[ERROR_TEXT_MAX];
    va_list arguments;

    if (!error)
        return -EINVAL;
    node_format_path(node, path, sizeof(path));
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    return place_error(&(struct places){.name = document->name}, (struct place){node->line, node->column},
                       error, EINVAL, "%s%s%s", path, path[0] ? ": " : "", text);
}
