/* Sets: address blocks and ports as intervals that end at the deadline, and a set that rules fill. See nft.h.
 */
#include "nft.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/hands.h"
#include "common/times.h"
#include "faults/fault.h"

/* A list of elements holds at most 64 KiB; an IPv6 interval, which is two of them, takes 76 bytes. */
#define ELEMENTS_PER_MESSAGE 1000

/* Data types as nft(8) numbers them, so that `nft list` shows them (nftables: include/datatype.h). */
#define TYPE_IPV4_ADDRESS 7
#define TYPE_IPV6_ADDRESS 8
#define TYPE_INET_SERVICE 13
#define TYPE_BITS         6

/* Where an interval begins, or the first key past its end. */
struct element {
    uint8_t key[16];
    bool is_end;
};

struct elements {
    size_t count, key_length;
    struct element *list;
};

static uint32_t address_type(sa_family_t family)
{
    return family == AF_INET ? TYPE_IPV4_ADDRESS : TYPE_IPV6_ADDRESS;
}

static size_t address_length(sa_family_t family)
{
    return family == AF_INET ? 4 : 16;
}

static void add_set(struct nft_batch *batch, const char *name, uint32_t flags, uint32_t type, size_t length)
{
    nft_message(batch, NFT_MSG_NEWSET, NLM_F_CREATE | NLM_F_EXCL);
    nft_put_string(batch, NFTA_SET_TABLE, batch->table);
    nft_put_string(batch, NFTA_SET_NAME, name);
    nft_put_u32(batch, NFTA_SET_FLAGS, flags);
    nft_put_u32(batch, NFTA_SET_KEY_TYPE, type);
    nft_put_u32(batch, NFTA_SET_KEY_LEN, length);
    nft_put_u32(batch, NFTA_SET_ID, batch->sequence);
}

/* Milliseconds until the deadline. Zero would mean "never expires" to the kernel, so it is a failure. */
static uint64_t time_left_msec(struct nft_batch *batch, int64_t deadline_boot_nsec)
{
    int64_t left = (deadline_boot_nsec - time_boot_nsec()) / NSEC_PER_MSEC;

    if (left < 1 && !batch->failure)
        batch->failure = -ETIME;
    return left < 1 ? 0 : left;
}

static void elements_push(struct elements *elements, const void *key, bool is_end)
{
    struct element *element = &elements->list[elements->count++];

    memcpy(element->key, key, elements->key_length);
    element->is_end = is_end;
}

/* In ascending order; those that touch become one. @end: NULL = up to the last address or port, which has no
 * end: one past the last would be zero. */
static void elements_add(struct elements *elements, const void *from, const void *end)
{
    const struct element *last = elements->count ? &elements->list[elements->count - 1] : NULL;

    if (last && last->is_end && memcmp(last->key, from, elements->key_length) == 0)
        elements->count--;
    else
        elements_push(elements, from, false);
    if (end)
        elements_push(elements, end, true);
}

static void write_element(struct nft_batch *batch, const struct elements *elements, size_t i,
                          uint64_t timeout_msec)
{
    size_t element = nft_nest(batch, NFTA_LIST_ELEM), nest = nft_nest(batch, NFTA_SET_ELEM_KEY);

    nft_put(batch, NFTA_DATA_VALUE, elements->list[i].key, elements->key_length);
    nft_nest_end(batch, nest);
    if (elements->list[i].is_end)
        nft_put_u32(batch, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    else if (timeout_msec && has_element_timeout)
        nft_put_u64(batch, NFTA_SET_ELEM_TIMEOUT, timeout_msec);
    nft_nest_end(batch, element);
}

/* As many messages as it takes. Expiry counts from when the kernel reads a message, so every message gets its
 * own timeout. Return: how many intervals */
static size_t write_elements(struct nft_batch *batch, const char *set, const struct elements *elements,
                             int64_t deadline_boot_nsec)
{
    size_t nest, n_intervals = 0;
    uint64_t timeout_msec;

    for (size_t i = 0; i < elements->count;) {
        timeout_msec = deadline_boot_nsec ? time_left_msec(batch, deadline_boot_nsec) : 0;
        nft_message(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
        nft_put_string(batch, NFTA_SET_ELEM_LIST_TABLE, batch->table);
        nft_put_string(batch, NFTA_SET_ELEM_LIST_SET, set);
        nest = nft_nest(batch, NFTA_SET_ELEM_LIST_ELEMENTS);
        do {
            n_intervals += !elements->list[i].is_end;
            write_element(batch, elements, i, timeout_msec);
        } while (++i < elements->count && i % ELEMENTS_PER_MESSAGE);
        nft_nest_end(batch, nest);
    }
    return n_intervals;
}

/* One past the last address of @cidr. Return: is there none, because it is the last of all? */
static bool cidr_end(const struct cidr *cidr, uint8_t ret[16])
{
    size_t byte = cidr->prefix ? (cidr->prefix - 1) / 8 : 0;
    unsigned int carry = cidr->prefix ? 1U << (7 - (cidr->prefix - 1) % 8) : 0x100;

    memcpy(ret, cidr->address, 16);
    for (size_t i = byte + 1; carry && i-- > 0;) {
        carry += ret[i];
        ret[i] = carry;
        carry >>= 8;
    }
    return carry;
}

static struct cidr *cidrs_of_family(struct nft_batch *batch, sa_family_t family, const struct cidr *cidrs,
                                    size_t *count)
{
    struct cidr *own = calloc(*count + 1, sizeof(*own));
    size_t n = 0;

    if (!own && !batch->failure)
        batch->failure = -ENOMEM;
    for (size_t i = 0; own && i < *count; i++)
        if (cidrs[i].family == family)
            own[n++] = cidrs[i];
    *count = own ? cidr_merge(own, n) : 0;
    return own;
}

/* Room for @count intervals. */
static struct elements elements_new(struct nft_batch *batch, size_t key_length, size_t count)
{
    struct elements elements = {.key_length = key_length, .list = calloc(2 * count, sizeof(struct element))};

    if (!elements.list && !batch->failure)
        batch->failure = -ENOMEM;
    return elements;
}

size_t nft_add_cidr_set(struct nft_batch *batch, const char *name, sa_family_t family,
                        const struct cidr *cidrs, size_t count, int64_t deadline_boot_nsec)
{
    _cleanup_free_ struct cidr *own = cidrs_of_family(batch, family, cidrs, &count);
    bool is_timed = deadline_boot_nsec && has_element_timeout;
    struct elements elements;
    uint8_t end[16];

    if (!own || count == 0)
        return 0;
    elements = elements_new(batch, address_length(family), count);
    for (size_t i = 0; elements.list && i < count; i++)
        elements_add(&elements, own[i].address, cidr_end(&own[i], end) ? NULL : end);
    add_set(batch, name, NFT_SET_INTERVAL | (is_timed ? NFT_SET_TIMEOUT : 0), address_type(family),
            elements.key_length);
    count = write_elements(batch, name, &elements, deadline_boot_nsec);
    free(elements.list);
    return count;
}

void nft_add_port_set(struct nft_batch *batch, const char *name, const struct port_range *ranges,
                      size_t count)
{
    struct elements elements = elements_new(batch, sizeof(uint16_t), count);

    for (size_t i = 0; elements.list && i < count; i++) {
        uint16_t from = htons(ranges[i].from), end = htons(ranges[i].to + 1);

        elements_add(&elements, &from, ranges[i].to == UINT16_MAX ? NULL : &end);
    }
    add_set(batch, name, NFT_SET_INTERVAL, TYPE_INET_SERVICE, elements.key_length);
    write_elements(batch, name, &elements, 0);
    free(elements.list);
}

/* What was seen may outlast the deadline by a moment, to be read: no verdict hangs on it. */
void nft_add_seen_set(struct nft_batch *batch, const char *name, sa_family_t family, uint32_t size,
                      int64_t deadline_boot_nsec)
{
    size_t nest;

    add_set(batch, name, NFT_SET_EVAL | NFT_SET_TIMEOUT,
            address_type(family) << TYPE_BITS | TYPE_INET_SERVICE, address_length(family) + 4);
    nft_put_u64(batch, NFTA_SET_TIMEOUT, time_left_msec(batch, deadline_boot_nsec) + 2000);
    nest = nft_nest(batch, NFTA_SET_DESC);
    nft_put_u32(batch, NFTA_SET_DESC_SIZE, size);
    nft_nest_end(batch, nest);
}
