/* The devices that a gate's netdev chains hang on: those that were there at first, and others that come while
 * it stands. */
#include "gate-devices.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool is_eligible(const char *name)
{
    return strcmp(name, "lo") != 0 && strncmp(name, UNDO_NAME_PREFIX, strlen(UNDO_NAME_PREFIX)) != 0;
}

static void free_list(struct if_nameindex **list)
{
    if (*list)
        if_freenameindex(*list);
}

size_t gate_devices_find(struct gate *gate, const struct if_nameindex *list,
                         const char *ret[GATE_DEVICES_MAX + 1])
{
    size_t count = 0;

    for (; list && list->if_index && count < GATE_DEVICES_MAX; list++) {
        struct gate_device *device = &gate->devices[count];

        if (!is_eligible(list->if_name))
            continue;
        *device = (struct gate_device){.index = (int)list->if_index};
        snprintf(device->name, sizeof(device->name), "%s", list->if_name);
        ret[count++] = list->if_name;
    }
    ret[count] = NULL;
    gate->n_devices = count;
    return count;
}

size_t gate_devices_count(void)
{
    _cleanup_(free_list) struct if_nameindex *list = if_nameindex();
    size_t count = 0;

    for (const struct if_nameindex *one = list; one && one->if_index; one++)
        count += is_eligible(one->if_name);
    return count;
}

static bool is_hosts_address(const struct sockaddr *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;

    return address && (address->sa_family == AF_INET ||
                       (address->sa_family == AF_INET6 && !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr)));
}

/* The devices of containers come and go; that one through which the host itself is reached goes is what
 * nobody signed. */
static int find_hosts(struct gate *gate, struct error *error)
{
    struct ifaddrs *list;

    if (getifaddrs(&list) < 0)
        return error_errno(error, errno, "can't list addresses");
    for (const struct ifaddrs *one = list; one; one = one->ifa_next)
        for (size_t i = 0; i < gate->n_devices; i++)
            gate->devices[i].is_hosts |=
                is_hosts_address(one->ifa_addr) && strcmp(one->ifa_name, gate->devices[i].name) == 0;
    freeifaddrs(list);
    gate->knows_hosts = true;
    return 0;
}

/* One of the same name is another, which has lost whatever hung on the first. */
static int check_gone(const struct gate *gate, const struct if_nameindex *list, struct error *error)
{
    for (size_t i = 0; i < gate->n_devices; i++) {
        const struct gate_device *device = &gate->devices[i];
        const struct if_nameindex *one = list;

        while (one->if_index && (int)one->if_index != device->index)
            one++;
        if (!one->if_index && device->is_hosts)
            return error_set(error, FAULT_CHANGED, "the device %s that was there is gone", device->name);
    }
    return 0;
}

struct covered {
    const struct if_nameindex *list;
    bool is_found, has[4 * GATE_DEVICES_MAX];
};

static void on_device(const char *name, void *context)
{
    struct covered *covered = context;

    covered->is_found = true;
    for (size_t i = 0; i < ARRAY_SIZE(covered->has) && covered->list[i].if_index; i++)
        covered->has[i] |= strcmp(covered->list[i].if_name, name) == 0;
}

/* Older kernels refuse (gate_adds_devices()). */
static int cover(struct gate *gate, enum gate_chain chain, const char *const *devices, struct error *error)
{
    _cleanup_(nft_batch_clear) struct nft_batch batch = {0};
    struct error words = {0};

    gate_write_devices(gate, chain, devices, &batch);
    if (nft_commit(gate->fd, &batch, &words) == 0)
        return 0;
    snprintf(gate->uncovered, sizeof(gate->uncovered), "%s", devices[0]);
    return error_set(error, FAULT_CHANGED, "the device %s came, and what goes through it is not met",
                     devices[0]);
}

static int cover_new(struct gate *gate, enum gate_chain chain, const struct if_nameindex *list,
                     struct error *error)
{
    struct covered covered = {.list = list};
    const char *missing[GATE_DEVICES_MAX + 1];
    size_t count = 0;
    int r = nft_read_devices(gate->fd, gate->name, gate_chains[chain], on_device, &covered, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(covered.has) && list[i].if_index && count < GATE_DEVICES_MAX; i++)
        if (!covered.has[i] && is_eligible(list[i].if_name))
            missing[count++] = list[i].if_name;
    missing[count] = NULL;
    /* A chain whose last device went is gone as well: its rules are missed. */
    return count && covered.is_found ? cover(gate, chain, missing, error) : 0;
}

int gate_devices_verify(struct gate *gate, struct error *error)
{
    const bool has[GATE_CHAINS] = {[GATE_EGRESS] = gate->has_egress,
                                   [GATE_INGRESS] = gate->has_ingress,
                                   [GATE_DELIVERY] = gate->has_delivery};
    _cleanup_(free_list) struct if_nameindex *list = NULL;
    int r = 0, r_new = 0;

    if (!gate->has_egress && !gate->has_ingress && !gate->has_delivery)
        return 0;
    list = if_nameindex();
    if (!list)
        return error_errno(error, errno, "can't list network devices");
    gate->uncovered[0] = '\0';
    for (enum gate_chain chain = 0; chain < GATE_CHAINS && r_new == 0; chain++)
        if (has[chain])
            r_new = cover_new(gate, chain, list, error);
    r = check_gone(gate, list, error);
    if (r == 0 && gate->is_counted && !gate->knows_hosts)
        r = find_hosts(gate, error);
    return r < 0 ? r : r_new;
}
