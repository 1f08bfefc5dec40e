/* X.509, as little as is needed: three kinds of certificates, each with one use. */
#include "ca.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/io.h"

#define BACKDATE_SECONDS 300 /* clocks of new hosts may be behind */

struct ca {
    X509 *certificate;
    EVP_PKEY *key;
    char *pem;
};

/* What a certificate is for; @extensions are pairs ended by NID_undef. */
struct profile {
    const char *unit;
    int days;
    struct {
        int nid;
        const char *value;
    } extensions[5];
};

static const struct profile profile_ca = {NULL,
                                          CA_DAYS,
                                          {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                           {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                           {NID_subject_key_identifier, "hash"}}};
static const struct profile profile_server = {NULL,
                                              CA_DAYS,
                                              {{NID_basic_constraints, "critical,CA:FALSE"},
                                               {NID_key_usage, "critical,digitalSignature"},
                                               {NID_ext_key_usage, "serverAuth"}}};
static const struct profile profile_operator = {"operator",
                                                CA_OPERATOR_DAYS,
                                                {{NID_basic_constraints, "critical,CA:FALSE"},
                                                 {NID_key_usage, "critical,digitalSignature"},
                                                 {NID_ext_key_usage, "clientAuth"}}};
static const struct profile profile_agent = {"agent",
                                             CA_AGENT_DAYS,
                                             {{NID_basic_constraints, "critical,CA:FALSE"},
                                              {NID_key_usage, "critical,digitalSignature"},
                                              {NID_ext_key_usage, "clientAuth"}}};

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(BIO *, BIO_free)

static int ca_error(struct error *error, const char *what)
{
    char reason[200] = "unknown";

    if (ERR_peek_last_error())
        ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    return error_set(error, EINVAL, "%s: %s", what, reason);
}

int ca_save_new(const char *path, const char *text, unsigned int mode, struct error *error)
{
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    int r;

    if (fd < 0)
        return error_errno(error, errno, "%s", path);
    r = fchmod(fd, mode) < 0 ? -errno : io_write_all(fd, text, strlen(text));
    if (r == 0 && fsync(fd) < 0)
        r = -errno;
    if (r < 0)
        return error_errno(error, -r, "%s", path);
    return 0;
}

static int bio_text(BIO *bio, char **ret, struct error *error)
{
    char *data;
    long length = BIO_get_mem_data(bio, &data);

    *ret = strndup(data, (size_t)length);
    return *ret ? 0 : error_oom(error);
}

static int certificate_pem(X509 *certificate, char **ret, struct error *error)
{
    _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());

    if (!bio || PEM_write_bio_X509(bio, certificate) != 1)
        return ca_error(error, "certificate");
    return bio_text(bio, ret, error);
}

static int key_save_new(EVP_PKEY *key, const char *path, struct error *error)
{
    _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_secmem());
    _cleanup_free_ char *text = NULL;
    int r;

    if (!bio || PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) != 1)
        return ca_error(error, "key");
    r = bio_text(bio, &text, error);
    if (r == 0)
        r = ca_save_new(path, text, 0600, error);
    if (text)
        explicit_bzero(text, strlen(text));
    return r;
}

static bool set_subject(X509_NAME *name, const char *unit, const char *common)
{
    return (!unit ||
            X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, (const unsigned char *)unit, -1, -1, 0)) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1, -1, 0);
}

static bool set_serial(X509 *certificate)
{
    unsigned char bytes[16];
    BIGNUM *number;
    bool is_set;

    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    bytes[0] &= 0x7f;
    number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return is_set;
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    bool is_added;

    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

/* @ca NULL = signed by its own @key; @names: for subjectAltName, or NULL */
static int certificate_make(X509 **ret, const struct ca *ca, EVP_PKEY *key, const struct profile *profile,
                            const char *common, const char *names, struct error *error)
{
    _cleanup_(X509_freep) X509 *certificate = X509_new();
    bool is_good =
        certificate && X509_set_version(certificate, X509_VERSION_3) && set_serial(certificate) &&
        X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE_SECONDS) &&
        X509_time_adj_ex(X509_getm_notAfter(certificate), profile->days, 0, NULL) &&
        set_subject(X509_get_subject_name(certificate), profile->unit, common) &&
        X509_set_issuer_name(certificate, X509_get_subject_name(ca ? ca->certificate : certificate)) &&
        X509_set_pubkey(certificate, key);

    for (size_t i = 0; is_good && profile->extensions[i].value; i++)
        is_good = add_extension(certificate, profile->extensions[i].nid, profile->extensions[i].value);
    if (is_good && names)
        is_good = add_extension(certificate, NID_subject_alt_name, names);
    if (!is_good || !X509_sign(certificate, ca ? ca->key : key, EVP_sha256()))
        return ca_error(error, "certificate");
    *ret = TAKE_PTR(certificate);
    return 0;
}

static int certificate_save_new(X509 *certificate, const char *path, struct error *error)
{
    _cleanup_free_ char *pem = NULL;
    int r = certificate_pem(certificate, &pem, error);

    return r < 0 ? r : ca_save_new(path, pem, 0644, error);
}

/* A fresh key with its certificate, both into new files. */
static int issue_with_key(const struct ca *ca, const struct profile *profile, const char *common,
                          const char *names, const char *certificate_path, const char *key_path,
                          struct error *error)
{
    _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
    _cleanup_(X509_freep) X509 *certificate = NULL;
    int r;

    if (!key)
        return ca_error(error, "key");
    r = certificate_make(&certificate, ca, key, profile, common, names, error);
    if (r == 0)
        r = key_save_new(key, key_path, error);
    return r < 0 ? r : certificate_save_new(certificate, certificate_path, error);
}

int ca_create(const char *folder, const char *environment, struct error *error)
{
    char name[80], certificate[4096], key[4096];

    snprintf(name, sizeof(name), "grivet %s", environment);
    snprintf(certificate, sizeof(certificate), "%s/ca.crt", folder);
    snprintf(key, sizeof(key), "%s/ca.key", folder);
    return issue_with_key(NULL, &profile_ca, name, NULL, certificate, key, error);
}

int ca_load(struct ca **ret, const char *folder, struct error *error)
{
    _cleanup_(ca_freep) struct ca *ca = calloc(1, sizeof(*ca));
    _cleanup_(BIO_freep) BIO *certificate = NULL;
    _cleanup_(BIO_freep) BIO *key = NULL;
    char path[4096];

    if (!ca)
        return error_oom(error);
    snprintf(path, sizeof(path), "%s/ca.crt", folder);
    certificate = BIO_new_file(path, "r");
    if (!certificate || !(ca->certificate = PEM_read_bio_X509(certificate, NULL, NULL, NULL)))
        return ca_error(error, path);
    snprintf(path, sizeof(path), "%s/ca.key", folder);
    key = BIO_new_file(path, "r");
    if (!key || !(ca->key = PEM_read_bio_PrivateKey(key, NULL, NULL, NULL)) ||
        X509_check_private_key(ca->certificate, ca->key) != 1)
        return ca_error(error, path);
    if (certificate_pem(ca->certificate, &ca->pem, error) < 0)
        return error_oom(error);
    *ret = TAKE_PTR(ca);
    return 0;
}

struct ca *ca_free(struct ca *ca)
{
    if (!ca)
        return NULL;
    X509_free(ca->certificate);
    EVP_PKEY_free(ca->key);
    free(ca->pem);
    free(ca);
    return NULL;
}

const char *ca_pem(const struct ca *ca)
{
    return ca->pem;
}

const char *ca_sha256(const void *data, size_t length, char ret[65])
{
    unsigned char digest[32] = {0};

    EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL);
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(ret + 2 * i, 3, "%02x", digest[i]);
    return ret;
}

const char *ca_pin(const struct ca *ca, char ret[72])
{
    unsigned char *der = NULL;
    int length = i2d_X509(ca->certificate, &der);

    memcpy(ret, "sha256:", sizeof("sha256:"));
    ca_sha256(der, length > 0 ? (size_t)length : 0, ret + 7);
    OPENSSL_free(der);
    return ret;
}

static bool is_address(const char *name)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static int names_join(const char *const *names, char *ret, size_t size, struct error *error)
{
    size_t used = 0;

    for (size_t i = 0; names[i]; i++) {
        /* a comma or a colon would start another entry of the extension */
        if (!is_address(names[i]) &&
            (strspn(names[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") !=
                 strlen(names[i]) ||
             !*names[i]))
            return error_set(error, EINVAL, "name %s: expected a host name or an address", names[i]);
        used += (size_t)snprintf(ret + used, size - used, "%s%s:%s", i ? "," : "",
                                 is_address(names[i]) ? "IP" : "DNS", names[i]);
        if (used >= size)
            return error_set(error, E2BIG, "names: too many for one certificate");
    }
    return 0;
}

int ca_issue_server(const struct ca *ca, const char *const *names, const char *certificate_path,
                    const char *key_path, struct error *error)
{
    char joined[2048];
    int r = names_join(names, joined, sizeof(joined), error);

    return r < 0 ? r
                 : issue_with_key(ca, &profile_server, "grivet-coordinator", joined, certificate_path,
                                  key_path, error);
}

int ca_issue_operator(const struct ca *ca, const char *name, const char *certificate_path,
                      const char *key_path, struct error *error)
{
    return issue_with_key(ca, &profile_operator, name, NULL, certificate_path, key_path, error);
}

static bool key_is_accepted(EVP_PKEY *key)
{
    char group[32] = "";

    if (EVP_PKEY_is_a(key, "ED25519"))
        return true;
    return EVP_PKEY_is_a(key, "EC") && EVP_PKEY_get_group_name(key, group, sizeof(group), NULL) == 1 &&
           strcmp(group, "prime256v1") == 0;
}

int ca_issue_agent(const struct ca *ca, const char *host, const char *csr, char **ret, struct error *error)
{
    _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(csr, -1);
    _cleanup_(X509_REQ_freep) X509_REQ *request = bio ? PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL) : NULL;
    _cleanup_(X509_freep) X509 *certificate = NULL;
    EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;
    int r;

    if (!key)
        return ca_error(error, "csr: expected a certificate request in PEM");
    if (!key_is_accepted(key))
        return error_set(error, EINVAL, "csr: expected a P-256 or Ed25519 key");
    if (X509_REQ_verify(request, key) != 1)
        return ca_error(error, "csr: not signed by its own key");
    r = certificate_make(&certificate, ca, key, &profile_agent, host, NULL, error);
    return r < 0 ? r : certificate_pem(certificate, ret, error);
}
