/* The coordinator's own certificate authority: P-256, for its server certificate, operators and agents. */
#pragma once

#include "common/document.h"

#define CA_CSR_MAX 16384

struct ca;

/** ca_create() - a new CA: writes `ca.crt` and `ca.key` into @folder, which must not be there */
int ca_create(const char *folder, const char *environment, struct error *error);
int ca_load(struct ca **ret, const char *folder, struct error *error);
struct ca *ca_free(struct ca *ca);
DEFINE_CLEANUP(struct ca *, ca_free)

/** ca_pem() - the CA's certificate, borrowed */
const char *ca_pem(const struct ca *ca);
/** ca_pin() - `sha256:` and the SHA-256 of the certificate in DER, hexadecimal */
const char *ca_pin(const struct ca *ca, char ret[72]);
/** ca_sha256() - of @text, 64 hexadecimal digits and a NUL */
const char *ca_sha256(const char *text, char ret[65]);

/** ca_issue_server() - key and certificate for @names (of a configuration) into two new files
 */
int ca_issue_server(const struct ca *ca, const struct node *names, const char *certificate_path,
                    const char *key_path, struct error *error);
/** ca_issue_operator() - the same for a person */
int ca_issue_operator(const struct ca *ca, const char *name, const char *certificate_path,
                      const char *key_path, struct error *error);
/**
 * ca_issue_agent() - a certificate (OU=agent, CN=@host) for the key of a request, whatever else it asks for
 * @csr: PEM; signed by its own key, which must be P-256 or Ed25519
 * @ret: PEM, owned by the caller
 */
int ca_issue_agent(const struct ca *ca, const char *host, const char *csr, char **ret, struct error *error);
/** ca_save_new() - write a file that was not there before, on disk before it returns; also used for init's
 * other files */
int ca_save_new(const char *path, const char *text, unsigned int mode, struct error *error);
