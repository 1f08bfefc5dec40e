/*
 * A fault that makes load runs in a systemd scope of its own, in a slice that says how much weight it has:
 * cgroup weights are hierarchical, so that below grivet.slice it would take the agent's high weight along.
 * PID 1 bounds its run time, and memory that it is killed for is not the executor's.
 */
#pragma once

#include <stdint.h>

#include "common/error.h"

/**
 * scope_enter() - move this process, and all that it forks, into the scope grivet-<order> of @slice, and make
 * it the first that the kernel kills for memory
 * @end_boot_nsec: PID 1 kills what is in it then
 * Needs root. Return: 0, also where no systemd runs: then there is nothing to enter
 */
int scope_enter(const char *order, const char *slice, int64_t end_boot_nsec, struct error *error);
