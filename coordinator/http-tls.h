/* The TLS side of the server: a context that takes TLS 1.3 only, and who is at the other end. */
#pragma once

#include <openssl/ssl.h>

#include "http.h"

int http_tls_new(SSL_CTX **ret, const struct http_tls *tls, struct error *error);

/** http_tls_peer() - CN of the verified client certificate into @ret; its role by OU, HTTP_ANYONE without a
 * certificate */
enum http_who http_tls_peer(SSL *ssl, char ret[64]);
