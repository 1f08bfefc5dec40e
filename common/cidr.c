/* Addresses and address blocks: see cidr.h. */
#include "cidr.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned int cidr_bits(sa_family_t family)
{
    return family == AF_INET ? 32 : 128;
}

/* 1 to 5 digits without sign, blank or leading zero. */
static int number_parse(const char *text, unsigned int max, unsigned int *ret)
{
    size_t length = strlen(text);

    if (length < 1 || length > 5 || strspn(text, "0123456789") != length || (text[0] == '0' && length > 1))
        return -EINVAL;
    *ret = strtoul(text, NULL, 10);
    return *ret > max ? -EINVAL : 0;
}

/* Zeroes the bits after @prefix. Return: were there any? */
static bool cidr_clear_host_bits(struct cidr *cidr)
{
    bool had_bits = false;

    for (unsigned int bit = cidr->prefix; bit < cidr_bits(cidr->family); bit++) {
        uint8_t mask = 0x80 >> bit % 8;

        had_bits |= cidr->address[bit / 8] & mask;
        cidr->address[bit / 8] &= ~mask;
    }
    return had_bits;
}

int cidr_parse(struct cidr *ret, const char *text, struct error *error)
{
    char address[CIDR_TEXT_MAX], fixed[CIDR_TEXT_MAX];
    struct cidr cidr = {0};
    unsigned int prefix;
    char *slash;

    if (snprintf(address, sizeof(address), "%s", text) >= (int)sizeof(address))
        return error_set(error, EINVAL, "'%.60s' is no address block", text);
    slash = strchr(address, '/');
    if (slash)
        *slash++ = '\0';
    cidr.family = strchr(address, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(cidr.family, address, cidr.address) != 1)
        return error_set(error, EINVAL, "'%s' is no address block (10.1.0.0/24, fd00:1::/64)", text);
    prefix = cidr_bits(cidr.family);
    if (slash && number_parse(slash, prefix, &prefix) < 0)
        return error_set(error, EINVAL, "'%s': the prefix must be 0 to %u", text, cidr_bits(cidr.family));
    cidr.prefix = prefix;
    if (cidr_clear_host_bits(&cidr))
        return error_set(error, EINVAL, "'%s' has host bits set; did you mean %s?", text,
                         cidr_format(&cidr, fixed));
    *ret = cidr;
    return 0;
}

const char *cidr_format(const struct cidr *cidr, char ret[CIDR_TEXT_MAX])
{
    char address[INET6_ADDRSTRLEN] = "";

    inet_ntop(cidr->family, cidr->address, address, sizeof(address));
    if (cidr->prefix == cidr_bits(cidr->family))
        snprintf(ret, CIDR_TEXT_MAX, "%.45s", address);
    else
        snprintf(ret, CIDR_TEXT_MAX, "%.45s/%u", address, cidr->prefix);
    return ret;
}

bool cidr_contains(const struct cidr *outer, const struct cidr *inner)
{
    struct cidr cut = *inner;

    if (outer->family != inner->family || outer->prefix > inner->prefix)
        return false;
    cut.prefix = outer->prefix;
    cidr_clear_host_bits(&cut);
    return memcmp(cut.address, outer->address, sizeof(cut.address)) == 0;
}

static int cidr_compare(const void *left, const void *right)
{
    const struct cidr *a = left, *b = right;
    int order;

    if (a->family != b->family)
        return a->family < b->family ? -1 : 1;
    order = memcmp(a->address, b->address, sizeof(a->address));
    return order ? order : (int)a->prefix - (int)b->prefix;
}

/* Two halves of one block become the block: @left takes it over. */
static bool cidr_join(struct cidr *left, const struct cidr *right)
{
    struct cidr whole = *left;

    if (left->family != right->family || left->prefix != right->prefix || left->prefix == 0)
        return false;
    whole.prefix--;
    cidr_clear_host_bits(&whole);
    if (!cidr_contains(&whole, right))
        return false;
    *left = whole;
    return true;
}

size_t cidr_merge(struct cidr *cidrs, size_t count)
{
    size_t kept = 0;

    qsort(cidrs, count, sizeof(*cidrs), cidr_compare);
    for (size_t i = 0; i < count; i++) {
        if (kept && cidr_contains(&cidrs[kept - 1], &cidrs[i]))
            continue;
        cidrs[kept++] = cidrs[i];
        while (kept > 1 && cidr_join(&cidrs[kept - 2], &cidrs[kept - 1]))
            kept--;
    }
    return kept;
}

int endpoint_parse(struct endpoint *ret, const char *text, struct error *error)
{
    char host[ENDPOINT_TEXT_MAX] = "", port_text[8] = "";
    struct endpoint endpoint = {0};
    unsigned int port;
    int end = 0;

    if (sscanf(text, "[%45[0-9a-fA-F:.]]:%7[0-9]%n", host, port_text, &end) == 2 && !text[end])
        endpoint.address.family = AF_INET6;
    else if (sscanf(text, "%45[0-9.]:%7[0-9]%n", host, port_text, &end) == 2 && !text[end])
        endpoint.address.family = AF_INET;
    if (inet_pton(endpoint.address.family, host, endpoint.address.address) != 1)
        return error_set(error, EINVAL, "'%.60s' is no address and port (10.0.0.2:8443, [fd00::2]:8443)",
                         text);
    if (number_parse(port_text, 65535, &port) < 0 || port == 0)
        return error_set(error, EINVAL, "'%s': the port must be 1 to 65535", text);
    endpoint.address.prefix = cidr_bits(endpoint.address.family);
    endpoint.port = port;
    *ret = endpoint;
    return 0;
}

const char *endpoint_format(const struct endpoint *endpoint, char ret[ENDPOINT_TEXT_MAX])
{
    char address[CIDR_TEXT_MAX];

    cidr_format(&endpoint->address, address);
    snprintf(ret, ENDPOINT_TEXT_MAX, endpoint->address.family == AF_INET6 ? "[%s]:%u" : "%s:%u", address,
             endpoint->port);
    return ret;
}
