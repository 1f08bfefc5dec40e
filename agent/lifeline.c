/* See lifeline.h. */
#include "lifeline.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define RESOLV_CONF_BYTES_MAX 65536

int lifeline_report(struct lifeline_reported *reported, const struct policy *policy, const char *text,
                    struct error *error)
{
    struct endpoint endpoint = {0};
    bool is_expected = false;
    int r = endpoint_parse(&endpoint, text, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < policy->n_named_ports; i++)
        is_expected |= policy->named_ports[i] == endpoint.port;
    for (size_t i = 0; i < reported->count; i++)
        is_expected &=
            reported->endpoints[i].port != endpoint.port ||
            !cidr_contains(&reported->endpoints[i].address, &endpoint.address); /* once is enough */
    if (is_expected && reported->count < LIFELINE_REPORTED_MAX)
        reported->endpoints[reported->count++] = endpoint;
    return 0;
}

static bool is_loopback(const struct cidr *cidr)
{
    static const struct cidr loopbacks[] = {
        {AF_INET, 8, {127}},
        {AF_INET6, 128, {[15] = 1}},
    };

    return cidr_contains(&loopbacks[0], cidr) || cidr_contains(&loopbacks[1], cidr);
}

/* Return: does it name a resolver on this host, whose own servers stand elsewhere? No file means one, too
 * (resolv.conf(5)). */
static bool add_resolvers(struct lifeline *ret, const char *root, const char *file)
{
    _cleanup_free_ char *text = NULL;
    char path[PATH_MAX], address[64];
    bool has_local = false;
    struct cidr cidr;

    snprintf(path, sizeof(path), "%s%s", root, file);
    if (io_read_file(path, RESOLV_CONF_BYTES_MAX, &text, NULL, NULL) < 0)
        return true;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (sscanf(line, "nameserver %63[0-9a-fA-F.:]", address) != 1 || cidr_parse(&cidr, address, NULL) < 0)
            continue;
        if (is_loopback(&cidr))
            has_local = true;
        else if (ret->n_resolvers < ARRAY_SIZE(ret->resolvers))
            ret->resolvers[ret->n_resolvers++] = cidr;
    }
    return has_local;
}

/* Behind the stub of systemd-resolved(8), or of NetworkManager, are the servers that are really asked. */
static void add_system_resolvers(struct lifeline *ret, const char *root)
{
    static const char *const behind[] = {"/run/systemd/resolve/resolv.conf",
                                         "/run/NetworkManager/no-stub-resolv.conf"};

    if (!add_resolvers(ret, root, "/etc/resolv.conf"))
        return;
    for (size_t i = 0; i < ARRAY_SIZE(behind); i++)
        add_resolvers(ret, root, behind[i]);
}

void lifeline_make(struct lifeline *ret, const struct policy *policy, uid_t courier_uid,
                   const struct lifeline_reported *reported, const char *root)
{
    /* Which time servers are in use can't be known here: docs/decisions/0003-time-servers.md. */
    static const struct cidr anywhere[] = {{.family = AF_INET}, {.family = AF_INET6}};

    *ret = policy->lifeline;
    ret->courier_uid = courier_uid;
    for (size_t i = 0; i < reported->count && ret->n_coordinators < ARRAY_SIZE(ret->coordinators); i++)
        ret->coordinators[ret->n_coordinators++] = reported->endpoints[i];
    add_system_resolvers(ret, root);
    if (!ret->n_time_servers) {
        memcpy(ret->time_servers, anywhere, sizeof(anywhere));
        ret->n_time_servers = ARRAY_SIZE(anywhere);
    }
    /* Rules of the kernel take no overlaps. */
    ret->n_management = cidr_merge(ret->management, ret->n_management);
    ret->n_resolvers = cidr_merge(ret->resolvers, ret->n_resolvers);
    ret->n_time_servers = cidr_merge(ret->time_servers, ret->n_time_servers);
}

static void describe_cidrs(json_t *words, const char *what, const struct cidr *cidrs, size_t count)
{
    char text[CIDR_TEXT_MAX];

    for (size_t i = 0; i < count; i++)
        json_array_append_new(words, json_sprintf("%s %s", what, cidr_format(&cidrs[i], text)));
}

size_t lifeline_gaps(const struct lifeline *lifeline, const char *ret[LIFELINE_GAPS_MAX])
{
    size_t count = 0;

    if (!lifeline->n_resolvers)
        ret[count++] = "no name server is known: name them in agent.yaml, lifeline.resolvers";
    if (!lifeline->n_management)
        ret[count++] = "nobody may come in by SSH: agent.yaml, lifeline.management is empty";
    return count;
}

json_t *lifeline_describe(const struct lifeline *lifeline)
{
    const char *gaps[LIFELINE_GAPS_MAX];
    size_t n_gaps = lifeline_gaps(lifeline, gaps);
    json_t *words = json_array();
    char text[ENDPOINT_TEXT_MAX];

    for (size_t i = 0; i < lifeline->n_coordinators; i++)
        json_array_append_new(
            words, json_sprintf("coordinator %s", endpoint_format(&lifeline->coordinators[i], text)));
    describe_cidrs(words, "resolver", lifeline->resolvers, lifeline->n_resolvers);
    describe_cidrs(words, "time server", lifeline->time_servers, lifeline->n_time_servers);
    describe_cidrs(words, "management by SSH from", lifeline->management, lifeline->n_management);
    for (size_t i = 0; i < n_gaps; i++)
        json_array_append_new(words, json_sprintf("warning: %s", gaps[i]));
    return words;
}
