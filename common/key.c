/* Ed25519 keys: in memory, in the files of secret keys (in the clear for hosts, sealed with a passphrase for
 * people), and public keys as a line of text. See key.h. */
#include "key.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base64.h"
#include "document.h"
#include "io.h"

#define KEY_FILE_BYTES_MAX 4096
#define KEY_PREFIX         "grivet-ed25519 "

/* Libsodium's interactive limits of Argon2id, as numbers: a key must open with the next libsodium, too. */
#define SEAL_OPERATIONS   2
#define SEAL_MEMORY_BYTES (64 << 20)

/** struct secret_key - libsodium's form: the seed, then the public key */
struct secret_key {
    uint8_t bytes[KEY_SECRET_BYTES];
};

/** struct sealed - a secret key in a box that the passphrase opens (XSalsa20-Poly1305) */
struct sealed {
    uint8_t salt[crypto_pwhash_SALTBYTES];
    uint8_t nonce[crypto_secretbox_NONCEBYTES];
    uint8_t box[KEY_SECRET_BYTES + crypto_secretbox_MACBYTES];
};

struct key_file {
    const char *name, *public, *secret, *sealed;
};

static const struct field key_file_fields[] = {
    FIELD_SCHEMA_IS("grivet.key/1"),
    {"name", FIELD_STRING, offsetof(struct key_file, name), true, 1, 64},
    {"public", FIELD_STRING, offsetof(struct key_file, public), true},
    {"secret", FIELD_STRING, offsetof(struct key_file, secret)},
    {"sealed", FIELD_STRING, offsetof(struct key_file, sealed)},
    {},
};

/* sodium_malloc() has pages of its own for each key (its manual: "Secure memory"). */
static int secret_key_keep_from_children(struct secret_key *key)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = (uintptr_t)key & ~(page - 1);

    return madvise((void *)first, (uintptr_t)(key + 1) - first, MADV_WIPEONFORK);
}

static int secret_key_allocate(struct secret_key **ret, struct error *error)
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

static int derive_key(uint8_t ret[crypto_secretbox_KEYBYTES], const struct sealed *sealed,
                      const char *passphrase, struct error *error)
{
    if (crypto_pwhash(ret, crypto_secretbox_KEYBYTES, passphrase, strlen(passphrase), sealed->salt,
                      SEAL_OPERATIONS, SEAL_MEMORY_BYTES, crypto_pwhash_ALG_ARGON2ID13) < 0)
        return error_oom(error);
    return 0;
}

static int seal_secret(struct sealed *ret, const struct secret_key *key, const char *passphrase,
                       struct error *error)
{
    uint8_t derived[crypto_secretbox_KEYBYTES];
    int r;

    randombytes_buf(ret->salt, sizeof(ret->salt));
    randombytes_buf(ret->nonce, sizeof(ret->nonce));
    r = derive_key(derived, ret, passphrase, error);
    if (r == 0)
        crypto_secretbox_easy(ret->box, key->bytes, KEY_SECRET_BYTES, ret->nonce, derived);
    sodium_memzero(derived, sizeof(derived));
    return r;
}

/* Return: the text of a key file, owned by the caller, or NULL */
static char *format_file(const struct secret_key *key, const char *name, const char *passphrase,
                         struct error *error)
{
    bool is_sealed = passphrase && *passphrase;
    struct public_key public = secret_key_public(key);
    _cleanup_free_ char *secret = NULL;
    char text[KEY_TEXT_MAX], *formatted;
    struct sealed sealed;
    json_t *file;

    if (is_sealed && seal_secret(&sealed, key, passphrase, error) < 0)
        return NULL;
    secret = is_sealed ? base64_encode(&sealed, sizeof(sealed)) : base64_encode(key->bytes, KEY_SECRET_BYTES);
    file = secret ? json_pack("{s:s, s:s, s:s, s:s}", "schema", "grivet.key/1", "name", name, "public",
                              public_key_format(&public, text), is_sealed ? "sealed" : "secret", secret)
                  : NULL;
    formatted = file ? json_dumps(file, JSON_INDENT(2)) : NULL;
    if (!secret)
        error_oom(error);
    else if (!formatted)
        error_set(error, EINVAL, "'%.60s' can't name a key: not UTF-8", name);
    json_decref(file);
    if (secret)
        sodium_memzero(secret, strlen(secret));
    return formatted;
}

int secret_key_save(const struct secret_key *key, const char *path, const char *name, const char *passphrase,
                    struct error *error)
{
    _cleanup_free_ char *text = NULL;
    struct error why;
    size_t length;
    int r;

    text = format_file(key, name, passphrase, &why);
    if (!text)
        return error_set(error, why.code, "%s: %s", path, why.text);
    length = strlen(text);
    text[length] = '\n'; /* in place of the NUL: no second copy that nobody wipes */
    r = io_write_new(path, text, length + 1, 0600, error);
    sodium_memzero(text, length);
    return r;
}

static int check_mode(const char *path, struct error *error)
{
    struct stat stat_is;

    if (stat(path, &stat_is) < 0)
        return error_errno(error, errno, "%s: can't open the key file", path);
    if (!S_ISREG(stat_is.st_mode))
        return error_set(error, EINVAL, "%s: not a plain file", path);
    if (stat_is.st_mode & 077)
        return error_set(error, EPERM, "%s: others may use this key (mode %04o); chmod 600 it", path,
                         stat_is.st_mode & 07777);
    return 0;
}

static int read_file(const char *path, struct document **ret, struct key_file *file, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r = check_mode(path, error);

    if (r == 0)
        r = io_read_file(path, KEY_FILE_BYTES_MAX, &text, &length, error);
    if (r < 0)
        return r;
    r = document_decode(&document, path, text, length, key_file_fields, file, error);
    sodium_memzero(text, length);
    if (r == 0 && !file->secret == !file->sealed)
        r = node_error(document, document_root(document), error, "expected either 'secret' or 'sealed'");
    if (r == 0)
        *ret = TAKE_PTR(document);
    return r;
}

int secret_key_is_sealed(const char *path, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct key_file file = {0};
    int r = read_file(path, &document, &file, error);

    return r < 0 ? r : !!file.sealed;
}

static int unseal_secret(const char *path, const char *text, const char *passphrase,
                         uint8_t secret[KEY_SECRET_BYTES], struct error *error)
{
    uint8_t derived[crypto_secretbox_KEYBYTES];
    struct sealed sealed;
    int r;

    if (base64_decode_exactly(text, &sealed, sizeof(sealed)) < 0)
        return error_set(error, EINVAL, "%s:1:1: sealed: not a sealed key of %zu bytes", path,
                         sizeof(sealed));
    r = derive_key(derived, &sealed, passphrase ? passphrase : "", error);
    if (r == 0 &&
        crypto_secretbox_open_easy(secret, sealed.box, sizeof(sealed.box), sealed.nonce, derived) < 0)
        r = error_set(error, EKEYREJECTED, "%s: wrong passphrase", path);
    sodium_memzero(derived, sizeof(derived));
    return r;
}

int secret_key_load(struct secret_key **ret, const char *path, const char *passphrase, struct error *error)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    _cleanup_(document_freep) struct document *document = NULL;
    struct public_key public, derived;
    uint8_t secret[KEY_SECRET_BYTES];
    struct key_file file = {0};
    int r;

    r = secret_key_allocate(&key, error);
    if (r == 0)
        r = read_file(path, &document, &file, error);
    if (r < 0)
        return r;
    if (file.sealed)
        r = unseal_secret(path, file.sealed, passphrase, secret, error);
    else if (base64_decode_exactly(file.secret, secret, sizeof(secret)) < 0)
        r = node_error(document, document_root(document), error, "'secret' is no key of 64 bytes");
    if (r < 0)
        return r;
    /* The seed is the first half; the second, the public key, must not be taken on trust. */
    crypto_sign_seed_keypair(derived.bytes, key->bytes, secret);
    sodium_memzero(secret, sizeof(secret));
    if (public_key_parse(&public, file.public) < 0 || memcmp(&public, &derived, sizeof(public)) != 0)
        return node_error(document, document_root(document), error,
                          "'public' does not belong to the secret key");
    *ret = TAKE_PTR(key);
    return 0;
}

int public_key_save(const struct public_key *key, const char *path, const char *name, struct error *error)
{
    char line[256], text[KEY_TEXT_MAX];
    int length;

    length = snprintf(line, sizeof(line), KEY_PREFIX "%s %s\n", public_key_format(key, text), name);
    if (length >= (int)sizeof(line) || strpbrk(name, " \n"))
        return error_set(error, EINVAL, "'%.60s' can't name a key", name);
    return io_write_new(path, line, length, 0644, error);
}

int public_key_load(struct public_key *ret, char **ret_name, const char *path, struct error *error)
{
    _cleanup_free_ char *line = NULL;
    char *text, *name;
    size_t length;
    int r;

    r = io_read_file(path, 256, &line, &length, error);
    if (r < 0)
        return r;
    line[strcspn(line, "\n")] = '\0';
    text = line + strlen(KEY_PREFIX);
    name = strncmp(line, KEY_PREFIX, strlen(KEY_PREFIX)) == 0 ? strchr(text, ' ') : NULL;
    if (!name || !name[1] || strchr(name + 1, ' '))
        return error_set(error, EINVAL, "%s:1:1: expected 'grivet-ed25519 BASE64 NAME'", path);
    *name++ = '\0';
    if (public_key_parse(ret, text) < 0)
        return error_set(error, EINVAL, "%s:1:%zu: not a key of 32 bytes in base64", path,
                         strlen(KEY_PREFIX) + 1);
    if (ret_name && !(*ret_name = strdup(name)))
        return error_oom(error);
    return 0;
}
