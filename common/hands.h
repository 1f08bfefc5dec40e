/* The hands that end a fault. A mutation build (meson -Dmutations=timer,owner,sweep...) takes one away, and
 * the tests must turn red. */
#pragma once

#include <stdbool.h>

#include "mutations.h" /* made by meson.build */

static const bool has_kernel_timer = !MUTATION_TIMER;        /* BOOTTIME SIGKILL at deadline + grace */
static const bool has_owner_flag = !MUTATION_OWNER;          /* nft table dies with its socket */
static const bool has_element_timeout = !MUTATION_TIMEOUT;   /* nft set elements end at the deadline */
static const bool has_signature_check = !MUTATION_SIGNATURE; /* mandates and orders are verified */
static const bool has_sweep = !MUTATION_SWEEP;               /* the sweep undoes what it finds */
static const bool has_parent_death = !MUTATION_PARENT;       /* PDEATHSIG: who forked us takes us along */
static const bool has_executor_undo = !MUTATION_UNDO;        /* the executor undoes a dead holder's record */
static const bool has_own_undo = !MUTATION_REVERT;           /* the holder undoes what it made */
static const bool has_look = !MUTATION_LOOK; /* holder and executor look before they call it reverted */
