/* A mandate's file, and what is in it in words: for plan, sign, verify and run. */
#pragma once

#include "common/mandate.h"

/** struct mandate_file - an envelope with its decoded payload */
struct mandate_file {
    struct envelope *envelope;
    struct mandate *mandate;
};

int mandate_file_load(struct mandate_file *ret, const char *path, struct error *error);
int mandate_file_parse(struct mandate_file *ret, const char *name, const void *text, size_t length,
                       struct error *error);
void mandate_file_clear(struct mandate_file *file);
/** mandate_file_print() - what one signs: window, steps, hosts, zones, late joiners, objectives */
void mandate_file_print(const struct mandate_file *file);
