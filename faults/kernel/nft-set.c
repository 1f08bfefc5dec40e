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

/* A list of elements holds at most 64 KiB; an IPv6 interval takes 76 bytes. */
#define INTERVALS_PER_MESSAGE 500

/* Data types as nft(8) numbers them, so that `nft list` shows them (nftables: include/datatype.h). */
#define TYPE_IPV4_ADDRESS 7
#define TYPE_IPV6_ADDRESS 8
#define TYPE_INET_SERVICE 13
#define TYPE_BITS         6

/* Writes intervals in ascending order, those that touch as one, into as many messages as it takes. */
struct interval_writer {
    struct nft_batch *batch;
    const char *set;
    size_t key_length;
    int64_t deadline_boot_nsec; /* 0 = no timeout */
    size_t n_in_message, n_intervals, nest;
    uint64_t timeout_msec;
    uint8_t end[16]; /* of the interval that is open; meaningful with has_open */
    bool has_open, is_endless;
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

static void writer_flush(struct interval_writer *writer)
{
    if (writer->n_in_message)
        nft_nest_end(writer->batch, writer->nest);
    writer->n_in_message = 0;
}

/* Expiry counts from when the kernel reads a message, so every message gets its own timeout. */
static void writer_begin_message(struct interval_writer *writer)
{
    struct nft_batch *batch = writer->batch;

    nft_message(batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE);
    nft_put_string(batch, NFTA_SET_ELEM_LIST_TABLE, batch->table);
    nft_put_string(batch, NFTA_SET_ELEM_LIST_SET, writer->set);
    writer->nest = nft_nest(batch, NFTA_SET_ELEM_LIST_ELEMENTS);
    if (writer->deadline_boot_nsec)
        writer->timeout_msec = time_left_msec(batch, writer->deadline_boot_nsec);
}

static void writer_element(struct interval_writer *writer, const uint8_t *key, bool is_end)
{
    struct nft_batch *batch = writer->batch;
    size_t element = nft_nest(batch, NFTA_LIST_ELEM), nest = nft_nest(batch, NFTA_SET_ELEM_KEY);

    nft_put(batch, NFTA_DATA_VALUE, key, writer->key_length);
    nft_nest_end(batch, nest);
    if (is_end)
        nft_put_u32(batch, NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
    else if (writer->deadline_boot_nsec && has_element_timeout)
        nft_put_u64(batch, NFTA_SET_ELEM_TIMEOUT, writer->timeout_msec);
    nft_nest_end(batch, element);
}

/* An interval up to the last address has no end: one past the last would be zero. */
static void writer_close_interval(struct interval_writer *writer)
{
    if (writer->has_open && !writer->is_endless)
        writer_element(writer, writer->end, true);
    writer->has_open = false;
    if (writer->n_in_message == INTERVALS_PER_MESSAGE)
        writer_flush(writer);
}

static void writer_add(struct interval_writer *writer, const uint8_t *from, const uint8_t *end,
                       bool is_endless)
{
    bool is_touching = writer->has_open && memcmp(writer->end, from, writer->key_length) == 0;

    if (!is_touching) {
        writer_close_interval(writer);
        if (writer->n_in_message++ == 0)
            writer_begin_message(writer);
        writer_element(writer, from, false);
        writer->n_intervals++;
    }
    memcpy(writer->end, end, writer->key_length);
    writer->has_open = true;
    writer->is_endless = is_endless;
}

static void writer_end(struct interval_writer *writer)
{
    writer_close_interval(writer);
    writer_flush(writer);
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

size_t nft_add_cidr_set(struct nft_batch *batch, const char *name, sa_family_t family,
                        const struct cidr *cidrs, size_t count, int64_t deadline_boot_nsec)
{
    struct interval_writer writer = {
        .batch = batch,
        .set = name,
        .key_length = address_length(family),
        .deadline_boot_nsec = deadline_boot_nsec,
    };
    _cleanup_free_ struct cidr *own = cidrs_of_family(batch, family, cidrs, &count);
    bool is_timed = deadline_boot_nsec && has_element_timeout, is_endless;
    uint8_t end[16];

    if (!own || count == 0)
        return 0;
    add_set(batch, name, NFT_SET_INTERVAL | (is_timed ? NFT_SET_TIMEOUT : 0), address_type(family),
            writer.key_length);
    for (size_t i = 0; i < count; i++) {
        is_endless = cidr_end(&own[i], end);
        writer_add(&writer, own[i].address, end, is_endless);
    }
    writer_end(&writer);
    return writer.n_intervals;
}

void nft_add_port_set(struct nft_batch *batch, const char *name, const struct port_range *ranges,
                      size_t count)
{
    struct interval_writer writer = {.batch = batch, .set = name, .key_length = sizeof(uint16_t)};
    uint16_t from, end;

    add_set(batch, name, NFT_SET_INTERVAL, TYPE_INET_SERVICE, sizeof(uint16_t));
    for (size_t i = 0; i < count; i++) {
        from = htons(ranges[i].from);
        end = htons(ranges[i].to + 1);
        writer_add(&writer, (const uint8_t *)&from, (const uint8_t *)&end, ranges[i].to == UINT16_MAX);
    }
    writer_end(&writer);
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
