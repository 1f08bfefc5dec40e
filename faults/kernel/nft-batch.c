/* Writing a transaction: messages, attributes, tables and chains. See nft.h. */
#include "nft.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hands.h"

#define BATCH_SIZE_FIRST 16384

const struct nft_family nft_families[NFT_FAMILIES] = {{"inet", NFPROTO_INET}, {"netdev", NFPROTO_NETDEV}};

static int batch_grow(struct nft_batch *batch, size_t needed)
{
    size_t size = batch->size ? batch->size : BATCH_SIZE_FIRST;
    uint8_t *data;

    if (batch->is_fixed)
        return -ENOSPC;
    while (size < needed)
        size *= 2;
    data = realloc(batch->data, size);
    if (!data)
        return -ENOMEM;
    batch->data = data;
    batch->size = size;
    return 0;
}

/* Zeroed room of @length bytes, padded as netlink wants it; counts into the message. NULL after a failure. */
static void *batch_take(struct nft_batch *batch, size_t length)
{
    size_t at = batch->length;
    struct nlmsghdr *header;

    length = NLMSG_ALIGN(length);
    if (!batch->failure && at + length > batch->size)
        batch->failure = batch_grow(batch, at + length);
    if (batch->failure)
        return NULL;
    memset(batch->data + at, 0, length);
    batch->length += length;
    header = (struct nlmsghdr *)(batch->data + batch->message);
    header->nlmsg_len = batch->length - batch->message;
    return batch->data + at;
}

static void batch_message(struct nft_batch *batch, uint16_t type, uint16_t flags, uint8_t family,
                          uint16_t resource)
{
    struct nfgenmsg *general;
    struct nlmsghdr *header;

    batch->message = batch->length;
    header = batch_take(batch, NLMSG_LENGTH(sizeof(*general)));
    if (!header)
        return;
    header->nlmsg_type = type;
    header->nlmsg_flags = NLM_F_REQUEST | flags;
    header->nlmsg_seq = ++batch->sequence;
    general = NLMSG_DATA(header);
    general->nfgen_family = family;
    general->version = NFNETLINK_V0;
    general->res_id = htons(resource);
}

void nft_batch_begin(struct nft_batch *batch, void *fixed, size_t size)
{
    *batch = (struct nft_batch){.data = fixed, .size = fixed ? size : 0, .is_fixed = fixed};
    batch_message(batch, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

void nft_batch_end(struct nft_batch *batch)
{
    if (!batch->failure)
        ((struct nlmsghdr *)(batch->data + batch->message))->nlmsg_flags |= NLM_F_ACK;
    batch_message(batch, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

void nft_batch_clear(struct nft_batch *batch)
{
    if (!batch->is_fixed)
        free(batch->data);
    *batch = (struct nft_batch){0};
}

void nft_message(struct nft_batch *batch, uint8_t type, uint16_t flags)
{
    batch_message(batch, NFNL_SUBSYS_NFTABLES << 8 | type, flags, batch->family, 0);
}

void nft_put(struct nft_batch *batch, uint16_t attribute, const void *data, size_t length)
{
    struct nlattr *header = batch_take(batch, NLA_HDRLEN + length);

    if (!header)
        return;
    header->nla_type = attribute;
    header->nla_len = NLA_HDRLEN + length;
    if (length)
        memcpy((uint8_t *)header + NLA_HDRLEN, data, length);
}

void nft_put_u32(struct nft_batch *batch, uint16_t attribute, uint32_t value)
{
    value = htonl(value);
    nft_put(batch, attribute, &value, sizeof(value));
}

void nft_put_u64(struct nft_batch *batch, uint16_t attribute, uint64_t value)
{
    value = htobe64(value);
    nft_put(batch, attribute, &value, sizeof(value));
}

void nft_put_string(struct nft_batch *batch, uint16_t attribute, const char *text)
{
    nft_put(batch, attribute, text, strlen(text) + 1);
}

size_t nft_nest(struct nft_batch *batch, uint16_t attribute)
{
    size_t nest = batch->length;

    nft_put(batch, attribute | NLA_F_NESTED, NULL, 0);
    return nest;
}

void nft_nest_end(struct nft_batch *batch, size_t nest)
{
    if (batch->failure)
        return;
    if (batch->length - nest > UINT16_MAX) {
        batch->failure = -EMSGSIZE;
        return;
    }
    ((struct nlattr *)(batch->data + nest))->nla_len = batch->length - nest;
}

void nft_add_table(struct nft_batch *batch, uint8_t family, const char *name)
{
    batch->family = family;
    batch->table = name;
    nft_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL);
    nft_put_string(batch, NFTA_TABLE_NAME, name);
    nft_put_u32(batch, NFTA_TABLE_FLAGS, has_owner_flag ? NFT_TABLE_F_OWNER : 0);
}

/* Adding first makes the delete work for a table that is gone, which would fail the whole batch. */
void nft_drop_table(struct nft_batch *batch, uint8_t family, const char *name)
{
    batch->family = family;
    batch->table = name;
    nft_message(batch, NFT_MSG_NEWTABLE, NLM_F_CREATE);
    nft_put_string(batch, NFTA_TABLE_NAME, name);
    nft_message(batch, NFT_MSG_DELTABLE, 0);
    nft_put_string(batch, NFTA_TABLE_NAME, name);
}

void nft_add_chain(struct nft_batch *batch, const char *name, uint32_t hook, int32_t priority,
                   const char *const *devices)
{
    size_t nest, list;

    nft_message(batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE);
    nft_put_string(batch, NFTA_CHAIN_TABLE, batch->table);
    nft_put_string(batch, NFTA_CHAIN_NAME, name);
    nest = nft_nest(batch, NFTA_CHAIN_HOOK);
    nft_put_u32(batch, NFTA_HOOK_HOOKNUM, hook);
    nft_put_u32(batch, NFTA_HOOK_PRIORITY, priority);
    if (devices) {
        list = nft_nest(batch, NFTA_HOOK_DEVS);
        for (; *devices; devices++)
            nft_put_string(batch, NFTA_DEVICE_NAME, *devices);
        nft_nest_end(batch, list);
    }
    nft_nest_end(batch, nest);
    nft_put_u32(batch, NFTA_CHAIN_POLICY, NF_ACCEPT);
    nft_put_string(batch, NFTA_CHAIN_TYPE, "filter");
}
