/*
 * TLS keys and certificate requests, by OpenSSL. Compiled into the few programs that link OpenSSL anyway
 * (courier, command line), never into the common library: the privileged side links none of it.
 */
#pragma once

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "error.h"

#define CERTIFICATE_BYTES_MAX 65536

static inline void certificate_key_freep(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

/** certificate_key_generate() - a new EC key on P-256 */
int certificate_key_generate(EVP_PKEY **ret, struct error *error);
/** certificate_key_format() - PEM (PKCS#8, not encrypted), NUL-ended; owned by the caller */
int certificate_key_format(EVP_PKEY *key, char **ret, struct error *error);
int certificate_key_load(EVP_PKEY **ret, const char *path, struct error *error);

/** certificate_request() - a PKCS#10 request for CN=@name, PEM, NUL-ended; owned by the caller */
int certificate_request(EVP_PKEY *key, const char *name, char **ret, struct error *error);

/**
 * certificate_check() - is @pem a certificate for @key?
 * @ret_expires_usec: notAfter in REALTIME microseconds
 * @ret_name: its CN, owned by the caller; NULL = not wanted
 */
int certificate_check(const char *pem, EVP_PKEY *key, int64_t *ret_expires_usec, char **ret_name,
                      struct error *error);
