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

/* A list or map that is open. @lines: of a map, in which line each of its keys stands */
struct level {
    json_t *json, *lines;
};

struct reader {
    struct places places;
    yaml_parser_t parser;
    const char *text;
    size_t length;
    json_t *root;
    unsigned int depth;
    struct level levels[DOCUMENT_DEPTH_MAX];
    char *key; /* the next event is its value */
    struct place key_place;
    size_t overflow; /* the first number too large for us, counted from 1 */
    bool is_over;
};

static struct place place_of(yaml_mark_t mark)
{
    return (struct place){mark.line + 1, mark.column + 1};
}

static int reader_error(const struct reader *reader, yaml_mark_t mark, struct error *error, const char *text)
{
    return place_error(&reader->places, place_of(mark), error, EINVAL, "%s", text);
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
        return error_set(error, EINVAL, "%s: byte %zu: %s", reader->places.name, parser->problem_offset,
                         parser->problem);
    if (reader_has_tab_indent(reader, parser->problem_mark.line))
        return reader_error(reader, parser->problem_mark, error, "a tab can't indent; use spaces");
    snprintf(text, sizeof(text), "%s%s%s", parser->problem, parser->context ? " " : "",
             parser->context ? parser->context : "");
    return reader_error(reader, parser->problem_mark, error, text);
}

/* Is the next event the key of a map? */
static bool reader_wants_key(const struct reader *reader)
{
    return reader->depth && reader->levels[reader->depth - 1].lines && !reader->key;
}

/* Adds @json, which it takes over, to what is open. The value of a map stands where its key stands: there one
 * looks for it. */
static int reader_add(struct reader *reader, const yaml_event_t *event, json_t *json, struct error *error)
{
    json_t *parent = reader->depth ? reader->levels[reader->depth - 1].json : NULL;
    struct place place = reader->key ? reader->key_place : place_of(event->start_mark);
    int r = places_add(&reader->places, place, reader->depth, error);

    if (r < 0) {
        json_decref(json);
        return r;
    }
    if (!parent)
        reader->root = json;
    else
        r = reader->key ? json_object_set_new(parent, reader->key, json)
                        : json_array_append_new(parent, json);
    free(reader->key);
    reader->key = NULL;
    return json && r == 0 ? 0 : error_oom(error);
}

/* What of plain text is no string is what JSON takes for null, a boolean or a number. */
static json_t *parse_plain(struct reader *reader, const char *text)
{
    json_error_t why;
    json_t *json;

    if (!*text || strcmp(text, "~") == 0)
        return json_null();
    json = json_loads(text, JSON_DECODE_ANY, &why);
    if (!json && json_error_code(&why) == json_error_numeric_overflow && !reader->overflow)
        reader->overflow = reader->places.count + 1;
    return json;
}

static int read_key(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    const char *text = (const char *)event->data.scalar.value;
    json_t *lines = reader->levels[reader->depth - 1].lines, *first = json_object_get(lines, text);

    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && strcmp(text, "<<") == 0)
        return reader_error(reader, event->start_mark, error, "merge keys are not taken");
    reader->key_place = place_of(event->start_mark);
    if (first)
        return place_error(&reader->places, reader->key_place, error, EINVAL,
                           "%s: given twice, first in line %d", text, (int)json_integer_value(first));
    reader->key = strdup(text);
    if (!reader->key || json_object_set_new(lines, text, json_integer(reader->key_place.line)) < 0)
        return error_oom(error);
    return 0;
}

static int read_scalar(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    const char *text = (const char *)event->data.scalar.value;
    json_t *json = NULL;

    if (event->data.scalar.anchor || event->data.scalar.tag)
        return reader_error(reader, event->start_mark, error, "anchors and tags are not taken");
    if (memchr(text, 0, event->data.scalar.length))
        return reader_error(reader, event->start_mark, error, "a string holds a NUL");
    if (reader_wants_key(reader))
        return read_key(reader, event, error);
    if (event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
        json = parse_plain(reader, text);
    return reader_add(reader, event, json ? json : json_stringn(text, event->data.scalar.length), error);
}

static int read_start(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    bool is_map = event->type == YAML_MAPPING_START_EVENT;
    struct level level = {.json = is_map ? json_object() : json_array()};
    int r;

    if (is_map ? event->data.mapping_start.anchor || event->data.mapping_start.tag
               : event->data.sequence_start.anchor || event->data.sequence_start.tag)
        r = reader_error(reader, event->start_mark, error, "anchors and tags are not taken");
    else if (reader_wants_key(reader))
        r = reader_error(reader, event->start_mark, error, "a key must be plain text");
    else
        r = reader_add(reader, event, json_incref(level.json), error);
    if (r == 0) {
        level.lines = is_map ? json_object() : NULL;
        reader->levels[reader->depth++] = level;
    }
    json_decref(level.json);
    return r;
}

static int read_end(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    json_decref(reader->levels[--reader->depth].lines);
    return 0;
}

static int read_alias(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    return reader_error(reader, event->start_mark, error, "aliases are not taken");
}

static int read_document_start(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    if (reader->root)
        return reader_error(reader, event->start_mark, error, "a second document; only one is taken");
    return 0;
}

static int read_stream_end(struct reader *reader, const yaml_event_t *event, struct error *error)
{
    reader->is_over = true;
    return reader->root ? 0 : reader_error(reader, event->start_mark, error, "the document is empty");
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
    struct reader reader = {.places = {.name = name}, .text = text, .length = length};
    int r;

    if (!yaml_parser_initialize(&reader.parser))
        return error_oom(error);
    yaml_parser_set_encoding(&reader.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&reader.parser, text, length);
    r = read_events(&reader, error);
    if (r == 0)
        r = document_build(&document, json_incref(reader.root), &reader.places, error);
    if (r == 0 && reader.overflow)
        r = node_error(document, document_root(document) + reader.overflow - 1, error,
                       "%.40s is out of the range of numbers",
                       document_root(document)[reader.overflow - 1].string);
    if (r == 0)
        *ret = TAKE_PTR(document);
    while (reader.depth)
        json_decref(reader.levels[--reader.depth].lines);
    json_decref(reader.root);
    places_clear(&reader.places);
    yaml_parser_delete(&reader.parser);
    free(reader.key);
    return r;
}
