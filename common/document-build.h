/* How the parsers of document-json.c and document-yaml.c build a document; nobody else includes this. */
#pragma once

#include "document.h"

struct place {
    unsigned int line, column;
};

/** struct places - where each value of a text stands, in its order */
struct places {
    const char *name; /* of the document */
    size_t count, size;
    struct place *list;
};

void places_clear(struct places *places);

/**
 * places_add() - note the next value
 * @depth: of how many lists and maps it is inside
 * Return: 0, -E2BIG (located) over DOCUMENT_DEPTH_MAX or DOCUMENT_NODES_MAX, -ENOMEM
 */
int places_add(struct places *places, struct place place, unsigned int depth, struct error *error);

/** document_build() - a document of @json, which it takes over, and the @places of all of its values */
int document_build(struct document **ret, json_t *json, const struct places *places, struct error *error);

/** place_error() - `name:line:column: ` and then @format, in one line. Return: -@code */
int place_error(const struct places *places, struct place place, struct error *error, int code,
                const char *format, ...) _printf_(5, 6);
