/* A mandate's file, and what is in it in words: for plan, sign, verify and run. */
#pragma once

#include <stdio.h>

#include "common/mandate.h"

/** mandate_file_parse() - an envelope and its decoded payload; owned by the caller, of a failure as well */
int mandate_file_parse(const char *name, const void *text, size_t length, struct envelope **ret_envelope,
                       struct mandate **ret_mandate, struct error *error);
int mandate_file_load(const char *path, struct envelope **ret_envelope, struct mandate **ret_mandate,
                      struct error *error);
/** mandate_file_print() - what one signs */
void mandate_file_print(FILE *out, const struct envelope *envelope, const struct mandate *mandate);
