/* TLS 1.3 only; a client certificate may be missing, but not wrong: each route says whom it wants. */
#include "http-tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <string.h>

DEFINE_CLEANUP(SSL_CTX *, SSL_CTX_free)

static int tls_error(struct error *error, const char *what, const char *path)
{
    char reason[200] = "unknown";

    if (ERR_peek_last_error())
        ERR_error_string_n(ERR_peek_last_error(), reason, sizeof(reason));
    ERR_clear_error();
    return error_set(error, EINVAL, "%s %s: %s", what, path, reason);
}

int http_tls_new(SSL_CTX **ret, const struct http_tls *tls, struct error *error)
{
    _cleanup_(SSL_CTX_freep) SSL_CTX *context = SSL_CTX_new(TLS_server_method());

    if (!context)
        return error_oom(error);
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0); /* a resumed session would outlive its certificate */
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(context, 1);
    if (SSL_CTX_use_certificate_chain_file(context, tls->certificate) != 1)
        return tls_error(error, "certificate", tls->certificate);
    if (SSL_CTX_use_PrivateKey_file(context, tls->key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(context) != 1)
        return tls_error(error, "key", tls->key);
    if (SSL_CTX_load_verify_locations(context, tls->ca, NULL) != 1)
        return tls_error(error, "CA", tls->ca);
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(tls->ca));
    *ret = TAKE_PTR(context);
    return 0;
}

static bool name_text(X509_NAME *name, int nid, char *ret, size_t size)
{
    int length = X509_NAME_get_text_by_NID(name, nid, NULL, 0);

    return length > 0 && (size_t)length < size &&
           X509_NAME_get_text_by_NID(name, nid, ret, (int)size) == length && strlen(ret) == (size_t)length;
}

enum http_who http_tls_peer(SSL *ssl, char ret[64])
{
    X509 *certificate = SSL_get0_peer_certificate(ssl);
    X509_NAME *subject;
    char unit[16];

    ret[0] = '\0';
    if (!certificate || SSL_get_verify_result(ssl) != X509_V_OK)
        return HTTP_ANYONE;
    subject = X509_get_subject_name(certificate);
    if (!name_text(subject, NID_organizationalUnitName, unit, sizeof(unit)) ||
        !name_text(subject, NID_commonName, ret, 64)) {
        ret[0] = '\0';
        return HTTP_ANYONE;
    }
    if (strcmp(unit, "agent") == 0)
        return HTTP_AGENT;
    if (strcmp(unit, "operator") == 0)
        return HTTP_OPERATOR;
    ret[0] = '\0';
    return HTTP_ANYONE;
}
