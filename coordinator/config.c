/* coordinator.yaml, checked whole before anything starts. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

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

/* They go into a certificate, where a comma or a colon would start another entry. */
static int check_names(const struct document *document, const struct node *list, struct error *error)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    unsigned char bytes[16];

    for (const struct node *name = list->first; name; name = name->next)
        if (!*name->string ||
            (name->string[strspn(name->string, allowed)] && inet_pton(AF_INET6, name->string, bytes) != 1))
            return node_error(document, name, error, "expected a host name or an address");
    return 0;
}

static int check_zone(const struct document *document, const struct node *zone, struct error *error)
{
    struct cidr cidr;
    int r = 0;

    if (!node_name_is_valid(zone->key))
        return node_error(document, zone, error, "expected a zone id such as apse2-az1");
    if (zone->type != DOCUMENT_LIST || zone->count == 0)
        return node_error(document, zone, error, "expected a list of CIDRs");
    for (const struct node *entry = zone->first; entry && r == 0; entry = entry->next)
        r = node_cidr(document, entry, &cidr, error);
    return r;
}

int config_take(struct config *ret, struct document *document, struct error *error)
{
    struct config config = {.document = document};
    int r = node_decode(document, document_root(document), config_fields, &config, error);

    if (r == 0)
        r = check_strings(document, config.listen, error);
    if (r == 0)
        r = check_strings(document, config.names, error);
    if (r == 0)
        r = check_names(document, config.names, error);
    for (const struct node *zone = r == 0 ? config.zones->first : NULL; r == 0 && zone; zone = zone->next)
        r = check_zone(document, zone, error);
    if (r < 0)
        document_free(document);
    else
        *ret = config;
    return r;
}

int config_load(struct config *ret, const char *path, struct error *error)
{
    struct document *document;
    int r = document_load(&document, path, CONFIG_BYTES_MAX, error);

    return r < 0 ? r : config_take(ret, document, error);
}

const char *config_url(const struct config *config, char *ret, size_t size)
{
    const char *name = config->names->first->string;
    const char *port = strrchr(config->listen->first->string, ':');

    snprintf(ret, size, strchr(name, ':') ? "https://[%s]%s" : "https://%s%s", name, port ? port : "");
    return ret;
}

void config_clear(struct config *config)
{
    document_free(config->document);
    *config = (struct config){NULL};
}
