/* The coordinator's own certificate authority: P-256, for its server certificate, operators and agents. */
#pragma once

#include "common/document.h"

#define CA_CSR_MAX 16384

struct ca;

/** enum ca_use - what a certificate is for: 30 days for agents, a year for operators, else ten */
enum ca_use {
    CA_ITSELF,
    CA_SERVER,
    CA_OPERATOR,
    CA_AGENT,
};

int ca_load(struct ca **ret, const char *folder, struct error *error);
struct ca *ca_free(struct ca *ca);
DEFINE_CLEANUP(struct ca *, ca_free)

/** ca_pem() - the CA's certificate, borrowed */
const char *ca_pem(const struct ca *ca);
/** ca_pin() - `sha256:` and the SHA-256 of the certificate in DER, hexadecimal */
const char *ca_pin(const struct ca *ca, char ret[72]);
/** ca_sha256() - of @text, 64 hexadecimal digits and a NUL */
const char *ca_sha256(const char *text, char ret[65]);

/** struct ca_wish - a certificate for @common; @names: host names and addresses of a server, else NULL */
struct ca_wish {
    enum ca_use use;
    const char *common;
    const struct node *names;
    const char *certificate_path, *key_path;
};

/** ca_issue() - a fresh key and its certificate into two new files, both or none; @ca NULL = signed by its
 * own key: a new CA */
int ca_issue(const struct ca *ca, const struct ca_wish *wish, struct error *error);
/**
 * ca_issue_agent() - a certificate (OU=agent, CN=@host) for the key of a request, whatever else it asks for
 * @csr: PEM; signed by its own key, which must be P-256 or Ed25519
 * @ret: PEM, owned by the caller
 */
int ca_issue_agent(const struct ca *ca, const char *host, const char *csr, char **ret, struct error *error);
