/* The gate from outside: make it, read it back, take it away. See gate.h. */
#include "gate-devices.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "common/hands.h"

const struct cidr gate_metadata[2] = {
    {AF_INET, 32, {169, 254, 169, 254}},
    {AF_INET6, 128, {0xfd, 0x00, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54}},
};

static bool kernel_is_at_least(int major, int minor)
{
    struct utsname name;
    int have_major, have_minor;

    if (uname(&name) < 0 || sscanf(name.release, "%d.%d", &have_major, &have_minor) != 2)
        return false;
    return have_major > major || (have_major == major && have_minor >= minor);
}

bool gate_has_egress(void)
{
    return kernel_is_at_least(5, 16);
}

bool gate_adds_devices(void)
{
    return kernel_is_at_least(6, 4);
}

/* Without CAP_NET_ADMIN (a plan is made without) nf_tables answers EPERM, which tells that it is there. */
int gate_supported(const void *parameters, struct error *error)
{
    static bool
        has_answered; /* and so will again: closing a socket can wait for others' tables to be freed */
    _cleanup_close_ int fd = -1;
    struct error words = {0};
    int r;

    if (has_answered)
        return 0;
    if (!kernel_is_at_least(5, 12))
        return error_set(error, EOPNOTSUPP,
                         "needs kernel 5.12 or newer, for nftables tables that have an owner");
    fd = nft_open(&words);
    r = fd < 0 ? fd
               : nft_read(fd, NFT_MSG_GETTABLE, NLM_F_DUMP, NFPROTO_INET, NULL, NULL, NULL, NULL, &words);
    if (r < 0 && r != -EPERM && r != -EAGAIN)
        return error_set(error, EOPNOTSUPP, "this kernel has no nf_tables (%s)", words.text);
    has_answered = r >= 0;
    return 0;
}

int gate_find_cgroup(const struct gate_spec *spec, struct cgroup *ret, struct error *error)
{
    *ret = (struct cgroup){0};
    if (!spec->cgroup)
        return 0;
    if (!kernel_is_at_least(5, 13))
        return error_set(error, EOPNOTSUPP,
                         "cgroup: needs kernel 5.13 or newer, to tell packets by their socket's cgroup");
    return cgroup_find(spec->cgroup, ret, error);
}

int gate_add_undos(struct record *record, int fd, const char *name, struct error *error)
{
    char argument[UNDO_NAME_MAX + 8];
    int r = 0;

    for (size_t i = 0; i < NFT_FAMILIES && r == 0; i++) {
        snprintf(argument, sizeof(argument), "%s %s", nft_families[i].name, name);
        r = record_add_undo(record, fd, "nft-table", argument, error);
    }
    return r;
}

bool gate_has_netdev(const struct gate *gate)
{
    return gate->has_egress || gate->has_ingress || gate->has_delivery || gate->has_wire;
}

static void prepare_removal(struct gate *gate)
{
    nft_batch_begin(&gate->removal, gate->removal_bytes, sizeof(gate->removal_bytes));
    if (gate_has_netdev(gate))
        nft_drop_table(&gate->removal, NFPROTO_NETDEV, gate->name);
    nft_drop_table(&gate->removal, NFPROTO_INET, gate->name);
    nft_batch_end(&gate->removal);
}

/* UDP that is forwarded can be dropped in forward: its sender, on another host, hears nothing of it. */
static void choose_chains(struct gate *gate, const struct gate_spec *spec, bool has_devices)
{
    bool is_host = spec->scope & GATE_HOST, has_egress = has_devices && gate_has_egress();

    gate->is_shaping = spec->shape;
    gate->has_egress = has_egress && spec->is_out && (spec->shape || (is_host && spec->protocols & GATE_UDP));
    gate->has_ingress = has_devices && spec->is_in && spec->shape && is_host;
    gate->has_delivery = has_egress && spec->is_in && spec->shape && !is_host;
    gate->has_wire = spec->wire;
}

/* More would be cut off, or refused by the kernel without a word about why. */
int gate_check_devices(const struct gate_spec *spec, struct error *error)
{
    size_t count = gate_devices_count();
    struct gate gate = {0};

    choose_chains(&gate, spec, count > 0);
    if (count <= GATE_DEVICES_MAX || !(gate.has_egress || gate.has_ingress || gate.has_delivery))
        return 0;
    return error_set(error, EOPNOTSUPP,
                     "this host has %zu network devices, and the kernel takes %d in a chain%s", count,
                     GATE_DEVICES_MAX, spec->shape ? "" : "; `protocol: tcp` needs none");
}

int gate_open(struct gate *gate, const struct gate_spec *spec, struct error *error)
{
    struct if_nameindex *list = if_nameindex();
    _cleanup_(nft_batch_clear) struct nft_batch batch = {0};
    const char *devices[GATE_DEVICES_MAX + 1];
    int r;

    if (!list)
        return error_errno(error, errno, "can't list devices");
    *gate = (struct gate){.fd = nft_open(error)};
    snprintf(gate->name, sizeof(gate->name), "%s", spec->name);
    choose_chains(gate, spec, gate_devices_find(gate, list, devices) > 0);
    prepare_removal(gate);
    r = gate->fd < 0 ? gate->fd : gate_find_cgroup(spec, &gate->cgroup, error);
    if (r == 0)
        r = gate_check_devices(spec, error);
    if (r == 0) {
        gate_write(gate, spec, devices, &batch);
        r = nft_commit(gate->fd, &batch, error);
    }
    if_freenameindex(list);
    if (r < 0)
        gate_close(gate);
    return r < 0 ? r : 0;
}

/* A table that is only about own packets knows no targets. */
static bool has_targets(const struct gate *gate, const struct nft_family *family)
{
    return family->number == NFPROTO_INET || gate->has_egress || gate->has_ingress || gate->has_delivery;
}

static int verify_table(const struct gate *gate, const struct nft_family *family, struct error *error)
{
    uint32_t flags;
    int r = nft_read_table(gate->fd, family->number, gate->name, &flags, error);

    if (r < 0)
        return r;
    if (r == 0)
        return error_set(error, FAULT_CHANGED, "table %s %s is gone", family->name, gate->name);
    if (has_owner_flag && !(flags & NFT_TABLE_F_OWNER))
        return error_set(error, FAULT_CHANGED, "table %s %s has no owner", family->name, gate->name);
    for (size_t i = 0; !gate->is_counted && i < ARRAY_SIZE(gate->n_intervals) && has_targets(gate, family);
         i++) {
        r = gate->n_intervals[i] ? nft_read_set(gate->fd, family->number, gate->name,
                                                i ? "targets6" : "targets4", NULL, NULL, error)
                                 : 0;
        if (r < 0)
            return r;
        if ((size_t)r != gate->n_intervals[i])
            return error_set(error, FAULT_CHANGED, "table %s %s has %d of %zu address ranges", family->name,
                             gate->name, r, gate->n_intervals[i]);
    }
    return 0;
}

static uint8_t chain_family(enum gate_chain chain)
{
    return chain >= GATE_EGRESS ? NFPROTO_NETDEV : NFPROTO_INET;
}

static int read_chains(const struct gate *gate, struct nft_chain_facts facts[GATE_CHAINS],
                       struct error *error)
{
    int r = 0;

    for (enum gate_chain chain = 0; r == 0 && chain < GATE_CHAINS; chain++)
        if (gate->n_rules[chain])
            r = nft_read_chain(gate->fd, chain_family(chain), gate->name, gate_chains[chain], &facts[chain],
                               error);
    return r;
}

int gate_verify(struct gate *gate, struct error *error)
{
    struct nft_chain_facts facts[GATE_CHAINS] = {0};
    int r = 0;

    for (size_t i = 0; i < NFT_FAMILIES && r == 0; i++)
        if (nft_families[i].number == NFPROTO_INET || gate_has_netdev(gate))
            r = verify_table(gate, &nft_families[i], error);
    if (r == 0)
        r = gate_devices_verify(gate, error);
    if (r == 0)
        r = read_chains(gate, facts, error);
    for (enum gate_chain chain = 0; r == 0 && chain < GATE_CHAINS; chain++)
        if (facts[chain].n_rules != gate->n_rules[chain])
            r = error_set(error, FAULT_CHANGED, "chain %s of %s has %zu rules instead of %zu",
                          gate_chains[chain], gate->name, facts[chain].n_rules, gate->n_rules[chain]);
    gate->is_counted |= r == 0;
    return r;
}

int gate_packets(const struct gate *gate, struct gate_packets *ret, struct error *error)
{
    struct nft_chain_facts facts[GATE_CHAINS] = {0};
    int r = read_chains(gate, facts, error);

    if (r < 0)
        return r;
    *ret = (struct gate_packets){
        .out = facts[GATE_OUTPUT].packets + facts[GATE_EGRESS].packets,
        .silent = facts[GATE_EGRESS].packets,
        .in = facts[GATE_INPUT].packets + facts[GATE_INGRESS].packets + facts[GATE_DELIVERY].packets,
        .forwarded_out = facts[GATE_FORWARD_OUT].packets,
        .forwarded_in = facts[GATE_FORWARD_IN].packets,
    };
    if (!gate->is_shaping) {
        ret->out += ret->forwarded_out;
        ret->in += ret->forwarded_in;
    }
    return 0;
}

struct waiting {
    size_t count;
    struct gate_seen *seen;
};

/* The key is address and port, in 8 or 20 bytes. */
static void on_waiting(const uint8_t *key, size_t length, uint64_t packets, void *context)
{
    struct waiting *waiting = context;
    size_t address = length < 20 ? 4 : 16;
    struct gate_seen seen = {.packets = packets};

    if (length < address + 2 || waiting->count == 2 * GATE_SEEN_MAX)
        return;
    seen.endpoint.address = (struct cidr){.family = address == 4 ? AF_INET : AF_INET6, .prefix = address * 8};
    memcpy(seen.endpoint.address.address, key, address);
    seen.endpoint.port = key[address] << 8 | key[address + 1];
    waiting->seen[waiting->count++] = seen;
}

int gate_waiting(const struct gate *gate, struct gate_seen ret[2 * GATE_SEEN_MAX], struct error *error)
{
    static const char *const sets[] = {"waiting4", "waiting6"};
    struct waiting waiting = {0, ret};

    for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
        int r = nft_read_set(gate->fd, NFPROTO_INET, gate->name, sets[i], on_waiting, &waiting, error);

        if (r < 0 && r != -ENOENT) /* there is none when nothing outbound, or no TCP, is blocked */
            return r;
    }
    return waiting.count;
}

int gate_remove(const struct gate *gate, struct error *error)
{
    return nft_commit(gate->fd, &gate->removal, error);
}

int gate_is_gone(const struct gate *gate, const char *name, struct error *error)
{
    _cleanup_close_ int own_fd = gate ? -1 : nft_open(error);
    int fd = gate ? gate->fd : own_fd, r = fd < 0 ? fd : 0;

    for (size_t i = 0; i < NFT_FAMILIES && r == 0; i++) {
        r = nft_read_table(fd, nft_families[i].number, name, NULL, error);
        if (r == 1)
            r = error_set(error, EEXIST, "table %s %s still exists", nft_families[i].name, name);
    }
    return r;
}

void gate_close(struct gate *gate)
{
    if (gate->fd >= 0)
        close(gate->fd);
    gate->fd = -1;
    nft_batch_clear(&gate->removal);
}

uint32_t gate_probe_priority(const char *name)
{
    return GATE_PROBE | (strtoull(name + strlen(UNDO_NAME_PREFIX), NULL, 16) & GATE_PROBE_DIGITS);
}

bool gate_is_exempt(const struct gate_spec *spec, const struct cidr *address)
{
    for (size_t i = 0; !spec->is_isolated && i < ARRAY_SIZE(gate_metadata); i++)
        if (cidr_contains(&gate_metadata[i], address))
            return true;
    for (size_t i = 0; spec->protected && i < spec->protected->count; i++)
        if (cidr_contains(&spec->protected->cidrs[i], address))
            return true;
    return false;
}
