/* Reading back: tables, counters of a chain, elements of a set. See nft.h. */
#include "nft.h"

#include <endian.h>
#include <errno.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <string.h>

static int parse(const struct nlmsghdr *message, struct nlattr **attributes, int max)
{
    return nlmsg_parse((struct nlmsghdr *)message, sizeof(struct nfgenmsg), attributes, max, NULL) < 0
               ? -EPROTO
               : 0;
}

static uint32_t read_u32(const struct nlattr *attribute)
{
    return attribute && nla_len(attribute) == sizeof(uint32_t) ? be32toh(nla_get_u32(attribute)) : 0;
}

struct table_reader {
    bool is_there;
    uint32_t flags;
};

static int on_table(const struct nlmsghdr *message, void *context)
{
    struct nlattr *attributes[NFTA_TABLE_MAX + 1];
    struct table_reader *reader = context;

    if (parse(message, attributes, NFTA_TABLE_MAX) < 0)
        return -EPROTO;
    reader->is_there = true;
    reader->flags = read_u32(attributes[NFTA_TABLE_FLAGS]);
    return 0;
}

int nft_read_table(int fd, uint8_t family, const char *name, uint32_t *ret_flags, struct error *error)
{
    struct table_reader reader = {0};
    int r = nft_read(fd, NFT_MSG_GETTABLE, 0, family, name, NULL, on_table, &reader, error);

    if (r == -ENOENT || r == -EAFNOSUPPORT)
        return 0;
    if (r < 0)
        return r;
    if (ret_flags)
        *ret_flags = reader.flags;
    return reader.is_there;
}

/* Packets of @expression if it is a counter. */
static uint64_t counter_packets(struct nlattr *expression)
{
    struct nlattr *outer[NFTA_EXPR_MAX + 1], *inner[NFTA_COUNTER_MAX + 1];

    if (!expression || nla_parse_nested(outer, NFTA_EXPR_MAX, expression, NULL) < 0 ||
        !outer[NFTA_EXPR_NAME] || nla_strcmp(outer[NFTA_EXPR_NAME], "counter") != 0 ||
        !outer[NFTA_EXPR_DATA] ||
        nla_parse_nested(inner, NFTA_COUNTER_MAX, outer[NFTA_EXPR_DATA], NULL) < 0 ||
        !inner[NFTA_COUNTER_PACKETS] || nla_len(inner[NFTA_COUNTER_PACKETS]) != sizeof(uint64_t))
        return 0;
    return be64toh(nla_get_u64(inner[NFTA_COUNTER_PACKETS]));
}

static int on_rule(const struct nlmsghdr *message, void *context)
{
    struct nlattr *attributes[NFTA_RULE_MAX + 1], *expression;
    struct nft_chain_facts *facts = context;
    int left;

    if (parse(message, attributes, NFTA_RULE_MAX) < 0)
        return -EPROTO;
    facts->n_rules++;
    if (attributes[NFTA_RULE_EXPRESSIONS])
        nla_for_each_nested(expression, attributes[NFTA_RULE_EXPRESSIONS], left) facts->packets +=
            counter_packets(expression);
    return 0;
}

int nft_read_chain(int fd, uint8_t family, const char *table, const char *chain, struct nft_chain_facts *ret,
                   struct error *error)
{
    struct nft_chain_facts facts = {0};
    int r = nft_read(fd, NFT_MSG_GETRULE, NLM_F_DUMP, family, table, chain, on_rule, &facts, error);

    /* Only a table's owner changes it; a change noticed here was made to somebody else's. */
    if (r < 0 && r != -EAGAIN)
        return r;
    *ret = facts;
    return 0;
}

struct device_reader {
    const char *table, *chain;
    nft_device *each;
    void *context;
};

static int on_chain(const struct nlmsghdr *message, void *context)
{
    struct nlattr *attributes[NFTA_CHAIN_MAX + 1], *hook[NFTA_HOOK_MAX + 1], *device;
    const struct device_reader *reader = context;
    int left;

    if (parse(message, attributes, NFTA_CHAIN_MAX) < 0)
        return -EPROTO;
    if (!attributes[NFTA_CHAIN_TABLE] || !attributes[NFTA_CHAIN_NAME] || !attributes[NFTA_CHAIN_HOOK] ||
        nla_strcmp(attributes[NFTA_CHAIN_TABLE], reader->table) != 0 ||
        nla_strcmp(attributes[NFTA_CHAIN_NAME], reader->chain) != 0)
        return 0;
    if (nla_parse_nested(hook, NFTA_HOOK_MAX, attributes[NFTA_CHAIN_HOOK], NULL) < 0)
        return -EPROTO;
    if (hook[NFTA_HOOK_DEVS])
        nla_for_each_nested(device, hook[NFTA_HOOK_DEVS], left)
            reader->each(nla_get_string(device), reader->context);
    return 0;
}

/* Listing is the only way: the answer about one chain has no room for all the devices it can have. */
int nft_read_devices(int fd, const char *table, const char *chain, nft_device *each, void *context,
                     struct error *error)
{
    struct device_reader reader = {table, chain, each, context};

    return nft_read(fd, NFT_MSG_GETCHAIN, NLM_F_DUMP, NFPROTO_NETDEV, table, NULL, on_chain, &reader, error);
}

struct element_reader {
    nft_element *each;
    void *context;
    int count;
};

static int on_element(struct nlattr *element, struct element_reader *reader)
{
    struct nlattr *attributes[NFTA_SET_ELEM_MAX + 1], *data[NFTA_DATA_MAX + 1];

    if (nla_parse_nested(attributes, NFTA_SET_ELEM_MAX, element, NULL) < 0 ||
        !attributes[NFTA_SET_ELEM_KEY] ||
        nla_parse_nested(data, NFTA_DATA_MAX, attributes[NFTA_SET_ELEM_KEY], NULL) < 0 ||
        !data[NFTA_DATA_VALUE])
        return -EPROTO;
    if (read_u32(attributes[NFTA_SET_ELEM_FLAGS]) & NFT_SET_ELEM_INTERVAL_END)
        return 0;
    reader->count++;
    if (reader->each)
        reader->each(nla_data(data[NFTA_DATA_VALUE]), nla_len(data[NFTA_DATA_VALUE]),
                     counter_packets(attributes[NFTA_SET_ELEM_EXPR]), reader->context);
    return 0;
}

static int on_elements(const struct nlmsghdr *message, void *context)
{
    struct nlattr *attributes[NFTA_SET_ELEM_LIST_MAX + 1], *element;
    int left, r = 0;

    if (parse(message, attributes, NFTA_SET_ELEM_LIST_MAX) < 0)
        return -EPROTO;
    if (attributes[NFTA_SET_ELEM_LIST_ELEMENTS])
        nla_for_each_nested(element, attributes[NFTA_SET_ELEM_LIST_ELEMENTS], left) r =
            r < 0 ? r : on_element(element, context);
    return r;
}

int nft_read_set(int fd, uint8_t family, const char *table, const char *set, nft_element *each, void *context,
                 struct error *error)
{
    struct element_reader reader = {.each = each, .context = context};
    int r = nft_read(fd, NFT_MSG_GETSETELEM, NLM_F_DUMP, family, table, set, on_elements, &reader, error);

    return r < 0 && r != -EAGAIN ? r : reader.count;
}
