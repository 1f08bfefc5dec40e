/* Keys of people, for commands that sign. */
#pragma once

#include "cli.h"
#include "common/key.h"

#define PASSPHRASE_MAX 1024

/** passphrase_get() - from the option --passphrase-file, else asked (@is_new: twice); wipe it after use */
int passphrase_get(const struct call *call, const char *name, bool is_new, char ret[PASSPHRASE_MAX],
                   struct error *error);
/** signing_key_load() - a key file, with its passphrase if it is sealed */
int signing_key_load(const struct call *call, const char *path, struct secret_key **ret, struct error *error);
