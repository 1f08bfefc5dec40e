/* The first byte chooses YAML or JSON, the rest is the document. What parses has to survive being written and
 * read again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "common/document.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_(document_freep) struct document *document = NULL, *again = NULL;
    _cleanup_free_ char *text = NULL;
    struct error error = {0};
    json_t *json;
    int r;

    if (size == 0)
        return 0;
    r = (data[0] & 1 ? document_parse_json : document_parse_yaml)(&document, "fuzz", data + 1, size - 1,
                                                                  &error);
    if (r < 0) {
        if (!error.text[0])
            abort(); /* refused without a word */
        return 0;
    }
    json = node_to_json(document_root(document));
    text = json ? json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(json);
    if (text)
        document_parse_json(&again, "again", text, strlen(text), &error);
    return 0;
}
