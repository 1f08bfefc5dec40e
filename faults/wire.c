/* See wire.h. docs/decisions/0008-forwarded-probe.md has what else was weighed. */
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/forwarding.h"
#include "kernel/link.h"

#define NEAR 'p'
#define FAR  'q'

/* Own packets come from addresses that are set aside for tests of what forwards: 198.18.0.0/15 (RFC 2544) and
 * 2001:2::/48 (RFC 5180). The order's last digits make the rest, so that two orders have two. */
static void choose_addresses(struct gate_wire *wire, const char *order)
{
    size_t length = strlen(order);
    uint32_t digits = strtoul(order + (length > 7 ? length - 7 : 0), NULL, 16);

    *wire = (struct gate_wire){
        .address = {0x02, 'w', 'i', 'r', 'e', 0},
        .mark = 0x80000000U | digits * GATE_WIRE_MAX, /* never 0, which is everybody's */
        .sources = {{AF_INET, 32, {198, 18 | (digits >> 16 & 1), digits >> 8, digits}},
                    {AF_INET6,
                     128,
                     {0x20, 0x01, 0, 0x02, [12] = digits >> 24, digits >> 16, digits >> 8, digits}}},
    };
    for (size_t i = 0; i < ARRAY_SIZE(wire->sources); i++)
        if (!forwarding_is_on(wire->sources[i].family))
            wire->sources[i].family = 0;
}

static int add_undos(struct fault_run *run, const char *near, const char *far, struct error *error)
{
    int r = link_add_undo(run->record, run->record_fd, near, error);

    return r < 0 ? r : link_add_undo(run->record, run->record_fd, far, error);
}

/* A route back, or a host that checks where packets come from (rp_filter) would drop them. */
static int add_routes(const struct gate_wire *wire, const char *far, struct error *error)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(wire->sources) && r == 0; i++)
        if (wire->sources[i].family)
            r = link_add_route(far, &wire->sources[i], error);
    return r;
}

int wire_open(struct gate_wire *wire, struct fault_run *run, struct error *error)
{
    char near[UNDO_LINK_MAX], far[UNDO_LINK_MAX];
    struct link_wire link = {.near = undo_link_name(run->order, NEAR, near),
                             .far = undo_link_name(run->order, FAR, far)};
    int r;

    choose_addresses(wire, run->order);
    link.forwards_ipv4 = wire->sources[0].family;
    if (!wire->sources[0].family && !wire->sources[1].family)
        return 0;
    r = add_undos(run, near, far, error);
    if (r < 0)
        return r;
    memcpy(link.address, wire->address, sizeof(link.address));
    r = wire->index = link_add_wire(&link, error);
    return r < 0 ? r : add_routes(wire, far, error);
}

int wire_close(const char *order, struct error *error)
{
    char name[UNDO_LINK_MAX];

    return link_remove(undo_link_name(order, NEAR, name), error);
}

int wire_is_gone(const char *order, struct error *error)
{
    char name[UNDO_LINK_MAX];
    int r = link_find(undo_link_name(order, NEAR, name), error);

    return r > 0 ? error_set(error, EEXIST, "device %s still exists", name) : r;
}
