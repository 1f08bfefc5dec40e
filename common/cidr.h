/* Addresses and address blocks, IPv4 and IPv6. */
#pragma once

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "error.h"

/**
 * struct cidr - an address block
 * @family: AF_INET or AF_INET6
 * @prefix: 0..32 or 0..128
 * @address: network order, the first 4 bytes used for IPv4; host bits are zero
 */
struct cidr {
    sa_family_t family;
    uint8_t prefix;
    uint8_t address[16];
};

#define CIDR_TEXT_MAX 50

/** cidr_parse() - `10.1.0.0/24`, `fd00:1::/64`, a bare address as /32 or /128; -EINVAL for host bits, with
 * the fix */
int cidr_parse(struct cidr *ret, const char *text, struct error *error);
const char *cidr_format(const struct cidr *cidr, char ret[CIDR_TEXT_MAX]);
bool cidr_contains(const struct cidr *outer, const struct cidr *inner);
/** cidr_merge() - sort, drop what another contains, join neighbours (nft refuses overlaps). Return: the new
 * count */
size_t cidr_merge(struct cidr *cidrs, size_t count);

/** struct endpoint - address and port; @port in host order */
struct endpoint {
    struct cidr address;
    uint16_t port;
};
#define ENDPOINT_TEXT_MAX 60
/** endpoint_parse() - `10.0.0.2:8443`, `[fd00::2]:8443` */
int endpoint_parse(struct endpoint *ret, const char *text, struct error *error);
const char *endpoint_format(const struct endpoint *endpoint, char ret[ENDPOINT_TEXT_MAX]);
