/* The hands that end a fault. A mutation build (meson -Dmutations=timer,owner,sweep...) takes one away, and
 * the tests must turn red. */
#pragma once

#include <stdbool.h>

#ifndef MUTATION_TIMER
#define MUTATION_TIMER 0
#endif
#ifndef MUTATION_OWNER
#define MUTATION_OWNER 0
#endif
#ifndef MUTATION_TIMEOUT
#define MUTATION_TIMEOUT 0
#endif
#ifndef MUTATION_SIGNATURE
#define MUTATION_SIGNATURE 0
#endif
#ifndef MUTATION_SWEEP
#define MUTATION_SWEEP 0
#endif

static const bool has_kernel_timer = !MUTATION_TIMER;        /* BOOTTIME SIGKILL at deadline + grace */
static const bool has_owner_flag = !MUTATION_OWNER;          /* nft table dies with its socket */
static const bool has_element_timeout = !MUTATION_TIMEOUT;   /* nft set elements end at the deadline */
static const bool has_signature_check = !MUTATION_SIGNATURE; /* mandates and orders are verified */
static const bool has_sweep = !MUTATION_SWEEP;               /* the sweep undoes what it finds */
