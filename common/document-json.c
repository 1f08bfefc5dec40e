/*
 * JSON into a document. jansson decides what is valid; it knows no places, so a small scanner then walks the
 * text, which is known to be valid, beside jansson's tree, whose objects keep the order of the text.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "document-build.h"

struct scanner {
    struct document *document;
    const char *next, *end;
    unsigned int line, column;
};

static void scanner_step(struct scanner *scanner)
{
    if (scanner->next == scanner->end)
        return;
    if (*scanner->next == '\n') {
        scanner->line++;
        scanner->column = 1;
    } else if ((*scanner->next & 0xc0) != 0x80) { /* a byte that goes on a UTF-8 character is no column */
        scanner->column++;
    }
    scanner->next++;
}

/* Steps over blanks and the punctuation between values. */
static void scanner_skip_to_value(struct scanner *scanner)
{
    while (scanner->next < scanner->end && strchr(" \t\r\n,:", *scanner->next))
        scanner_step(scanner);
}

static void scanner_skip_string(struct scanner *scanner)
{
    scanner_step(scanner);
    while (scanner->next < scanner->end && *scanner->next != '"') {
        if (*scanner->next == '\\')
            scanner_step(scanner);
        scanner_step(scanner);
    }
    scanner_step(scanner);
}

static void scanner_skip_scalar(struct scanner *scanner)
{
    if (*scanner->next == '"')
        scanner_skip_string(scanner);
    else
        while (scanner->next < scanner->end && !strchr(" \t\r\n,:]}", *scanner->next))
            scanner_step(scanner);
}

static int scan_value(struct scanner *scanner, json_t *json, struct node *node, struct error *error);

static int scan_child(struct scanner *scanner, const char *key, json_t *json, struct node *parent,
                      struct error *error)
{
    struct node *node;
    int r;

    scanner_skip_to_value(scanner);
    r = document_add(scanner->document, parent, key, scanner->line, scanner->column, &node, error);
    if (r < 0)
        return r;
    if (key) {
        scanner_skip_string(scanner);
        scanner_skip_to_value(scanner);
    }
    return scan_value(scanner, json, node, error);
}

static int scan_map(struct scanner *scanner, json_t *json, struct node *node, struct error *error)
{
    const char *key;
    json_t *value;
    int r = 0;

    json_object_foreach(json, key, value)
    {
        r = scan_child(scanner, key, value, node, error);
        if (r < 0)
            return r;
    }
    return r;
}

static int scan_list(struct scanner *scanner, json_t *json, struct node *node, struct error *error)
{
    json_t *value;
    size_t index;
    int r = 0;

    json_array_foreach(json, index, value)
    {
        r = scan_child(scanner, NULL, value, node, error);
        if (r < 0)
            return r;
    }
    return r;
}

static int scan_scalar(struct scanner *scanner, json_t *json, struct node *node, struct error *error)
{
    scanner_skip_scalar(scanner);
    switch (json_typeof(json)) {
    case JSON_STRING:
        return document_set_string(scanner->document, node, json_string_value(json), json_string_length(json),
                                   error);
    case JSON_INTEGER:
        node->type = DOCUMENT_INTEGER;
        node->integer = json_integer_value(json);
        return 0;
    case JSON_REAL:
        node->type = DOCUMENT_REAL;
        node->real = json_real_value(json);
        return 0;
    case JSON_TRUE:
    case JSON_FALSE:
        node->type = DOCUMENT_BOOLEAN;
        node->boolean = json_is_true(json);
        return 0;
    default:
        node->type = DOCUMENT_NULL;
        return 0;
    }
}

static int scan_value(struct scanner *scanner, json_t *json, struct node *node, struct error *error)
{
    int r;

    if (!json_is_object(json) && !json_is_array(json))
        return scan_scalar(scanner, json, node, error);
    node->type = json_is_object(json) ? DOCUMENT_MAP : DOCUMENT_LIST;
    scanner_step(scanner);
    r = json_is_object(json) ? scan_map(scanner, json, node, error) : scan_list(scanner, json, node, error);
    if (r < 0)
        return r;
    /* Only blanks are left before the bracket. */
    scanner_skip_to_value(scanner);
    scanner_step(scanner);
    return 0;
}

/* Before jansson takes memory for it: how deep and how many? Counts brackets and commas outside of strings.
 */
static int check_size(struct scanner scanner, struct error *error)
{
    int depth = 0, values = 1;

    while (scanner.next < scanner.end) {
        char c = *scanner.next;

        if (c == '"') {
            scanner_skip_string(&scanner);
            continue;
        }
        if (c == '\0') /* jansson takes it for the end and what follows for nothing */
            return error_set(error, EINVAL, "%s:%u:%u: a NUL byte", scanner.document->name, scanner.line,
                             scanner.column);
        depth += (c == '[' || c == '{') - (c == ']' || c == '}');
        values += c == ',' || c == '[' || c == '{';
        if (depth > DOCUMENT_DEPTH_MAX)
            return error_set(error, E2BIG, "%s:%u:%u: nested deeper than %d", scanner.document->name,
                             scanner.line, scanner.column, DOCUMENT_DEPTH_MAX);
        if (values > DOCUMENT_NODES_MAX)
            return error_set(error, E2BIG, "%s:%u:%u: more than %d values", scanner.document->name,
                             scanner.line, scanner.column, DOCUMENT_NODES_MAX);
        scanner_step(&scanner);
    }
    return 0;
}

int document_parse_json(struct document **ret, const char *name, const void *text, size_t length,
                        struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct scanner scanner = {.next = text, .end = (const char *)text + length, .line = 1, .column = 1};
    json_error_t why;
    json_t *json;
    int r;

    r = document_new(&document, name, error);
    if (r < 0)
        return r;
    scanner.document = document;
    r = check_size(scanner, error);
    if (r < 0)
        return r;
    json = json_loadb(text, length, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
    if (!json) {
        r = error_set(error, EINVAL, "%s:%d:%d: %s", name, why.line > 0 ? why.line : 1,
                      why.column > 0 ? why.column : 1, why.text);
        if (error)
            text_make_printable(error->text);
        return r;
    }
    r = scan_child(&scanner, NULL, json, NULL, error);
    json_decref(json);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(document);
    return 0;
}
