/* A connection for who is no member yet: only to a server whose authority is the one that was pinned. */
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "client.h"

#define LOOK_MAX_MSEC 5000L

const char *pin_format(const void *data, size_t length, char ret[PIN_TEXT_MAX])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned int size = 0;

    strcpy(ret, EVP_Digest(data, length, digest, &size, EVP_sha256(), NULL) ? "sha256:" : "?");
    for (unsigned int i = 0; i < size; i++)
        sprintf(ret + strlen(ret), "%02x", digest[i]);
    return ret;
}

int pin_check(const char *option, const char *pin, const void *data, size_t length, struct error *error)
{
    char found[PIN_TEXT_MAX];

    if (strcmp(pin_format(data, length, found), pin) == 0)
        return 0;
    return error_set(error, EPROTO, "%s: the pin is %s, but the coordinator has %s", option, pin, found);
}

static int check_certificate(const char *pem, const char *pin, struct error *error)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    uint8_t *der = NULL;
    int length = certificate ? i2d_X509(certificate, &der) : -1;
    int r = length > 0 ? pin_check("--ca", pin, der, (size_t)length, error)
                       : error_set(error, EPROTO, "the server's certificate can't be read");

    OPENSSL_free(der);
    X509_free(certificate);
    BIO_free(bio);
    return r;
}

/* Keeps the one that is pinned; the error, if none is, names the last, which is the authority's. */
static int take_pinned(struct client *client, const struct curl_certinfo *chain, const char *pin,
                       struct error *error)
{
    int r = error_set(error, EPROTO, "%s: the server shows no certificate", client->url);

    for (int i = 0; r < 0 && i < chain->num_of_certs; i++)
        for (const struct curl_slist *item = chain->certinfo[i]; item; item = item->next) {
            if (strncmp(item->data, "Cert:", 5) != 0)
                continue;
            r = check_certificate(item->data + 5, pin, error);
            if (r == 0 && !(client->ca_text = strdup(item->data + 5)))
                return error_oom(error);
        }
    return r;
}

/* Looks at the certificates without believing them, and sends nothing. */
static int look(struct client *client, struct web_call *web, const char *pin, struct error *error)
{
    struct curl_certinfo *chain = NULL;
    CURLcode code;
    int r;

    r = web_call_init(web, client->url, 0, LOOK_MAX_MSEC, error);
    if (r == 0)
        r = web_call_set_tls(web, NULL, NULL, NULL, error);
    if (r < 0)
        return r;
    curl_easy_setopt(web->easy, CURLOPT_SSL_VERIFYPEER, 0L);
    curl_easy_setopt(web->easy, CURLOPT_SSL_VERIFYHOST, 0L);
    curl_easy_setopt(web->easy, CURLOPT_CERTINFO, 1L);
    curl_easy_setopt(web->easy, CURLOPT_CONNECT_ONLY, 1L);
    code = curl_easy_perform(web->easy);
    if (code == CURLE_OK)
        code = curl_easy_getinfo(web->easy, CURLINFO_CERTINFO, &chain);
    return code == CURLE_OK ? take_pinned(client, chain, pin, error) : web_call_error(web, code, error);
}

/* A handle of its own looks, so that nothing of that connection (a TLS session) is left for the next, which
 * verifies in OpenSSL's usual way and believes the pinned certificate and nobody else. */
int client_open_pinned(struct client **ret, const char *url, const char *pin, struct error *error)
{
    _cleanup_(client_freep) struct client *client = calloc(1, sizeof(*client));
    _cleanup_(web_call_clear) struct web_call web = {0};
    int r;

    if (!client)
        return error_oom(error);
    client->url = url;
    r = look(client, &web, pin, error);
    if (r == 0)
        *ret = TAKE_PTR(client);
    return r;
}
