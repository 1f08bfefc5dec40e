/* Ed25519 keys in memory, and the one line of a public key: see key.h. Key files are in key-file.c. */
#include "key.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base64.h"
#include "key-secret.h"

/* sodium_malloc() has pages of its own for each key (its manual: "Secure memory"). */
static int secret_key_keep_from_children(struct secret_key *key)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)key & ~(page - 1);

    return madvise((void *)first, (uintptr_t)(key + 1) - first, MADV_WIPEONFORK);
}

int secret_key_allocate(struct secret_key **ret, struct error *error)
{
    struct secret_key *key;

    if (sodium_init() < 0)
        return error_set(error, ENOSYS, "libsodium can't start: no source of random numbers");
    key = sodium_malloc(sizeof(*key));
    if (!key)
        return error_oom(error);
    if (secret_key_keep_from_children(key) < 0) {
        int code = errno;

        sodium_free(key);
        return error_errno(error, code, "a key in memory can't be kept from child processes");
    }
    *ret = key;
    return 0;
}

int secret_key_generate(struct secret_key **ret, struct error *error)
{
    struct public_key public;
    int r = secret_key_allocate(ret, error);

    if (r == 0)
        crypto_sign_keypair(public.bytes, (*ret)->bytes);
    return r;
}

struct secret_key *secret_key_free(struct secret_key *key)
{
    sodium_free(key);
    return NULL;
}

struct public_key secret_key_public(const struct secret_key *key)
{
    struct public_key public;

    crypto_sign_ed25519_sk_to_pk(public.bytes, key->bytes);
    return public;
}

void secret_key_sign(const struct secret_key *key, const void *message, size_t length,
                     uint8_t ret[KEY_SIGNATURE_BYTES])
{
    crypto_sign_detached(ret, NULL, message, length, key->bytes);
}

const char *public_key_format(const struct public_key *key, char ret[KEY_TEXT_MAX])
{
    return sodium_bin2base64(ret, KEY_TEXT_MAX, key->bytes, sizeof(key->bytes),
                             sodium_base64_VARIANT_ORIGINAL);
}

int public_key_parse(struct public_key *ret, const char *text)
{
    return base64_decode_exactly(text, ret->bytes, sizeof(ret->bytes));
}
