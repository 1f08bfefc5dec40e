/* A mandate's file and its text: see mandate-file.h. */
#include "mandate-file.h"

#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/io.h"

#define HOSTS_A_LINE 8

void mandate_file_clear(struct mandate_file *file)
{
    file->envelope = envelope_free(file->envelope);
    file->mandate = mandate_free(file->mandate);
}

int mandate_file_parse(struct mandate_file *ret, const char *name, const void *text, size_t length,
                       struct error *error)
{
    _cleanup_(mandate_file_clear) struct mandate_file file = {0};
    int r;

    r = envelope_parse(&file.envelope, name, ENVELOPE_MANDATE, text, length, error);
    if (r == 0)
        r = mandate_parse(&file.mandate, file.envelope->payload, file.envelope->payload_length, error);
    if (r < 0)
        return r;
    *ret = file;
    file = (struct mandate_file){0};
    return 0;
}

int mandate_file_load(struct mandate_file *ret, const char *path, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_read_file(path, MANDATE_FILE_BYTES_MAX, &text, &length, error);
    return r < 0 ? r : mandate_file_parse(ret, path, text, length, error);
}

static void print_node(const struct node *node)
{
    json_t *json = node_to_json(node);
    _cleanup_free_ char *text = json ? json_dumps(json, JSON_ENCODE_ANY | JSON_SORT_KEYS) : NULL;

    printf("%s", text ? text : "?");
    json_decref(json);
}

static void print_names(const struct node *list, const char *indent)
{
    size_t count = 0;

    for (const struct node *node = list->first; node; node = node->next, count++)
        printf("%s%s%s", count % HOSTS_A_LINE ? " " : "\n", count % HOSTS_A_LINE ? "" : indent, node->string);
    printf("\n");
}

static void print_step(const struct step *step)
{
    printf("\n  step %s: %s ", step->name, step->fault);
    print_node(step->parameters);
    printf("\n    for %g s, on %zu host%s:", (double)step->duration_msec / 1000, step->hosts->count,
           step->hosts->count == 1 ? "" : "s");
    print_names(step->hosts, "      ");
    if (step->takes_late_joiners)
        printf("    and hosts that join late\n");
}

static void print_zones(const struct mandate *mandate)
{
    char text[CIDR_TEXT_MAX];

    for (size_t i = 0; i < mandate->n_zones; i++) {
        const struct zone *zone = &mandate->zones[i];

        printf("  zone %s:", zone->name);
        for (size_t k = 0; k < zone->n_cidrs; k++)
            printf(" %s", cidr_format(&zone->cidrs[k], text));
        printf("\n");
    }
}

static void print_extras(const struct mandate *mandate)
{
    if (mandate->late_labels) {
        printf("  late joiners: %lld at most, with labels ", (long long)mandate->late_max);
        print_node(mandate->late_labels);
        printf("\n");
    }
    if (mandate->observers && mandate->observers->count) {
        printf("  observers (nothing is done to them):");
        print_names(mandate->observers, "    ");
    }
    for (const struct node *node = mandate->objectives ? mandate->objectives->first : NULL; node;
         node = node->next) {
        printf("  objective: ");
        print_node(node);
        printf("\n");
    }
}

void mandate_file_print(const struct mandate_file *file)
{
    const struct mandate *mandate = file->mandate;
    char before[TIME_TEXT_MAX], after[TIME_TEXT_MAX];

    printf("%s in environment %s\n", mandate->experiment, mandate->environment);
    printf("  between %.19sZ and %.19sZ, %lld run%s at most\n", time_format(mandate->not_before_usec, before),
           time_format(mandate->not_after_usec, after), (long long)mandate->max_runs,
           mandate->max_runs == 1 ? "" : "s");
    printf("  hash %s, %zu signature%s so far\n", mandate->hash, file->envelope->n_signatures,
           file->envelope->n_signatures == 1 ? "" : "s");
    for (size_t i = 0; i < mandate->n_steps; i++)
        print_step(&mandate->steps[i]);
    printf("\n");
    print_zones(mandate);
    print_extras(mandate);
}
