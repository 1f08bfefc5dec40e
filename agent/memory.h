/* What a process keeps in memory: see memory.c. */
#pragma once

/** memory_lock() - a holder's, so that it does not wait for a disk: what is mapped now, and what will be:
 * best effort. Allocates nothing, and takes milliseconds */
void memory_lock(void);
/** memory_trim() - give back what was needed to start only */
void memory_trim(void);
