/* How the parsers of document-json.c and document-yaml.c build a document; nobody else includes this. */
#pragma once

#include "document.h"

struct chunk;

/**
 * struct document - the tree and the memory of all that is in it
 * @chunks: newest first; nodes and strings are carved out of them and freed together
 */
struct document {
    char *name;
    struct chunk *chunks;
    size_t n_nodes;
    struct node *root;
};

/** document_new() - an empty document called @name */
int document_new(struct document **ret, const char *name, struct error *error);

/**
 * document_add() - append a new node to @parent (a list or map), or make it the root when that is NULL
 * @key: copied; for a child of a map
 * @line, @column: from 1
 * Return: 0, -E2BIG (located) over DOCUMENT_DEPTH_MAX or DOCUMENT_NODES_MAX, -ENOMEM
 */
int document_add(struct document *document, struct node *parent, const char *key, unsigned int line,
                 unsigned int column, struct node **ret, struct error *error);

/** document_set_string() - make @node a string with a copy of @text */
int document_set_string(struct document *document, struct node *node, const char *text, size_t length,
                        struct error *error);

/** text_make_printable() - replace control characters, so that a hostile text can't make more than one line
 */
void text_make_printable(char *text);
