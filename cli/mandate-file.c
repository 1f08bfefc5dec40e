/* A mandate's file and its text: see mandate-file.h. */
#include "mandate-file.h"

#include "cli.h"
#include "common/io.h"

#define MANDATE_FILE_BYTES_MAX (16 << 20)

int mandate_file_parse(const char *name, const void *text, size_t length, struct envelope **ret_envelope,
                       struct mandate **ret_mandate, struct error *error)
{
    int r = envelope_parse(ret_envelope, name, ENVELOPE_MANDATE, text, length, error);

    if (r < 0)
        return r;
    return mandate_parse(ret_mandate, (*ret_envelope)->payload, (*ret_envelope)->payload_length, error);
}

int mandate_file_load(const char *path, struct envelope **ret_envelope, struct mandate **ret_mandate,
                      struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_read_file(path, MANDATE_FILE_BYTES_MAX, &text, &length, error);
    return r < 0 ? r : mandate_file_parse(path, text, length, ret_envelope, ret_mandate, error);
}

/* All of it as it stands: nothing that is signed may be left out of what is shown. */
void mandate_file_print(FILE *out, const struct envelope *envelope, const struct mandate *mandate)
{
    json_auto_t *json = json_loadb((const char *)envelope->payload, envelope->payload_length, 0, NULL);

    json_make_printable(json);
    output_tree(out, json, 0);
    fprintf(out, "hash: %s\nsignatures so far: %zu\n", mandate->hash, envelope->n_signatures);
}
