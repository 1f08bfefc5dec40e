/* For gate.c: see gate-devices.c. */
#pragma once

#include "gate.h"

struct if_nameindex;

/** gate_devices_find() - note all but loopback and our own, through which packets would go in circles, and
 * point @ret, ended by NULL, into @list. Return: how many */
size_t gate_devices_find(struct gate *gate, const struct if_nameindex *list,
                         const char *ret[GATE_DEVICES_MAX + 1]);
/** gate_devices_count() - how many that would note */
size_t gate_devices_count(void);
/** gate_devices_verify() - bring those that came under the chains; are all that were the host's still there?
 * Return: 0, -FAULT_CHANGED, -errno */
int gate_devices_verify(struct gate *gate, struct error *error);
