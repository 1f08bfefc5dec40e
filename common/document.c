/* The tree of a document, its memory, and errors that name a place in it: see document.h. */
#include "document.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "document-build.h"
#include "io.h"

#define CHUNK_BYTES 16384

struct chunk {
    struct chunk *next;
    size_t used, size;
    max_align_t data[];
};

static void *document_allocate(struct document *document, size_t bytes)
{
    struct chunk *chunk = document->chunks;
    void *memory;

    bytes = (bytes + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    if (!chunk || chunk->size - chunk->used < bytes) {
        size_t size = bytes > CHUNK_BYTES ? bytes : CHUNK_BYTES;

        chunk = calloc(1, sizeof(*chunk) + size);
        if (!chunk)
            return NULL;
        chunk->size = size;
        chunk->next = document->chunks;
        document->chunks = chunk;
    }
    memory = (char *)chunk->data + chunk->used;
    chunk->used += bytes;
    return memory;
}

static char *document_copy(struct document *document, const char *text, size_t length)
{
    char *copy = document_allocate(document, length + 1);

    if (copy)
        memcpy(copy, text, length);
    return copy;
}

void text_make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = '?';
}

int document_new(struct document **ret, const char *name, struct error *error)
{
    _cleanup_(document_freep) struct document *document = calloc(1, sizeof(*document));

    if (!document || !(document->name = document_copy(document, name, strlen(name))))
        return error_oom(error);
    *ret = TAKE_PTR(document);
    return 0;
}

struct document *document_free(struct document *document)
{
    if (!document)
        return NULL;
    while (document->chunks) {
        struct chunk *chunk = document->chunks;

        document->chunks = chunk->next;
        free(chunk);
    }
    free(document);
    return NULL;
}

static unsigned int node_depth(const struct node *node)
{
    unsigned int depth = 0;

    for (; node; node = node->parent)
        depth++;
    return depth;
}

static void node_append(struct node *parent, struct node *node)
{
    if (parent->last)
        parent->last->next = node;
    else
        parent->first = node;
    parent->last = node;
    parent->count++;
}

int document_add(struct document *document, struct node *parent, const char *key, unsigned int line,
                 unsigned int column, struct node **ret, struct error *error)
{
    struct node *node;

    if (node_depth(parent) >= DOCUMENT_DEPTH_MAX)
        return error_set(error, E2BIG, "%s:%u:%u: nested deeper than %d", document->name, line, column,
                         DOCUMENT_DEPTH_MAX);
    if (++document->n_nodes > DOCUMENT_NODES_MAX)
        return error_set(error, E2BIG, "%s:%u:%u: more than %d values", document->name, line, column,
                         DOCUMENT_NODES_MAX);
    node = document_allocate(document, sizeof(*node));
    if (!node || (key && !(node->key = document_copy(document, key, strlen(key)))))
        return error_oom(error);
    node->line = line;
    node->column = column;
    node->parent = parent;
    if (parent)
        node_append(parent, node);
    else
        document->root = node;
    *ret = node;
    return 0;
}

int document_set_string(struct document *document, struct node *node, const char *text, size_t length,
                        struct error *error)
{
    char *copy = document_copy(document, text, length);

    if (!copy)
        return error_oom(error);
    node->type = DOCUMENT_STRING;
    node->string = copy;
    return 0;
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

const struct node *document_root(const struct document *document)
{
    return document->root;
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

static json_t *node_to_json_children(const struct node *node)
{
    json_t *json = node->type == DOCUMENT_MAP ? json_object() : json_array();
    int r = json ? 0 : -1;

    for (const struct node *child = node->first; child && r == 0; child = child->next) {
        json_t *value = node_to_json(child);

        r = node->type == DOCUMENT_MAP ? json_object_set_new(json, child->key, value)
                                       : json_array_append_new(json, value);
    }
    if (r == 0)
        return json;
    json_decref(json);
    return NULL;
}

json_t *node_to_json(const struct node *node)
{
    switch (node->type) {
    case DOCUMENT_NULL:
        return json_null();
    case DOCUMENT_BOOLEAN:
        return json_boolean(node->boolean);
    case DOCUMENT_INTEGER:
        return json_integer(node->integer);
    case DOCUMENT_REAL:
        return json_real(node->real);
    case DOCUMENT_STRING:
        return json_string(node->string);
    case DOCUMENT_LIST:
    case DOCUMENT_MAP:
        return node_to_json_children(node);
    }
    return NULL;
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
    error_set(error, EINVAL, "%s:%u:%u: %s%s%s", document->name, node->line, node->column, path,
              path[0] ? ": " : "", text);
    text_make_printable(error->text);
    return -EINVAL;
}
