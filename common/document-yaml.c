/*
 * YAML into a document: libyaml's events, without what makes YAML more than data. Anchors, aliases, tags,
 * merge keys and a second document are refused; scalars are null, booleans, integers and reals only in one
 * spelling each.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "document-build.h"

struct reader {
    struct document *document;
    yaml_parser_t parser;
    const char *text;
    size_t length;
    struct node *parent; /* the list or map that is open */
    bool has_key;        /* the next event is the value of @key */
    char *key;
    yaml_mark_t key_mark;
    bool is_over;
};

static int reader_error(const struct reader *reader, yaml_mark_t mark, struct error *error, const char *text)
{
    return error_set(error, EINVAL, "%s:%zu:%zu: %s", reader->document->name, mark.line + 1, mark.column + 1,
                     text);
}

/* Is there a tab in the indentation of line @number (from 0)? */
static bool reader_has_tab_indent(const struct reader *reader, size_t number)
{
    const char *line = reader->text, *end = reader->text + reader->length;

    while (number-- && line) {
        line = memchr(line, '\n', end - line);
        line = line ? line + 1 : NULL;
    }
    for (; line && line < end && (*line == ' ' || *line == '\t'); line++)
        if (*line == '\t')
            return true;
    return false;
}

static int reader_explain(const struct reader *reader, struct error *error)
{
    const yaml_parser_t *parser = &reader->parser;
    char text[256];

    if (parser->error == YAML_MEMORY_ERROR)
        return error_oom(error);
    if (parser->error == YAML_READER_ERROR)
        return error_set(error, EINVAL, "%s: byte %zu: %s", reader->document->name, parser->problem_offset,
                         parser->problem);
    if (reader_has_tab_indent(reader, parser->problem_mark.line))
        return reader_error(reader, parser->problem_mark, error, "a tab can't indent; use spaces");
    snprintf(text, sizeof(text), "%s%s%s", parser->problem, parser->context ? " " : "",
             parser->context ? parser->context : "");
    return reader_error(reader, parser->problem_mark, error, text);
}

/* The value of a map stands where its key stands: there one looks for it. */
static int reader_add(struct reader *reader, const yaml_event_t *event, struct node **ret,
                      struct error *error)
{
    yaml_mark_t mark = reader->has_key ? reader->key_mark : event->start_mark;
    int r;

    r = document_add(reader->document, reader->parent, reader->key, mark.line + 1, mark.column + 1, ret,
                     error);
    free(reader->key);
    reader->key = NULL;
    reader->has_key = false;
    return r;
}

static bool is_digits(const char *text, size_t length)
{
    return length > 0 && strspn(text, "0123456789") >= length;
}

/* -?(0|[1-9][0-9]*): a leading zero was an octal number in YAML 1.1, and is nobody's number here. */
static bool is_integer(const char *text)
{
    text += *text == '-';
    return is_digits(text, strlen(text)) && (text[0] != '0' || !text[1]);
}

/* -?digits[.digits][(e|E)[+-]digits], with at least a point or an exponent */
static bool is_real(const char *text)
{
    size_t whole, part;

    text += *text == '-';
    whole = strspn(text, "0123456789");
    if (!whole || !text[whole])
        return false;
    text += whole;
    if (*text == '.') {
        part = strspn(++text, "0123456789");
        if (!part)
            return false;
        text += part;
    }
    if (*text == 'e' || *text == 'E') {
        text++;
        text += *text == '+' || *text == '-';
        return is_digits(text, strlen(text));
    }
    return !*text;
}

static int set_number(struct reader *reader, struct node *node, const char *text, struct error *error)
{
    errno = 0;
    if (is_integer(text)) {
        node->type = DOCUMENT_INTEGER;
        node->integer = strtoll(text, NULL, 10);
    } else {
        node->type = DOCUMENT_REAL;
        node->real = strtod(text, NULL);
    }
    return errno ? node_error(reader->document, node, error, "%.40s is out of the range of numbers", text)
                 : 0;
}

static int set_scalar(struct reader *reader, struct node *node, const yaml_event_t *event,
                      struct error *error)
{
    const char *text = (const char *)event->data.scalar.value;

    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        if (!*text || strcmp(text, "null") == 0 || strcmp(text, "~") == 0) {
            node->type = DOCUMENT_NULL;
            return 0;
        }
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
            node->type = DOCUMENT_BOOLEAN;
            node->boolean = *text == 't';
            return 0;
        }
        if (is_integer(text) || is_real(text))
            return set_number(reader, node, text, error);
    }
    return document_set_string(reader->document, node, text, event->data.scalar.length, error);
}

static int read_key(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    const char *text = (const char *)event->data.scalar.value;

    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(text, "<<") == 0)
        return reader_error(reader, event->start_mark, error, "merge keys are not taken");
    reader->key = strdup(text);
    if (!reader->key)
        return error_oom(error);
    reader->has_key = true;
    reader->key_mark = event->start_mark;
    return 0;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    struct node *node;
    int r;

    if (event->data.scalar.anchor || event->data.scalar.tag)
        return reader_error(reader, event->start_mark, error, "anchors and tags are not taken");
    if (memchr(event->data.scalar.value, 0, event->data.scalar.length))
        return reader_error(reader, event->start_mark, error, "a string holds a NUL");
    if (reader->parent && reader->parent->type == DOCUMENT_MAP && !reader->has_key)
        return read_key(reader, event, error);
    r = reader_add(reader, event, &node, error);
    return r < 0 ? r : set_scalar(reader, node, event, error);
}

static int read_start(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    struct node *node;
    int r;

    if (is_map ? event->data.mapping_start.anchor || event->data.mapping_start.tag
               : event->data.sequence_start.anchor || event->data.sequence_start.tag)
        return reader_error(reader, event->start_mark, error, "anchors and tags are not taken");
    if (reader->parent && reader->parent->type == DOCUMENT_MAP && !reader->has_key)
        return reader_error(reader, event->start_mark, error, "a key must be plain text");
    r = reader_add(reader, event, &node, error);
    if (r < 0)
        return r;
    node->type = is_map ? DOCUMENT_MAP : DOCUMENT_LIST;
    reader->parent = node;
    return 0;
}

static int compare_keys(const void *left, const void *right)
{
    const struct node *a = *(const struct node *const *)left, *b = *(const struct node *const *)right;
    int order = strcmp(a->key, b->key);

    if (order)
        return order;
    return a->line != b->line ? (a->line < b->line ? -1 : 1) : (int)a->column - (int)b->column;
}

/* By sorting: comparing each with each would let a large file keep us busy for minutes. */
static int check_duplicates(const struct reader *reader, const struct node *map, struct error *error)
{
    _cleanup_free_ const struct node **sorted = calloc(map->count + 1, sizeof(*sorted));
    size_t count = 0;

    if (!sorted)
        return error_oom(error);
    for (const struct node *child = map->first; child; child = child->next)
        sorted[count++] = child;
    qsort(sorted, count, sizeof(*sorted), compare_keys);
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1]->key, sorted[i]->key) == 0)
            return node_error(reader->document, sorted[i], error, "given twice, first in line %u",
                              sorted[i - 1]->line);
    return 0;
}

static int read_end(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    int r = event->type == YAML_MAPPING_END_EVENT ? check_duplicates(reader, reader->parent, error) : 0;

    reader->parent = reader->parent->parent;
    return r;
}

static int read_alias(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    return reader_error(reader, event->start_mark, error, "aliases are not taken");
}

static int read_document_start(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    if (reader->document->root)
        return reader_error(reader, event->start_mark, error, "a second document; only one is taken");
    return 0;
}

static int read_stream_end(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    reader->is_over = true;
    return reader->document->root ? 0
                                  : reader_error(reader, event->start_mark, error, "the document is empty");
}

static int (*const readers[])(struct reader *, const yaml_event_t *, struct error *) = {
    [YAML_STREAM_END_EVENT] = read_stream_end, [YAML_DOCUMENT_START_EVENT] = read_document_start,
    [YAML_ALIAS_EVENT] = read_alias,           [YAML_SCALAR_EVENT] = read_scalar,
    [YAML_SEQUENCE_START_EVENT] = read_start,  [YAML_SEQUENCE_END_EVENT] = read_end,
    [YAML_MAPPING_START_EVENT] = read_start,   [YAML_MAPPING_END_EVENT] = read_end,
};

static int read_events(struct reader *reader, struct error *error)
{
    int r = 0;

    while (r == 0 && !reader->is_over) {
        yaml_event_t event;

        if (!yaml_parser_parse(&reader->parser, &event))
            return reader_explain(reader, error);
        if (event.type < ARRAY_SIZE(readers) && readers[event.type])
            r = readers[event.type](reader, &event, error);
        yaml_event_delete(&event);
    }
    return r;
}

int document_parse_yaml(struct document **ret, const char *name, const void *text, size_t length,
                        struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct reader reader = {.text = text, .length = length};
    int r;

    r = document_new(&document, name, error);
    if (r < 0)
        return r;
    reader.document = document;
    if (!yaml_parser_initialize(&reader.parser))
        return error_oom(error);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, text, length);
    r = read_events(&reader, error);
    yaml_parser_delete(&reader.parser);
    free(reader.key);
    if (r < 0)
        return r;
    *ret = TAKE_PTR(document);
    return 0;
}
