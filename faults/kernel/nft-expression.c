/* Rules: each helper writes the expressions of one match or action. Register 1 is where values pass. See
 * nft.h. */
#include "nft.h"

#include <linux/rtnetlink.h>
#include <string.h>

/* One attribute of an expression: a number, or the @length bytes at @value as NFTA_DATA_VALUE. */
struct attribute {
    uint16_t type; /* 0 ends a list */
    uint32_t number;
    const void *value;
    size_t length;
};

static void put_value(struct nft_batch *batch, const struct attribute *attribute)
{
    size_t nest = nft_nest(batch, attribute->type);

    nft_put(batch, NFTA_DATA_VALUE, attribute->value, attribute->length);
    nft_nest_end(batch, nest);
}

/* @set: for the expressions that name one, as their first attribute (NFTA_LOOKUP_SET, NFTA_DYNSET_SET_NAME)
 */
static void expression(struct nft_batch *batch, const char *name, const char *set,
                       const struct attribute *attributes)
{
    size_t nest = nft_nest(batch, NFTA_LIST_ELEM), data;

    nft_put_string(batch, NFTA_EXPR_NAME, name);
    data = nft_nest(batch, NFTA_EXPR_DATA);
    if (set)
        nft_put_string(batch, 1, set);
    for (; attributes->type; attributes++)
        if (attributes->value)
            put_value(batch, attributes);
        else
            nft_put_u32(batch, attributes->type, attributes->number);
    nft_nest_end(batch, data);
    nft_nest_end(batch, nest);
}

#define EXPRESSION(batch, name, ...) expression(batch, name, NULL, (struct attribute[]){__VA_ARGS__, {0}})

static void load_meta(struct nft_batch *batch, uint32_t key)
{
    EXPRESSION(batch, "meta", {NFTA_META_KEY, key}, {NFTA_META_DREG, NFT_REG_1});
}

static void load_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, size_t length, uint32_t to)
{
    EXPRESSION(batch, "payload", {NFTA_PAYLOAD_DREG, to}, {NFTA_PAYLOAD_BASE, base},
               {NFTA_PAYLOAD_OFFSET, offset}, {NFTA_PAYLOAD_LEN, length});
}

static void compare(struct nft_batch *batch, uint32_t operation, const void *value, size_t length)
{
    EXPRESSION(batch, "cmp", {NFTA_CMP_SREG, NFT_REG_1}, {NFTA_CMP_OP, operation},
               {NFTA_CMP_DATA, 0, value, length});
}

/* register = register & mask ^ flip */
static void mask_bits(struct nft_batch *batch, const void *mask, const void *flip, size_t length)
{
    EXPRESSION(batch, "bitwise", {NFTA_BITWISE_SREG, NFT_REG_1}, {NFTA_BITWISE_DREG, NFT_REG_1},
               {NFTA_BITWISE_LEN, length}, {NFTA_BITWISE_MASK, 0, mask, length},
               {NFTA_BITWISE_XOR, 0, flip, length});
}

void nft_rule_begin(struct nft_batch *batch, const char *chain)
{
    nft_message(batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    nft_put_string(batch, NFTA_RULE_TABLE, batch->table);
    nft_put_string(batch, NFTA_RULE_CHAIN, chain);
    batch->rule = nft_nest(batch, NFTA_RULE_EXPRESSIONS);
}

void nft_rule_end(struct nft_batch *batch)
{
    nft_nest_end(batch, batch->rule);
}

void nft_match_meta(struct nft_batch *batch, uint32_t key, const void *value, size_t length)
{
    load_meta(batch, key);
    compare(batch, NFT_CMP_EQ, value, length);
}

void nft_match_not_meta(struct nft_batch *batch, uint32_t key, const void *value, size_t length)
{
    load_meta(batch, key);
    compare(batch, NFT_CMP_NEQ, value, length);
}

void nft_match_meta_bits(struct nft_batch *batch, uint32_t key, uint32_t mask, uint32_t value)
{
    load_meta(batch, key);
    mask_bits(batch, &mask, &(uint32_t){0}, sizeof(mask));
    compare(batch, NFT_CMP_EQ, &value, sizeof(value));
}

void nft_change_mark(struct nft_batch *batch, uint32_t keep, uint32_t flip)
{
    load_meta(batch, NFT_META_MARK);
    mask_bits(batch, &keep, &flip, sizeof(keep));
    EXPRESSION(batch, "meta", {NFTA_META_KEY, NFT_META_MARK}, {NFTA_META_SREG, NFT_REG_1});
}

void nft_set_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, const void *value,
                     size_t length, uint32_t checksum)
{
    EXPRESSION(batch, "immediate", {NFTA_IMMEDIATE_DREG, NFT_REG_1}, {NFTA_IMMEDIATE_DATA, 0, value, length});
    EXPRESSION(batch, "payload", {NFTA_PAYLOAD_SREG, NFT_REG_1}, {NFTA_PAYLOAD_BASE, base},
               {NFTA_PAYLOAD_OFFSET, offset}, {NFTA_PAYLOAD_LEN, length},
               {NFTA_PAYLOAD_CSUM_TYPE, checksum ? NFT_PAYLOAD_CSUM_INET : NFT_PAYLOAD_CSUM_NONE},
               {NFTA_PAYLOAD_CSUM_OFFSET, checksum});
}

void nft_match_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, const void *value,
                       size_t length)
{
    load_payload(batch, base, offset, length, NFT_REG_1);
    compare(batch, NFT_CMP_EQ, value, length);
}

void nft_match_not_bits(struct nft_batch *batch, uint32_t base, uint32_t offset, uint8_t mask, uint8_t value)
{
    load_payload(batch, base, offset, sizeof(mask), NFT_REG_1);
    mask_bits(batch, &mask, &(uint8_t){0}, sizeof(mask));
    compare(batch, NFT_CMP_NEQ, &value, sizeof(value));
}

void nft_match_range(struct nft_batch *batch, uint32_t base, uint32_t offset, uint8_t from, uint8_t to)
{
    load_payload(batch, base, offset, sizeof(from), NFT_REG_1);
    compare(batch, NFT_CMP_GTE, &from, sizeof(from));
    compare(batch, NFT_CMP_LTE, &to, sizeof(to));
}

/* The ancestor at that level, by its id in the host's byte order (net/netfilter/nft_socket.c). */
void nft_match_cgroup(struct nft_batch *batch, uint64_t id, unsigned int level)
{
    EXPRESSION(batch, "socket", {NFTA_SOCKET_KEY, NFT_SOCKET_CGROUPV2}, {NFTA_SOCKET_DREG, NFT_REG_1},
               {NFTA_SOCKET_LEVEL, level});
    compare(batch, NFT_CMP_EQ, &id, sizeof(id));
}

/* A type of address as in linux/rtnetlink.h: local, broadcast, ...; unicast is what is another's. */
void nft_match_not_forwarded(struct nft_batch *batch)
{
    const uint32_t unicast = RTN_UNICAST;

    EXPRESSION(batch, "fib", {NFTA_FIB_DREG, NFT_REG_1}, {NFTA_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE},
               {NFTA_FIB_FLAGS, NFTA_FIB_F_DADDR});
    compare(batch, NFT_CMP_NEQ, &unicast, sizeof(unicast));
}

void nft_match_set(struct nft_batch *batch, uint32_t base, uint32_t offset, size_t length, const char *set)
{
    load_payload(batch, base, offset, length, NFT_REG_1);
    expression(batch, "lookup", set, (struct attribute[]){{NFTA_LOOKUP_SREG, NFT_REG_1}, {0}});
}

/* A full set breaks off the rule, so a verdict must never stand behind this in the same rule. The name of an
 * expression has the same number in its list as a value has in its own (NFTA_EXPR_NAME, NFTA_DATA_VALUE). */
void nft_note_seen(struct nft_batch *batch, uint32_t address_offset, size_t address_length, const char *set)
{
    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, address_offset, address_length, NFT_REG_1);
    load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG32_00 + address_length / 4);
    expression(batch, "dynset", set,
               (struct attribute[]){{NFTA_DYNSET_OP, NFT_DYNSET_OP_ADD},
                                    {NFTA_DYNSET_SREG_KEY, NFT_REG_1},
                                    {NFTA_DYNSET_EXPR, 0, "counter", sizeof("counter")},
                                    {0}});
}

void nft_count(struct nft_batch *batch)
{
    expression(batch, "counter", NULL, (struct attribute[]){{0}});
}

void nft_verdict(struct nft_batch *batch, int verdict)
{
    size_t nest = nft_nest(batch, NFTA_LIST_ELEM), data, value, inner;

    nft_put_string(batch, NFTA_EXPR_NAME, "immediate");
    data = nft_nest(batch, NFTA_EXPR_DATA);
    nft_put_u32(batch, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    value = nft_nest(batch, NFTA_IMMEDIATE_DATA);
    inner = nft_nest(batch, NFTA_DATA_VERDICT);
    nft_put_u32(batch, NFTA_VERDICT_CODE, verdict);
    nft_nest_end(batch, inner);
    nft_nest_end(batch, value);
    nft_nest_end(batch, data);
    nft_nest_end(batch, nest);
}

void nft_forward(struct nft_batch *batch, int index)
{
    EXPRESSION(batch, "immediate", {NFTA_IMMEDIATE_DREG, NFT_REG_1},
               {NFTA_IMMEDIATE_DATA, 0, &index, sizeof(index)});
    EXPRESSION(batch, "fwd", {NFTA_FWD_SREG_DEV, NFT_REG_1});
}
