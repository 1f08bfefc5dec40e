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

/* Which step when, where not all of them start together. A proof takes its time, so that it may be a little
 * later; what can't be undone ends at once, and what follows comes sooner. */
static void print_timetable(FILE *out, const struct mandate *mandate)
{
    bool is_sequence = false;

    if (!mandate->n_steps)
        fprintf(out, "no fault: you act, Grivet watches for %g s\n", (double)mandate->duration_msec / 1000);
    for (const struct step *step = mandate->steps; step < mandate->steps + mandate->n_steps; step++)
        is_sequence |= step->after != NULL;
    if (is_sequence)
        fprintf(out, "timetable, if every step takes its time:\n");
    for (const struct step *step = mandate->steps; is_sequence && step < mandate->steps + mandate->n_steps;
         step++) {
        int64_t end_msec = mandate_way_usec(mandate, step, 0) / USEC_PER_MSEC;

        fprintf(out, "  %+8.1f s to %+8.1f s  %s: %s on %zu host%s",
                (double)(end_msec - step->duration_msec) / 1000, (double)end_msec / 1000, step->name,
                step->fault, step->hosts->count, step->hosts->count == 1 ? "" : "s");
        EACH_AFTER (step, name)
            fprintf(out, "%s%s", name == step->after->first ? ", after " : ", ", name->string);
        fprintf(out, "\n");
    }
}

/* All of it as it stands: nothing that is signed may be left out of what is shown. */
void mandate_file_print(FILE *out, const struct envelope *envelope, const struct mandate *mandate)
{
    json_auto_t *json = json_loadb((const char *)envelope->payload, envelope->payload_length, 0, NULL);

    json_make_printable(json);
    output_tree(out, json, 0);
    print_timetable(out, mandate);
    fprintf(out, "hash: %s\nsignatures so far: %zu\n", mandate->hash, envelope->n_signatures);
}
