/* A holder's memory: see memory-lock.c. */
#pragma once

/** memory_lock() - what is mapped now, and what will be: best effort. Allocates nothing, and takes
 * milliseconds */
void memory_lock(void);
