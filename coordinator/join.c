/* How a host comes in: a token, a name, the proof that it has its key; out goes a certificate for that name.
 */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "agents.h"
#include "ca.h"
#include "common/base64.h"

struct joining {
    const char *token, *host, *address, *public, *proof, *csr;
    const struct node *labels;
};

static const struct field join_fields[] = {
    {"token", FIELD_STRING, offsetof(struct joining, token), true, 1, TOKEN_TEXT_MAX},
    {"host", FIELD_NAME, offsetof(struct joining, host), true},
    {"labels", FIELD_MAP, offsetof(struct joining, labels), true, 0, 32},
    {"address", FIELD_STRING, offsetof(struct joining, address), false, 0, 63},
    {"public", FIELD_STRING, offsetof(struct joining, public), true, 1, KEY_TEXT_MAX},
    {"proof", FIELD_STRING, offsetof(struct joining, proof), true, 1, 96},
    {"csr", FIELD_STRING, offsetof(struct joining, csr), true, 1, CA_CSR_MAX},
    {NULL},
};

/* Signed by the host's key: nobody can enter a key that they do not have, nor use a proof for another CSR. */
static int check_proof(const struct joining *joining, const struct public_key *key, struct error *error)
{
    uint8_t signature[KEY_SIGNATURE_BYTES];
    char text[256], digest[65];
    int length =
        snprintf(text, sizeof(text), "grivet-join\n%s\n%s", joining->host, ca_sha256(joining->csr, digest));

    if (base64_decode_exactly(joining->proof, signature, sizeof(signature)) < 0 ||
        crypto_sign_verify_detached(signature, (unsigned char *)text, (size_t)length, key->bytes) != 0)
        return error_set(error, EACCES, "proof: not a signature by the host's key over this request");
    return 0;
}

/* Everything is checked before the name is given away, and the token loses a use only by that. */
static int join_decide(struct coordinator *coordinator, const struct joining *joining, char **ret_certificate,
                       struct error *error)
{
    struct fleet_host host = {.labels = joining->labels->json, .joined_usec = time_now_usec()};
    char token[TOKEN_ID_MAX];
    int r;

    if (public_key_parse(&host.key, joining->public) < 0)
        return error_set(error, EINVAL, "join: public: expected an Ed25519 key in base64");
    snprintf(host.id, sizeof(host.id), "%s", joining->host);
    snprintf(host.address, sizeof(host.address), "%s", joining->address ? joining->address : "");
    r = check_proof(joining, &host.key, error);
    if (r == 0)
        r = ca_issue_agent(coordinator->ca, host.id, joining->csr, ret_certificate, error);
    if (r == 0)
        r = tokens_check(coordinator->store, joining->token, host.labels, token, error);
    if (r == 0)
        r = fleet_join(coordinator, &host, error);
    return r < 0 ? r : tokens_use(coordinator->store, token, error);
}

int join_handle(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *certificate = NULL;
    struct joining joining = {NULL};
    int r;

    r = document_decode(&document, "join", request->body, request->length, join_fields, &joining, error);
    if (r == 0)
        r = labels_check(document, joining.labels, error);
    if (r == 0)
        r = join_decide(coordinator, &joining, &certificate, error);
    if (r < 0) {
        coordinator_say(coordinator, "join refused: %s", error->text);
        return r;
    }
    coordinator_say(coordinator, "host %s joined", joining.host);
    http_reply_json(request, 200,
                    json_pack("{s:s, s:s, s:s}", "certificate", certificate, "ca", ca_pem(coordinator->ca),
                              "roots", coordinator->roots_text));
    return 0;
}

int join_handle_renew(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    static const struct field fields[] = {{"csr", FIELD_STRING, 0, true, 1, CA_CSR_MAX}, {NULL}};
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *certificate = NULL;
    const char *csr = NULL;
    int r;

    if (!fleet_require(coordinator, request, error))
        return -error->code;
    r = document_decode(&document, "renew", request->body, request->length, fields, &csr, error);
    if (r == 0)
        r = ca_issue_agent(coordinator->ca, request->peer, csr, &certificate, error);
    if (r == 0)
        http_reply_json(request, 200, json_pack("{s:s}", "certificate", certificate));
    return r;
}
