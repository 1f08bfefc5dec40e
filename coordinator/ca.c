/* X.509, as little as is needed: a CA and three kinds of certificates, each with one use. */
#include "ca.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/certificate.h"
#include "common/io.h"

#define BACKDATE_SECONDS 300 /* clocks of new hosts may be behind */
struct ca {
    X509 *certificate;
    EVP_PKEY *key;
    char *pem;
};

static const struct {
    const char *unit;
    int days;
    const char *constraints, *usage, *extended_usage;
} profiles[] = {
    [CA_ITSELF] = {NULL, 3650, "critical,CA:TRUE,pathlen:0", "critical,keyCertSign,cRLSign", NULL},
    [CA_SERVER] = {NULL, 3650, "critical,CA:FALSE", "critical,digitalSignature", "serverAuth"},
    [CA_OPERATOR] = {"operator", 365, "critical,CA:FALSE", "critical,digitalSignature", "clientAuth"},
    [CA_AGENT] = {"agent", 30, "critical,CA:FALSE", "critical,digitalSignature", "clientAuth"},
};

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(X509_REQ *, X509_REQ_free)
DEFINE_CLEANUP(BIO *, BIO_free)

static int ca_error(struct error *error, const char *what)
{
    char reason[200] = "unknown";

    if (ERR_peek_last_error())
        ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    return error_set(error, EINVAL, "%s: %s", what, reason);
}

static int certificate_pem(X509 *certificate, char **ret, struct error *error)
{
    _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    long length;

    if (!bio || PEM_write_bio_X509(bio, certificate) != 1)
        return ca_error(error, "certificate");
    length = BIO_get_mem_data(bio, &data);
    *ret = strndup(data, (size_t)length);
    return *ret ? 0 : error_oom(error);
}

static bool set_subject(X509_NAME *name, const char *unit, const char *common)
{
    return (!unit ||
            X509_NAME_add_entry_by_txt(name, "OU", MBSTRING_UTF8, (const unsigned char *)unit, -1, -1, 0)) &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1, -1, 0);
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number = BN_new();
    bool is_set = number && BN_rand(number, 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) &&
                  BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));

    BN_free(number);
    return is_set;
}

static bool add_extension(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509_EXTENSION *extension;
    bool is_added;

    if (!value)
        return true;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

/* @ca NULL = signed by its own @key; @names: for subjectAltName, or NULL. @ret: PEM */
static int sign(const struct ca *ca, EVP_PKEY *key, enum ca_use use, const char *common, const char *names,
                char **ret, struct error *error)
{
    _cleanup_(X509_freep) X509 *certificate = X509_new();

    if (!certificate || !X509_set_version(certificate, X509_VERSION_3) || !set_serial(certificate) ||
        !X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATE_SECONDS) ||
        !X509_time_adj_ex(X509_getm_notAfter(certificate), profiles[use].days, 0, NULL) ||
        !set_subject(X509_get_subject_name(certificate), profiles[use].unit, common) ||
        !X509_set_issuer_name(certificate, X509_get_subject_name(ca ? ca->certificate : certificate)) ||
        !X509_set_pubkey(certificate, key) ||
        !add_extension(certificate, NID_basic_constraints, profiles[use].constraints) ||
        !add_extension(certificate, NID_key_usage, profiles[use].usage) ||
        !add_extension(certificate, NID_ext_key_usage, profiles[use].extended_usage) ||
        !add_extension(certificate, NID_subject_key_identifier, ca ? NULL : "hash") ||
        !add_extension(certificate, NID_subject_alt_name, names) ||
        !X509_sign(certificate, ca ? ca->key : key, EVP_sha256()))
        return ca_error(error, "certificate");
    return certificate_pem(certificate, ret, error);
}

/* For subjectAltName; a configuration has neither commas nor other colons in its names. */
static int join_names(const struct node *names, char **ret, struct error *error)
{
    unsigned char bytes[16];
    size_t length;
    FILE *to = open_memstream(ret, &length);

    if (!to)
        return error_oom(error);
    for (const struct node *name = names->first; name; name = name->next)
        fprintf(to, "%s%s:%s", name == names->first ? "" : ",",
                inet_pton(AF_INET, name->string, bytes) == 1 || strchr(name->string, ':') ? "IP" : "DNS",
                name->string);
    return fclose(to) == 0 ? 0 : error_oom(error);
}

int ca_issue(const struct ca *ca, const struct ca_wish *wish, struct error *error)
{
    _cleanup_(certificate_key_freep) EVP_PKEY *key = NULL;
    _cleanup_free_ char *certificate = NULL, *key_text = NULL, *joined = NULL;
    int r;

    r = certificate_key_generate(&key, error);
    if (r == 0 && wish->names)
        r = join_names(wish->names, &joined, error);
    if (r == 0)
        r = sign(ca, key, wish->use, wish->common, joined, &certificate, error);
    if (r == 0)
        r = certificate_key_format(key, &key_text, error);
    if (r == 0)
        r = io_write_new(wish->key_path, key_text, strlen(key_text), 0600, error);
    if (key_text)
        explicit_bzero(key_text, strlen(key_text));
    if (r < 0)
        return r;
    r = io_write_new(wish->certificate_path, certificate, strlen(certificate), 0644, error);
    if (r < 0)
        unlink(wish->key_path);
    return r;
}

int ca_load(struct ca **ret, const char *folder, struct error *error)
{
    _cleanup_(ca_freep) struct ca *ca = calloc(1, sizeof(*ca));
    _cleanup_(BIO_freep) BIO *bio = NULL;
    char path[4096];
    int r;

    if (!ca)
        return error_oom(error);
    snprintf(path, sizeof(path), "%s/ca.key", folder);
    r = certificate_key_load(&ca->key, path, error);
    snprintf(path, sizeof(path), "%s/ca.crt", folder);
    if (r == 0)
        r = io_read_file(path, CERTIFICATE_BYTES_MAX, &ca->pem, NULL, error);
    if (r < 0)
        return r;
    bio = BIO_new_mem_buf(ca->pem, -1);
    ca->certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    if (!ca->certificate || X509_check_private_key(ca->certificate, ca->key) != 1)
        return ca_error(error, path);
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

const char *ca_sha256(const char *text, char ret[65])
{
    unsigned char digest[crypto_hash_sha256_BYTES];

    crypto_hash_sha256(digest, (const unsigned char *)text, strlen(text));
    return sodium_bin2hex(ret, 65, digest, sizeof(digest));
}

const char *ca_pin(const struct ca *ca, char ret[72])
{
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};

    X509_digest(ca->certificate, EVP_sha256(), digest, NULL);
    strcpy(ret, "sha256:");
    sodium_bin2hex(ret + 7, 65, digest, 32);
    return ret;
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
    EVP_PKEY *key = request ? X509_REQ_get0_pubkey(request) : NULL;

    if (!key)
        return ca_error(error, "csr: expected a certificate request in PEM");
    if (!key_is_accepted(key))
        return error_set(error, EINVAL, "csr: expected a P-256 or Ed25519 key");
    if (X509_REQ_verify(request, key) != 1)
        return ca_error(error, "csr: not signed by its own key");
    return sign(ca, key, CA_AGENT, host, NULL, ret, error);
}
