/* Does a burner get the time that it wants? Told from what it and its CPU did between looks. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/**
 * struct burner_progress - @used_nsec, @idle_nsec: of CPU time by the last look, of the burner and left over
 * on its CPU; @ahead_nsec: what it had used by then beyond what it should, and rests for; @n_kept: looks in a
 * row that found it kept from running
 */
struct burner_progress {
    int64_t used_nsec, idle_nsec, ahead_nsec;
    int n_kept;
};

/**
 * burner_progress_look() - @passed_nsec after the last look, at @used_nsec and @idle_nsec
 * A busy CPU is no interference: services come first beside a burner that yields (@is_yielding), and one that
 * does not may wait for a while. What tells is a burner that runs next to never although its CPU is free, or
 * that does not yield and runs never; and several looks, since one may be late or fall into a suspend.
 * Return: has it been kept from running?
 */
bool burner_progress_look(struct burner_progress *progress, int64_t passed_nsec, int64_t used_nsec,
                          int64_t idle_nsec, int load_percent, bool is_yielding);
