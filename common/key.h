/* Ed25519 keys: of people (with a passphrase), of hosts, of the coordinator. */
#pragma once

#include <stdint.h>

#include "error.h"

#define KEY_PUBLIC_BYTES    32
#define KEY_SECRET_BYTES    64
#define KEY_SIGNATURE_BYTES 64

struct public_key {
    uint8_t bytes[KEY_PUBLIC_BYTES];
};

/**
 * struct secret_key - a signing key in memory of its own (sodium_malloc: guarded, locked, wiped on free).
 * A process that forks keeps it for itself: the child has zeros in its place, which it must not free.
 */
struct secret_key;

int secret_key_generate(struct secret_key **ret, struct error *error);
struct secret_key *secret_key_free(struct secret_key *key);
DEFINE_CLEANUP(struct secret_key *, secret_key_free)

struct public_key secret_key_public(const struct secret_key *key);
void secret_key_sign(const struct secret_key *key, const void *message, size_t length,
                     uint8_t ret[KEY_SIGNATURE_BYTES]);

/**
 * secret_key_save() - write a key file, mode 0600, that did not exist before
 * @passphrase: NULL or empty = not encrypted
 *
 * JSON: {"schema": "grivet.key/1", "name", "public", and either "secret" (64 bytes: seed and public key) or
 * "sealed" (salt, nonce and box: Argon2id with 64 MiB and XSalsa20-Poly1305, both by libsodium)}.
 * Return: 0, -EEXIST, -errno
 */
int secret_key_save(const struct secret_key *key, const char *path, const char *name, const char *passphrase,
                    struct error *error);

/** secret_key_is_sealed() - does the file need a passphrase? Return: 1, 0 or -errno */
int secret_key_is_sealed(const char *path, struct error *error);

/** secret_key_load() - Return: 0, -EKEYREJECTED for a wrong passphrase, -errno; refuses a file open to others
 */
int secret_key_load(struct secret_key **ret, const char *path, const char *passphrase, struct error *error);

/** public_key_save() / public_key_load() - one line: `grivet-ed25519 BASE64 NAME`; into a file that did not
 * exist before */
int public_key_save(const struct public_key *key, const char *path, const char *name, struct error *error);
int public_key_load(struct public_key *ret, char **ret_name, const char *path, struct error *error);

#define KEY_TEXT_MAX 45
/** public_key_format() - 44 base64 characters and a NUL */
const char *public_key_format(const struct public_key *key, char ret[KEY_TEXT_MAX]);
int public_key_parse(struct public_key *ret, const char *text);
