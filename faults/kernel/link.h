/* Network devices of our own (ifb, veth). They have no lifetime: each is an undo step before it is made. */
#pragma once

#include "common/cidr.h"
#include "common/record.h"

/** link_add_undo() - note @name in @record and its file @fd, before it is made. Names are short, and two
 * orders may give the same: -EEXIST when it is there already, which is then nobody's to undo but its maker's
 */
int link_add_undo(struct record *record, int fd, const char *name, struct error *error);

/** link_add_ifb() - make the ifb @name (begins with "grivet-", at most 15 characters) and bring it up.
 * Return: its index or -errno; -EEXIST when there is one, -EOPNOTSUPP where the kernel has no ifb */
int link_add_ifb(const char *name, struct error *error);
/**
 * struct link_wire - a veth pair: what is sent into @near comes in at @far, if it is for its hardware
 * @address
 * @forwards_ipv4: what comes in there may go on, also where forwarding is off for new devices
 */
struct link_wire {
    const char *near, *far;
    uint8_t address[6];
    bool forwards_ipv4;
};
/** link_add_wire() - make it, both ends up; after a failure nothing is left. Return: index of the near end or
 * -errno, -EOPNOTSUPP where the kernel has no veth */
int link_add_wire(const struct link_wire *wire, struct error *error);
/** link_add_route() - @to is behind @name; goes with the device */
int link_add_route(const char *name, const struct cidr *to, struct error *error);
/** link_remove() - @name, and with it all others of its order; 0 also when it is gone already; refuses names
 * that are not ours; allocates nothing */
int link_remove(const char *name, struct error *error);
/** link_find() - Return: its index, 0 = there is none, or -errno */
int link_find(const char *name, struct error *error);
