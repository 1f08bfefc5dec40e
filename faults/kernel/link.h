/* Network devices of our own (ifb). They have no lifetime: each is an undo step before it is made. */
#pragma once

#include "common/error.h"

/** link_add_ifb() - make the ifb @name (begins with "grivet-", at most 15 characters) and bring it up.
 * Return: its index or -errno; -EEXIST when there is one, -EOPNOTSUPP where the kernel has no ifb */
int link_add_ifb(const char *name, struct error *error);
/** link_remove() - 0 also when it is gone already; refuses names that are not ours; allocates nothing */
int link_remove(const char *name, struct error *error);
/** link_find() - Return: its index, 0 = there is none, or -errno */
int link_find(const char *name, struct error *error);
