/* What a secret key is made of: for key.c and key-file.c alone. */
#pragma once

#include "key.h"

/** struct secret_key - libsodium's form: the seed, then the public key */
struct secret_key {
    uint8_t bytes[KEY_SECRET_BYTES];
};

/** secret_key_allocate() - an unset key in guarded memory */
int secret_key_allocate(struct secret_key **ret, struct error *error);
