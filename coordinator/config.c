/* coordinator.yaml, checked whole before anything starts. */
#include <errno.h>

#include "common/cidr.h"
#include "coordinator.h"

#define CONFIG_BYTES_MAX (1024 * 1024)

static const struct field config_fields[] = {
    {"environment", FIELD_NAME, offsetof(struct config, environment), true},
    {"listen", FIELD_LIST, offsetof(struct config, listen), true, 1, 8},
    {"names", FIELD_LIST, offsetof(struct config, names), true, 1, 32},
    {"zones", FIELD_MAP, offsetof(struct config, zones), true, 0, 256},
    {"balancers", FIELD_LIST, offsetof(struct config, balancers), false, 0, 64},
    {NULL},
};

static int check_strings(const struct document *document, const struct node *list, struct error *error)
{
    for (const struct node *entry = list->first; entry; entry = entry->next)
        if (entry->type != DOCUMENT_STRING)
            return node_error(document, entry, error, "expected a string");
    return 0;
}

static int check_zone(const struct document *document, const struct node *zone, struct error *error)
{
    if (!node_name_is_valid(zone->key))
        return node_error(document, zone, error, "expected a zone id such as apse2-az1");
    if (zone->type != DOCUMENT_LIST || zone->count == 0)
        return node_error(document, zone, error, "expected a list of CIDRs");
    for (const struct node *entry = zone->first; entry; entry = entry->next) {
        struct error inner = {.code = 0};
        struct cidr cidr;

        if (entry->type != DOCUMENT_STRING)
            return node_error(document, entry, error, "expected a CIDR such as 10.1.0.0/24");
        if (cidr_parse(&cidr, entry->string, &inner) < 0)
            return node_error(document, entry, error, "%s", inner.text);
    }
    return 0;
}

int config_load(struct config *ret, const char *path, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct config config = {NULL};
    int r;

    r = document_load(&document, path, CONFIG_BYTES_MAX, error);
    if (r == 0)
        r = node_decode(document, document_root(document), config_fields, &config, error);
    if (r == 0)
        r = check_strings(document, config.listen, error);
    if (r == 0)
        r = check_strings(document, config.names, error);
    for (const struct node *zone = r == 0 ? config.zones->first : NULL; r == 0 && zone; zone = zone->next)
        r = check_zone(document, zone, error);
    if (r < 0)
        return r;
    config.document = TAKE_PTR(document);
    *ret = config;
    return 0;
}

void config_clear(struct config *config)
{
    document_free(config->document);
    *config = (struct config){NULL};
}
