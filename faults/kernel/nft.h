/*
 * nftables as netlink messages: a batch is written into one buffer and committed as one transaction. No
 * library stands between, so that a batch can be prepared before it is needed and sent without allocating.
 *
 * Source of the message formats: linux/netfilter/nf_tables.h; net/netfilter/nf_tables_api.c for what is
 * required.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/cidr.h" /* before the kernel's headers: both define sockaddr_in */

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>

/** struct nft_family - a kind of table that we make, as nft(8) and our undo records call it */
struct nft_family {
    const char *name;
    uint8_t number;
};
#define NFT_FAMILIES 2
extern const struct nft_family nft_families[NFT_FAMILIES]; /* inet, netdev */

/**
 * struct nft_batch - a transaction being written
 * @failure: the first -errno while writing; later writes do nothing and nft_commit() returns it
 * @is_fixed: @data is the caller's; else it grows
 * @message, @rule: offsets of the message and of the rule's expressions being written; @family, @table: what
 * its objects belong to
 */
struct nft_batch {
    uint8_t *data;
    size_t length, size;
    bool is_fixed;
    int failure;
    size_t message, rule;
    uint32_t sequence;
    uint8_t family;
    const char *table;
};

/** nft_batch_begin() - in @fixed memory of @size bytes, or in memory of its own when that is NULL */
void nft_batch_begin(struct nft_batch *batch, void *fixed, size_t size);
/** nft_batch_end() - asks for an acknowledgement of the last message */
void nft_batch_end(struct nft_batch *batch);
void nft_batch_clear(struct nft_batch *batch);

/** nft_message() - begin a message for the batch's table; put and nest write into it */
void nft_message(struct nft_batch *batch, uint8_t type, uint16_t flags);
void nft_put(struct nft_batch *batch, uint16_t attribute, const void *data, size_t length);
void nft_put_u32(struct nft_batch *batch, uint16_t attribute, uint32_t value);
void nft_put_u64(struct nft_batch *batch, uint16_t attribute, uint64_t value);
void nft_put_string(struct nft_batch *batch, uint16_t attribute, const char *text);
size_t nft_nest(struct nft_batch *batch, uint16_t attribute);
void nft_nest_end(struct nft_batch *batch, size_t nest);

/** nft_add_table() - and make it the batch's; with the OWNER flag it dies with the socket (kernel >= 5.12) */
void nft_add_table(struct nft_batch *batch, uint8_t family, const char *name);
/** nft_drop_table() - works whether it exists or not */
void nft_drop_table(struct nft_batch *batch, uint8_t family, const char *name);
/** nft_add_chain() - a base chain with policy accept; @devices: NULL-ended, for netdev, else NULL */
void nft_add_chain(struct nft_batch *batch, const char *name, uint32_t hook, int32_t priority,
                   const char *const *devices);

/**
 * nft_add_cidr_set() - an interval set of those of @cidrs that are of @family, merged
 * @deadline_boot_nsec: its elements end then, by the kernel's hand; 0 = they stay
 * Return: how many intervals; 0 = no set was made
 */
size_t nft_add_cidr_set(struct nft_batch *batch, const char *name, sa_family_t family,
                        const struct cidr *cidrs, size_t count, int64_t deadline_boot_nsec);

struct port_range;
void nft_add_port_set(struct nft_batch *batch, const char *name, const struct port_range *ranges,
                      size_t count);
/** nft_add_seen_set() - filled by rules: address and port, at most @size of them, each counted */
void nft_add_seen_set(struct nft_batch *batch, const char *name, sa_family_t family, uint32_t size,
                      int64_t deadline_boot_nsec);

/* Rules: begin, expressions, end. Values are in network order where the packet has them so. */
void nft_rule_begin(struct nft_batch *batch, const char *chain);
void nft_rule_end(struct nft_batch *batch);
/** nft_match_meta() - of a name, its first @length bytes */
void nft_match_meta(struct nft_batch *batch, uint32_t key, const void *value, size_t length);
void nft_match_not_meta(struct nft_batch *batch, uint32_t key, const void *value, size_t length);
/** nft_match_meta_bits() - mark or priority & @mask = @value; both are in the host's byte order */
void nft_match_meta_bits(struct nft_batch *batch, uint32_t key, uint32_t mask, uint32_t value);
void nft_match_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, const void *value,
                       size_t length);
/** nft_match_not_bits() - of the byte there, what @mask leaves is not @value */
void nft_match_not_bits(struct nft_batch *batch, uint32_t base, uint32_t offset, uint8_t mask, uint8_t value);
void nft_match_range(struct nft_batch *batch, uint32_t base, uint32_t offset, uint8_t from, uint8_t to);
/** nft_match_cgroup() - of a socket whose cgroup is this or below it; only in the inet output and input hooks
 */
void nft_match_cgroup(struct nft_batch *batch, uint64_t id, unsigned int level);
void nft_match_set(struct nft_batch *batch, uint32_t base, uint32_t offset, size_t length, const char *set);
void nft_note_seen(struct nft_batch *batch, uint32_t address_offset, size_t address_length, const char *set);
/** nft_match_not_forwarded() - in a netdev ingress chain: what the routes don't send on to another host */
void nft_match_not_forwarded(struct nft_batch *batch);
/** nft_change_mark() - mark = mark & @keep ^ @flip */
void nft_change_mark(struct nft_batch *batch, uint32_t keep, uint32_t flip);
/** nft_set_payload() - overwrite; @checksum: offset of the header's own checksum, which follows; 0 = it has
 * none
 */
void nft_set_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, const void *value,
                     size_t length, uint32_t checksum);
void nft_count(struct nft_batch *batch);
void nft_verdict(struct nft_batch *batch, int verdict);
/** nft_forward() - in a netdev chain: the packet goes on through the device with this index */
void nft_forward(struct nft_batch *batch, int index);

/** nft_open() - Return: a bound netlink socket or -errno */
int nft_open(struct error *error);
/** nft_commit() - all of @batch or nothing; allocates nothing */
int nft_commit(int fd, const struct nft_batch *batch, struct error *error);

typedef int nft_each(const struct nlmsghdr *message, void *context);
/** nft_read() - @type NFT_MSG_GET...; @flags NLM_F_DUMP or 0; @table, @name: what to read, NULL = any */
int nft_read(int fd, uint8_t type, uint16_t flags, uint8_t family, const char *table, const char *name,
             nft_each *each, void *context, struct error *error);

/** nft_read_table() - Return: 1 and @ret_flags, 0 = there is none, or -errno */
int nft_read_table(int fd, uint8_t family, const char *name, uint32_t *ret_flags, struct error *error);

/** struct nft_chain_facts - how many rules a chain has and what all of its counters say together */
struct nft_chain_facts {
    size_t n_rules;
    uint64_t packets;
};
int nft_read_chain(int fd, uint8_t family, const char *table, const char *chain, struct nft_chain_facts *ret,
                   struct error *error);

/** nft_read_devices() - call @each for the name of every device that the netdev @chain hangs on */
typedef void nft_device(const char *name, void *context);
int nft_read_devices(int fd, const char *table, const char *chain, nft_device *each, void *context,
                     struct error *error);

/** nft_read_set() - call @each for every element that begins something; @each may be NULL. Return: the count
 * or -errno */
typedef void nft_element(const uint8_t *key, size_t length, uint64_t packets, void *context);
int nft_read_set(int fd, uint8_t family, const char *table, const char *set, nft_element *each, void *context,
                 struct error *error);
