/* Decoding payloads: see payload.h. */
#include "payload.h"

#include <stdio.h>
#include <string.h>

int payload_decode(struct document **ret_document, const char *name, const void *payload, size_t length,
                   const struct field *fields, void *ret, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    const char *schema;
    char wanted[64];
    int r;

    r = document_parse_json(&document, name, payload, length, error);
    if (r == 0)
        r = node_decode(document, document_root(document), fields, ret, error);
    if (r < 0)
        return r;
    snprintf(wanted, sizeof(wanted), "grivet.%s/1", name);
    schema = node_string(document_root(document), "schema");
    if (!schema || strcmp(schema, wanted) != 0)
        return node_error(document, document_root(document), error, "schema: expected %s", wanted);
    *ret_document = TAKE_PTR(document);
    return 0;
}

static int compare_names(const void *left, const void *right)
{
    const struct node *a = *(const struct node *const *)left, *b = *(const struct node *const *)right;
    int order = strcmp(a->string, b->string);

    return order ? order
                 : (a->line != b->line ? (a->line < b->line ? -1 : 1) : (int)a->column - (int)b->column);
}

int payload_check_names(const struct document *document, const struct node *list, struct error *error)
{
    _cleanup_free_ const struct node **sorted = calloc(list->count + 1, sizeof(*sorted));
    size_t count = 0;

    if (!sorted)
        return error_oom(error);
    for (const struct node *node = list->first; node; node = node->next) {
        if (node->type != DOCUMENT_STRING || !node_name_is_valid(node->string))
            return node_error(document, node, error, "expected a name");
        sorted[count++] = node;
    }
    qsort(sorted, count, sizeof(*sorted), compare_names);
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1]->string, sorted[i]->string) == 0)
            return node_error(document, sorted[i], error, "'%s' is given twice", sorted[i]->string);
    return 0;
}
