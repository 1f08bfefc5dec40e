/* See lifeline.h. */
#include "lifeline.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "common/io.h"

#define RESOLV_CONF_BYTES_MAX 65536

static bool endpoint_is_same(const struct endpoint *one, const struct endpoint *other)
{
    return one->port == other->port && cidr_contains(&one->address, &other->address) &&
           one->address.prefix == other->address.prefix;
}

int lifeline_report(struct lifeline_reported *reported, const struct policy *policy, const char *text,
                    struct error *error)
{
    struct endpoint endpoint;
    bool is_expected = false;
    int r = endpoint_parse(&endpoint, text, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < policy->n_coordinators; i++)
        is_expected |= !policy->coordinators[i].is_literal && policy->coordinators[i].port == endpoint.port;
    if (!is_expected || reported->count == LIFELINE_REPORTED_MAX)
        return 0;
    for (size_t i = 0; i < reported->count; i++)
        if (endpoint_is_same(&reported->endpoints[i], &endpoint))
            return 0;
    reported->endpoints[reported->count++] = endpoint;
    return 0;
}

static void add_coordinators(struct lifeline *ret, const struct policy *policy,
                             const struct lifeline_reported *reported)
{
    for (size_t i = 0; i < policy->n_coordinators && ret->n_coordinators < ARRAY_SIZE(ret->coordinators); i++)
        if (policy->coordinators[i].is_literal)
            ret->coordinators[ret->n_coordinators++] = policy->coordinators[i].endpoint;
    for (size_t i = 0; i < reported->count && ret->n_coordinators < ARRAY_SIZE(ret->coordinators); i++)
        ret->coordinators[ret->n_coordinators++] = reported->endpoints[i];
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

/* Which servers are in use can't be known here: docs/decisions/0003-time-servers.md. */
static void add_time_servers(struct lifeline *ret)
{
    static const struct cidr anywhere[] = {{.family = AF_INET}, {.family = AF_INET6}};

    if (ret->n_time_servers)
        return;
    memcpy(ret->time_servers, anywhere, sizeof(anywhere));
    ret->n_time_servers = ARRAY_SIZE(anywhere);
}

void lifeline_make(struct lifeline *ret, const struct policy *policy, uid_t courier_uid,
                   const struct lifeline_reported *reported, const char *root)
{
    *ret = (struct lifeline){.courier_uid = courier_uid,
                             .ssh_port = (uint16_t)policy->ssh_port,
                             .n_management = policy->n_management,
                             .n_resolvers = policy->n_resolvers,
                             .n_time_servers = policy->n_time_servers};
    memcpy(ret->management, policy->management, sizeof(policy->management));
    memcpy(ret->resolvers, policy->resolvers, sizeof(policy->resolvers));
    memcpy(ret->time_servers, policy->time_servers, sizeof(policy->time_servers));
    add_coordinators(ret, policy, reported);
    add_system_resolvers(ret, root);
    add_time_servers(ret);
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
    const struct {
        size_t count;
        const char *gap;
    } parts[LIFELINE_GAPS_MAX] = {
        {lifeline->n_resolvers, "no name server is known: name them in agent.yaml, lifeline.resolvers"},
        {lifeline->n_management, "nobody may come in by SSH: agent.yaml, lifeline.management is empty"},
    };
    size_t count = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!parts[i].count)
            ret[count++] = parts[i].gap;
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
