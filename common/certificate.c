/* See certificate.h. */
#include "certificate.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <time.h>

#include "io.h"
#include "times.h"

static void bio_freep(BIO **bio)
{
    BIO_free_all(*bio);
}

static void request_freep(X509_REQ **request)
{
    X509_REQ_free(*request);
}

static void x509_freep(X509 **x509)
{
    X509_free(*x509);
}

static int certificate_error(struct error *error, const char *what)
{
    unsigned long code = ERR_get_error();
    const char *reason = ERR_reason_error_string(code);

    ERR_clear_error();
    return error_set(error, EIO, "%s: %s", what, reason ? reason : "OpenSSL does not say why");
}

static int bio_take_text(BIO *bio, char **ret, struct error *error)
{
    char *data;
    long length = BIO_get_mem_data(bio, &data);

    *ret = strndup(data, (size_t)length);
    return *ret ? 0 : error_oom(error);
}

int certificate_key_generate(EVP_PKEY **ret, struct error *error)
{
    *ret = EVP_EC_gen("P-256");
    return *ret ? 0 : certificate_error(error, "can't make a TLS key");
}

int certificate_key_format(EVP_PKEY *key, char **ret, struct error *error)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_secmem());

    if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
        return certificate_error(error, "can't write a TLS key");
    return bio_take_text(bio, ret, error);
}

int certificate_key_load(EVP_PKEY **ret, const char *path, struct error *error)
{
    _cleanup_(bio_freep) BIO *bio = NULL;
    _cleanup_free_ char *text = NULL;
    size_t length;
    int r;

    r = io_read_file(path, CERTIFICATE_BYTES_MAX, &text, &length, error);
    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(text, (int)length);
    *ret = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
    explicit_bzero(text, length);
    return *ret ? 0 : certificate_error(error, path);
}

int certificate_request(EVP_PKEY *key, const char *name, char **ret, struct error *error)
{
    _cleanup_(request_freep) X509_REQ *request = X509_REQ_new();
    _cleanup_(bio_freep) BIO *bio = BIO_new(BIO_s_mem());

    if (!request || !bio ||
        !X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(request), "CN", MBSTRING_UTF8,
                                    (const unsigned char *)name, -1, -1, 0) ||
        !X509_REQ_set_pubkey(request, key) || !X509_REQ_sign(request, key, EVP_sha256()) ||
        !PEM_write_bio_X509_REQ(bio, request))
        return certificate_error(error, "can't make a certificate request");
    return bio_take_text(bio, ret, error);
}

static int x509_common_name(X509 *x509, char **ret, struct error *error)
{
    char name[256];

    if (X509_NAME_get_text_by_NID(X509_get_subject_name(x509), NID_commonName, name, sizeof(name)) < 0)
        return error_set(error, EINVAL, "the certificate has no common name");
    *ret = strdup(name);
    return *ret ? 0 : error_oom(error);
}

int certificate_check(const char *pem, EVP_PKEY *key, int64_t *ret_expires_usec, char **ret_name,
                      struct error *error)
{
    _cleanup_(bio_freep) BIO *bio = BIO_new_mem_buf(pem, -1);
    _cleanup_(x509_freep) X509 *x509 = NULL;
    struct tm expires = {0};

    x509 = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (!x509)
        return certificate_error(error, "not a certificate");
    if (!X509_check_private_key(x509, key)) {
        ERR_clear_error();
        return error_set(error, EINVAL, "the certificate is for another key");
    }
    if (!ASN1_TIME_to_tm(X509_get0_notAfter(x509), &expires))
        return certificate_error(error, "the certificate's end");
    *ret_expires_usec = timegm(&expires) * USEC_PER_SEC;
    return ret_name ? x509_common_name(x509, ret_name, error) : 0;
}
