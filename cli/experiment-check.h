/* An experiment's YAML, faults and parameters, checked before anybody else is asked. */
#pragma once

#include "common/document.h"

/** experiment_check() - Return: 0, -EINVAL with the place in @name. The coordinator checks everything else.
 */
int experiment_check(const char *name, const char *text, size_t length, struct error *error);
