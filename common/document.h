/* YAML and JSON as one tree in which every value knows its line and column, and decoding into structs by
 * table. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

enum document_type {
    DOCUMENT_NULL,
    DOCUMENT_BOOLEAN,
    DOCUMENT_INTEGER,
    DOCUMENT_REAL,
    DOCUMENT_STRING,
    DOCUMENT_LIST,
    DOCUMENT_MAP,
};

/* Limits on what a peer or a file may make us hold; deeper or larger is refused. */
#define DOCUMENT_DEPTH_MAX 32
#define DOCUMENT_NODES_MAX 200000

/**
 * struct node - one value of a document; owned by its document, valid as long as that
 * @key: name inside a map, else NULL
 * @line: from 1; @column: from 1, in characters; where the key of a map's entry stands, else the value
 * @count: number of children of a list or a map
 * @first, @last: first and last child of a list or map, in the order of the text; @next: next sibling
 * @parent: NULL for the root; @json: the same value for jansson, borrowed
 */
struct node {
    enum document_type type;
    const char *key;
    unsigned int line, column;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const char *string;
    };
    size_t count;
    struct node *first, *last, *next, *parent;
    json_t *json;
};

struct document;

/**
 * document_parse_json() - parse strict JSON (RFC 8259)
 * @ret: the document, owned by the caller; written only on success
 * @name: what errors call it (a file name, or "mandate", "policy"...); copied
 * @text: need not end in NUL; @length: in bytes
 *
 * Duplicate keys, NUL in strings, bad UTF-8, integers beyond 64 bits and trailing bytes are refused
 * (jansson's JSON_REJECT_DUPLICATES; measured in facts section 5).
 *
 * Return: 0, -EINVAL (located), -E2BIG over the limits, -ENOMEM
 */
int document_parse_json(struct document **ret, const char *name, const void *text, size_t length,
                        struct error *error);

/**
 * document_parse_yaml() - parse one YAML 1.1 document of plain data
 *
 * Aliases, anchors, tags, tabs as indentation, duplicate keys, merge keys and a second document are refused.
 * Plain scalars become null (`null`, `~`, empty), boolean (`true`, `false` only), integer (decimal), real,
 * else string. Quoted scalars are strings.
 */
int document_parse_yaml(struct document **ret, const char *name, const void *text, size_t length,
                        struct error *error);

/** document_load() - read @path (at most @limit_bytes) and parse it: `.json` as JSON, anything else as YAML
 */
int document_load(struct document **ret, const char *path, size_t limit_bytes, struct error *error);

struct document *document_free(struct document *document);
DEFINE_CLEANUP(struct document *, document_free)

/** document_root() - the first of all nodes, which stand one after the other in the order of the text */
const struct node *document_root(const struct document *document);

/** document_allocate() - @count zeroed things of @size bytes that live as long as the document. NULL when out
 * of memory */
void *document_allocate(const struct document *document, size_t count, size_t size);

/** node_get() - the child of map @node called @key, or NULL (also when @node is NULL or no map) */
const struct node *node_get(const struct node *node, const char *key);

/** node_string() - the string at @key of map @node, or NULL if there is none */
const char *node_string(const struct node *node, const char *key);

/** json_time() - a new JSON string with the RFC 3339 text of @usec */
json_t *json_time(int64_t usec);

/** node_to_json() - a deep copy as a jansson value, owned by the caller; NULL when out of memory */
json_t *node_to_json(const struct node *node);

/**
 * node_error() - `name:line:column: path.to[2].key: ` and then @format
 * Return: -EINVAL
 */
int node_error(const struct document *document, const struct node *node, struct error *error,
               const char *format, ...) _printf_(4, 5);

enum field_type {
    FIELD_BOOLEAN, /* bool */
    FIELD_INTEGER, /* int64_t, within min..max; any when both are 0 */
    FIELD_STRING,  /* const char *, borrowed from the document; length within min..max (max 0 = 4096) */
    FIELD_NAME,    /* const char *: [a-z0-9][a-z0-9._-]{0,62} */
    FIELD_UUID,    /* const char *: lower-case 8-4-4-4-12 */
    FIELD_HASH,    /* const char *: 64 lower-case hexadecimal digits */
    FIELD_CHOICE,  /* const char *: one of @choices */
    FIELD_SCHEMA,  /* nothing is kept: must be the only one of @choices; see FIELD_SCHEMA_IS() */
    FIELD_TIME,    /* int64_t, microseconds since 1970 from an RFC 3339 string in UTC */
    FIELD_NODE,    /* const struct node *, of any type, as it stands */
    FIELD_LIST,    /* const struct node *, must be a list of min..max entries (max 0 = any number) */
    FIELD_NAMES,   /* the same, and the entries are names, each given once */
    FIELD_MAP,     /* const struct node *, must be a map of min..max entries (max 0 = any number) */
    FIELD_LABELS,  /* the same, and the values are strings that are not empty */
};

/**
 * struct field - one row of the table that decodes a map into a struct
 * @offset: where the value goes; its C type follows from @type, see above
 * @is_required: else the struct keeps what it held before (set defaults first)
 * @choices: for FIELD_CHOICE, ended by NULL
 */
struct field {
    const char *key;
    enum field_type type;
    size_t offset;
    bool is_required;
    int64_t min, max;
    const char *const *choices;
};

#define FIELD_SCHEMA_IS(text)                                                                                \
    {                                                                                                        \
        "schema", FIELD_SCHEMA, 0, true, .choices = (const char *const[])                                    \
        {                                                                                                    \
            text, NULL                                                                                       \
        }                                                                                                    \
    }

/* Ends a table in place of {}: keys that no row names are passed over. */
#define FIELD_OTHERS_IGNORED                                                                                 \
    {                                                                                                        \
        NULL, FIELD_NODE                                                                                     \
    }

/**
 * node_decode() - decode map @node into @ret by the rows of @fields (ended by a row without key)
 *
 * A key that no row names is refused unless the table ends in FIELD_OTHERS_IGNORED, as is a wrong type or a
 * value out of range: always with the place.
 */
int node_decode(const struct document *document, const struct node *node, const struct field *fields,
                void *ret, struct error *error);

/** node_decode_value() - decode @node itself into @ret, by the type and limits of @field */
int node_decode_value(const struct document *document, const struct node *node, const struct field *field,
                      void *ret, struct error *error);

/** document_decode() - parse JSON @text, called @name in errors, and decode its map into @ret by @fields,
 * which may borrow from @ret_document */
int document_decode(struct document **ret_document, const char *name, const void *text, size_t length,
                    const struct field *fields, void *ret, struct error *error);

struct cidr;
/** node_cidrs() - the address blocks that list @node names, in the document's memory */
int node_cidrs(const struct document *document, const struct node *node, struct cidr **ret, size_t *ret_count,
               struct error *error);
/** node_cidr() - the address block that the string @node names; see cidr_parse() */
int node_cidr(const struct document *document, const struct node *node, struct cidr *ret,
              struct error *error);

/** node_name_is_valid() - the FIELD_NAME rule, for names that come another way */
bool node_name_is_valid(const char *name);
