/* Key files: secret keys, in the clear (hosts) or sealed with a passphrase (people), and public keys. */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base64.h"
#include "document.h"
#include "io.h"
#include "key-secret.h"

#define KEY_FILE_BYTES_MAX   4096
#define KEY_SCHEMA           "grivet.key/1"
#define KEY_PREFIX           "grivet-ed25519 "
#define KEY_OPERATIONS_MAX   16
#define KEY_MEMORY_BYTES_MAX (1LL << 30)
#define KEY_SEALED_BYTES     (KEY_SECRET_BYTES + crypto_secretbox_MACBYTES)

struct key_file {
    const char *schema, *name, *public, *secret, *nonce, *sealed;
    const struct node *kdf;
};

struct kdf {
    const char *algorithm, *salt;
    int64_t operations, memory_bytes;
};

static const struct field key_file_fields[] = {
    {"schema", FIELD_STRING, offsetof(struct key_file, schema), true},
    {"name", FIELD_STRING, offsetof(struct key_file, name), true, 1, 64},
    {"public", FIELD_STRING, offsetof(struct key_file, public), true},
    {"secret", FIELD_STRING, offsetof(struct key_file, secret)},
    {"kdf", FIELD_NODE, offsetof(struct key_file, kdf)},
    {"nonce", FIELD_STRING, offsetof(struct key_file, nonce)},
    {"sealed", FIELD_STRING, offsetof(struct key_file, sealed)},
    {},
};

static const struct field kdf_fields[] = {
    {"algorithm", FIELD_STRING, offsetof(struct kdf, algorithm), true},
    {"salt", FIELD_STRING, offsetof(struct kdf, salt), true},
    {"operations", FIELD_INTEGER, offsetof(struct kdf, operations), true, 1, KEY_OPERATIONS_MAX},
    {"memory_bytes", FIELD_INTEGER, offsetof(struct kdf, memory_bytes), true, 8192, KEY_MEMORY_BYTES_MAX},
    {},
};

static json_t *json_base64(const void *data, size_t length)
{
    _cleanup_free_ char *text = base64_encode(data, length);

    return text ? json_string(text) : NULL;
}

static int derive_key(uint8_t ret[crypto_secretbox_KEYBYTES], const char *passphrase, const uint8_t *salt,
                      int64_t operations, int64_t memory_bytes, struct error *error)
{
    if (crypto_pwhash(ret, crypto_secretbox_KEYBYTES, passphrase, strlen(passphrase), salt, operations,
                      memory_bytes, crypto_pwhash_ALG_ARGON2ID13) < 0)
        return error_oom(error);
    return 0;
}

/* Adds kdf, nonce and sealed to @file. */
static int seal_secret(json_t *file, const struct secret_key *key, const char *passphrase,
                       struct error *error)
{
    uint8_t salt[crypto_pwhash_SALTBYTES], nonce[crypto_secretbox_NONCEBYTES], sealed[KEY_SEALED_BYTES];
    uint8_t derived[crypto_secretbox_KEYBYTES];
    int r;

    randombytes_buf(salt, sizeof(salt));
    randombytes_buf(nonce, sizeof(nonce));
    r = derive_key(derived, passphrase, salt, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                   crypto_pwhash_MEMLIMIT_INTERACTIVE, error);
    if (r < 0)
        return r;
    crypto_secretbox_easy(sealed, key->bytes, KEY_SECRET_BYTES, nonce, derived);
    sodium_memzero(derived, sizeof(derived));
    r = json_object_set_new(file, "kdf",
                            json_pack("{s:s, s:o, s:I, s:I}", "algorithm", "argon2id", "salt",
                                      json_base64(salt, sizeof(salt)), "operations",
                                      (json_int_t)crypto_pwhash_OPSLIMIT_INTERACTIVE, "memory_bytes",
                                      (json_int_t)crypto_pwhash_MEMLIMIT_INTERACTIVE));
    r |= json_object_set_new(file, "nonce", json_base64(nonce, sizeof(nonce)));
    r |= json_object_set_new(file, "sealed", json_base64(sealed, sizeof(sealed)));
    return r < 0 ? error_oom(error) : 0;
}

static char *format_file(const struct secret_key *key, const char *name, const char *passphrase,
                         struct error *error)
{
    struct public_key public = secret_key_public(key);
    char text[KEY_TEXT_MAX], *formatted = NULL;
    json_t *file;
    int r;

    file = json_pack("{s:s, s:s, s:s}", "schema", KEY_SCHEMA, "name", name, "public",
                     public_key_format(&public, text));
    if (!file)
        r = error_set(error, EINVAL, "'%.60s' can't name a key: not UTF-8", name);
    else if (passphrase && *passphrase)
        r = seal_secret(file, key, passphrase, error);
    else
        r = json_object_set_new(file, "secret", json_base64(key->bytes, KEY_SECRET_BYTES)) < 0
                ? error_oom(error)
                : 0;
    if (r == 0 && !(formatted = json_dumps(file, JSON_INDENT(2))))
        error_oom(error);
    json_decref(file);
    return formatted;
}

int secret_key_save(const struct secret_key *key, const char *path, const char *name, const char *passphrase,
                    struct error *error)
{
    _cleanup_free_ char *text = NULL;
    _cleanup_close_ int fd = -1;
    struct error why = {.code = ENOMEM};
    int r;

    text = format_file(key, name, passphrase, &why);
    if (!text)
        return error_set(error, why.code, "%s: %s", path, why.text);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(error, errno, "%s: can't make the key file", path);
    r = io_write_all(fd, text, strlen(text));
    if (r == 0 && (fchmod(fd, 0600) < 0 || io_write_all(fd, "\n", 1) < 0 || fsync(fd) < 0))
        r = -errno;
    sodium_memzero(text, strlen(text));
    if (r < 0) {
        unlink(path);
        return error_errno(error, -r, "%s: can't write the key file", path);
    }
    return 0;
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
    int r;

    r = check_mode(path, error);
    if (r == 0)
        r = io_read_file(path, KEY_FILE_BYTES_MAX, &text, &length, error);
    if (r < 0)
        return r;
    r = document_parse_json(&document, path, text, length, error);
    sodium_memzero(text, length);
    if (r == 0)
        r = node_decode(document, document_root(document), key_file_fields, file, error);
    if (r < 0)
        return r;
    if (strcmp(file->schema, KEY_SCHEMA) != 0)
        return node_error(document, node_get(document_root(document), "schema"), error, "expected %s",
                          KEY_SCHEMA);
    if (!file->secret == !(file->kdf && file->nonce && file->sealed))
        return node_error(document, document_root(document), error,
                          "expected either 'secret' or 'kdf', 'nonce' and 'sealed'");
    *ret = TAKE_PTR(document);
    return 0;
}

int secret_key_is_sealed(const char *path, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct key_file file = {0};
    int r = read_file(path, &document, &file, error);

    return r < 0 ? r : !file.secret;
}

static int unseal_secret(const char *path, const struct document *document, const struct key_file *file,
                         const char *passphrase, uint8_t secret[KEY_SECRET_BYTES], struct error *error)
{
    uint8_t salt[crypto_pwhash_SALTBYTES], nonce[crypto_secretbox_NONCEBYTES], sealed[KEY_SEALED_BYTES];
    uint8_t derived[crypto_secretbox_KEYBYTES];
    struct kdf kdf = {0};
    int r;

    r = node_decode(document, file->kdf, kdf_fields, &kdf, error);
    if (r < 0)
        return r;
    if (strcmp(kdf.algorithm, "argon2id") != 0 || base64_decode_exactly(kdf.salt, salt, sizeof(salt)) < 0 ||
        base64_decode_exactly(file->nonce, nonce, sizeof(nonce)) < 0 ||
        base64_decode_exactly(file->sealed, sealed, sizeof(sealed)) < 0)
        return node_error(document, file->kdf, error, "not the form of a sealed key");
    r = derive_key(derived, passphrase ? passphrase : "", salt, kdf.operations, kdf.memory_bytes, error);
    if (r == 0 && crypto_secretbox_open_easy(secret, sealed, sizeof(sealed), nonce, derived) < 0)
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
    if (!file.secret)
        r = unseal_secret(path, document, &file, passphrase, secret, error);
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
    return io_write_file(path, line, length, 0644, error);
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
