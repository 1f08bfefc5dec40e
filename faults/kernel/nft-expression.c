/* Rules: each helper writes the expressions of one match or action. Register 1 is where values pass. See
 * nft.h. */
#include "nft.h"

#include <string.h>

static size_t expression(struct nft_batch *batch, const char *name, size_t *ret_data)
{
    size_t nest = nft_nest(batch, NFTA_LIST_ELEM);

    nft_put_string(batch, NFTA_EXPR_NAME, name);
    *ret_data = nft_nest(batch, NFTA_EXPR_DATA);
    return nest;
}

static void expression_end(struct nft_batch *batch, size_t nest, size_t data)
{
    nft_nest_end(batch, data);
    nft_nest_end(batch, nest);
}

static void put_value(struct nft_batch *batch, uint16_t attribute, const void *value, size_t length)
{
    size_t nest = nft_nest(batch, attribute);

    nft_put(batch, NFTA_DATA_VALUE, value, length);
    nft_nest_end(batch, nest);
}

static void load_meta(struct nft_batch *batch, uint32_t key)
{
    size_t data, nest = expression(batch, "meta", &data);

    nft_put_u32(batch, NFTA_META_KEY, key);
    nft_put_u32(batch, NFTA_META_DREG, NFT_REG_1);
    expression_end(batch, nest, data);
}

static void load_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, size_t length, uint32_t to)
{
    size_t data, nest = expression(batch, "payload", &data);

    nft_put_u32(batch, NFTA_PAYLOAD_DREG, to);
    nft_put_u32(batch, NFTA_PAYLOAD_BASE, base);
    nft_put_u32(batch, NFTA_PAYLOAD_OFFSET, offset);
    nft_put_u32(batch, NFTA_PAYLOAD_LEN, length);
    expression_end(batch, nest, data);
}

static void compare(struct nft_batch *batch, uint32_t operation, const void *value, size_t length)
{
    size_t data, nest = expression(batch, "cmp", &data);

    nft_put_u32(batch, NFTA_CMP_SREG, NFT_REG_1);
    nft_put_u32(batch, NFTA_CMP_OP, operation);
    put_value(batch, NFTA_CMP_DATA, value, length);
    expression_end(batch, nest, data);
}

/* register = register & mask ^ flip */
static void mask_bits(struct nft_batch *batch, const void *mask, const void *flip, size_t length)
{
    size_t data, nest = expression(batch, "bitwise", &data);

    nft_put_u32(batch, NFTA_BITWISE_SREG, NFT_REG_1);
    nft_put_u32(batch, NFTA_BITWISE_DREG, NFT_REG_1);
    nft_put_u32(batch, NFTA_BITWISE_LEN, length);
    put_value(batch, NFTA_BITWISE_MASK, mask, length);
    put_value(batch, NFTA_BITWISE_XOR, flip, length);
    expression_end(batch, nest, data);
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

void nft_match_meta(struct nft_batch *batch, uint32_t key, uint32_t operation, const void *value,
                    size_t length)
{
    load_meta(batch, key);
    compare(batch, operation, value, length);
}

/* A mark is in the host's byte order. */
void nft_match_mark(struct nft_batch *batch, uint32_t bit)
{
    const uint32_t none = 0;

    load_meta(batch, NFT_META_MARK);
    mask_bits(batch, &bit, &none, sizeof(bit));
    compare(batch, NFT_CMP_EQ, &bit, sizeof(bit));
}

void nft_set_mark(struct nft_batch *batch, uint32_t bit)
{
    const uint32_t others = ~bit;
    size_t data, nest;

    load_meta(batch, NFT_META_MARK);
    mask_bits(batch, &others, &bit, sizeof(bit));
    nest = expression(batch, "meta", &data);
    nft_put_u32(batch, NFTA_META_KEY, NFT_META_MARK);
    nft_put_u32(batch, NFTA_META_SREG, NFT_REG_1);
    expression_end(batch, nest, data);
}

void nft_match_payload(struct nft_batch *batch, uint32_t base, uint32_t offset, const void *value,
                       size_t length)
{
    load_payload(batch, base, offset, length, NFT_REG_1);
    compare(batch, NFT_CMP_EQ, value, length);
}

void nft_match_bits(struct nft_batch *batch, uint32_t base, uint32_t offset, uint8_t mask, uint32_t operation,
                    uint8_t value)
{
    const uint8_t none = 0;

    load_payload(batch, base, offset, sizeof(mask), NFT_REG_1);
    mask_bits(batch, &mask, &none, sizeof(mask));
    compare(batch, operation, &value, sizeof(value));
}

void nft_match_range(struct nft_batch *batch, uint32_t base, uint32_t offset, uint8_t from, uint8_t to)
{
    load_payload(batch, base, offset, sizeof(from), NFT_REG_1);
    compare(batch, NFT_CMP_GTE, &from, sizeof(from));
    compare(batch, NFT_CMP_LTE, &to, sizeof(to));
}

void nft_match_set(struct nft_batch *batch, uint32_t base, uint32_t offset, size_t length, const char *set)
{
    size_t data, nest;

    load_payload(batch, base, offset, length, NFT_REG_1);
    nest = expression(batch, "lookup", &data);
    nft_put_string(batch, NFTA_LOOKUP_SET, set);
    nft_put_u32(batch, NFTA_LOOKUP_SREG, NFT_REG_1);
    expression_end(batch, nest, data);
}

/* A full set breaks off the rule, so a verdict must never stand behind this in the same rule. */
void nft_note_seen(struct nft_batch *batch, uint32_t address_offset, size_t address_length, const char *set)
{
    size_t data, nest, counter;

    load_payload(batch, NFT_PAYLOAD_NETWORK_HEADER, address_offset, address_length, NFT_REG_1);
    load_payload(batch, NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, NFT_REG32_00 + address_length / 4);
    nest = expression(batch, "dynset", &data);
    nft_put_string(batch, NFTA_DYNSET_SET_NAME, set);
    nft_put_u32(batch, NFTA_DYNSET_OP, NFT_DYNSET_OP_ADD);
    nft_put_u32(batch, NFTA_DYNSET_SREG_KEY, NFT_REG_1);
    counter = nft_nest(batch, NFTA_DYNSET_EXPR);
    nft_put_string(batch, NFTA_EXPR_NAME, "counter");
    nft_nest_end(batch, counter);
    expression_end(batch, nest, data);
}

void nft_count(struct nft_batch *batch)
{
    size_t data, nest = expression(batch, "counter", &data);

    expression_end(batch, nest, data);
}

void nft_verdict(struct nft_batch *batch, int verdict)
{
    size_t data, nest = expression(batch, "immediate", &data), value, inner;

    nft_put_u32(batch, NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
    value = nft_nest(batch, NFTA_IMMEDIATE_DATA);
    inner = nft_nest(batch, NFTA_DATA_VERDICT);
    nft_put_u32(batch, NFTA_VERDICT_CODE, verdict);
    nft_nest_end(batch, inner);
    nft_nest_end(batch, value);
    expression_end(batch, nest, data);
}
