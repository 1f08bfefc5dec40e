/*
 * The pinned connection: OpenSSL builds the chain as always, but the only trust anchor is the certificate
 * that the server itself presents and whose SHA-256 is the pin. Nothing is sent before that and the server's
 * name have held.
 */
#include <curl/curl.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "join.h"

#define PIN_PREFIX       "sha256:"
#define ANSWER_BYTES_MAX (2 * 1024 * 1024)
#define TIMEOUT_MSEC     20000L

struct pinned {
    const uint8_t *pin;
    char *ca;
    struct error error;
    char *body;
    size_t length;
};

int join_pin_parse(const char *text, uint8_t ret[JOIN_PIN_BYTES], struct error *error)
{
    const char *digits = text + strlen(PIN_PREFIX);

    if (strncmp(text, PIN_PREFIX, strlen(PIN_PREFIX)) || strlen(digits) != 2 * JOIN_PIN_BYTES ||
        digits[strspn(digits, "0123456789abcdef")])
        return error_set(error, EINVAL, "%.80s: expected sha256: and 64 hexadecimal digits", text);
    for (size_t i = 0; i < JOIN_PIN_BYTES; i++)
        sscanf(digits + 2 * i, "%2hhx", &ret[i]);
    return 0;
}

static void pin_format(const uint8_t *digest, char ret[2 * JOIN_PIN_BYTES + 1])
{
    for (size_t i = 0; i < JOIN_PIN_BYTES; i++)
        sprintf(ret + 2 * i, "%02x", digest[i]);
}

int join_pin_check(const void *data, size_t length, const uint8_t pin[JOIN_PIN_BYTES], const char *what,
                   struct error *error)
{
    char wanted[2 * JOIN_PIN_BYTES + 1], found[2 * JOIN_PIN_BYTES + 1];
    uint8_t digest[JOIN_PIN_BYTES];

    if (!EVP_Digest(data, length, digest, NULL, EVP_sha256(), NULL))
        return error_oom(error);
    if (!memcmp(digest, pin, sizeof(digest)))
        return 0;
    pin_format(pin, wanted);
    pin_format(digest, found);
    return error_set(error, EKEYREJECTED, "%s: the pin is sha256:%s, but the coordinator has sha256:%s", what,
                     wanted, found);
}

/* Return: 0 when it is the pinned CA, -ENOENT when it is no CA, -EKEYREJECTED for another one, -errno */
static int pinned_match(const struct pinned *pinned, X509 *certificate, struct error *error)
{
    uint8_t *der = NULL;
    int length, r;

    if (!X509_check_ca(certificate))
        return -ENOENT;
    length = i2d_X509(certificate, &der);
    if (length < 0)
        return error_oom(error);
    r = join_pin_check(der, (size_t)length, pinned->pin, "--ca", error);
    OPENSSL_free(der);
    return r;
}

static int pinned_keep(struct pinned *pinned, X509 *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *data;
    long length;

    if (bio && PEM_write_bio_X509(bio, certificate)) {
        length = BIO_get_mem_data(bio, &data);
        free(pinned->ca);
        pinned->ca = strndup(data, (size_t)length);
    }
    BIO_free_all(bio);
    return pinned->ca ? 0 : error_oom(&pinned->error);
}

/* In place of OpenSSL's own trust store: find the pinned CA in what was sent, then verify as always, with it
 * alone. */
static int pinned_verify(X509_STORE_CTX *context, void *data)
{
    STACK_OF(X509) *sent = X509_STORE_CTX_get0_untrusted(context), *trusted = sk_X509_new_null();
    struct pinned *pinned = data;
    int is_good = 0;

    error_set(&pinned->error, EKEYREJECTED, "the server sends no CA certificate");
    for (int i = sk_X509_num(sent) - 1; trusted && i >= 0 && !sk_X509_num(trusted); i--)
        if (pinned_match(pinned, sk_X509_value(sent, i), &pinned->error) == 0 &&
            pinned_keep(pinned, sk_X509_value(sent, i)) == 0)
            sk_X509_push(trusted, sk_X509_value(sent, i));
    if (trusted && sk_X509_num(trusted)) {
        X509_STORE_CTX_set0_trusted_stack(context, trusted);
        is_good = X509_verify_cert(context) == 1;
        pinned->error = (struct error){0};
        if (!is_good)
            error_set(&pinned->error, EKEYREJECTED, "the server's certificate: %s",
                      X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    } else {
        X509_STORE_CTX_set_error(context, X509_V_ERR_CERT_UNTRUSTED);
    }
    X509_STORE_CTX_set0_trusted_stack(context, NULL);
    sk_X509_free(trusted);
    return is_good;
}

static CURLcode pinned_on_ssl(CURL *easy, void *ssl, void *data)
{
    SSL_CTX_set_cert_verify_callback(ssl, pinned_verify, data);
    return CURLE_OK;
}

static size_t pinned_on_data(char *data, size_t size, size_t count, void *context)
{
    struct pinned *pinned = context;
    size_t length = size * count;
    char *body;

    if (length > ANSWER_BYTES_MAX - pinned->length)
        return 0;
    body = realloc(pinned->body, pinned->length + length + 1);
    if (!body)
        return 0;
    memcpy(body + pinned->length, data, length);
    pinned->body = body;
    pinned->length += length;
    return length;
}

static int pinned_take_answer(const struct pinned *pinned, long status, json_t **ret, struct error *error)
{
    json_t *answer =
        json_loadb(pinned->body ? pinned->body : "", pinned->length, JSON_REJECT_DUPLICATES, NULL);
    const char *words = json_string_value(json_object_get(answer, "error"));
    int r = 0;

    if (status != 200)
        r = error_set(error, EACCES, "the coordinator refuses: %.300s (status %ld)",
                      words ? words : "no reason given", status);
    else if (!answer)
        r = error_set(error, EPROTO, "the coordinator's answer is not JSON");
    if (r < 0)
        json_decref(answer);
    else
        *ret = answer;
    return r;
}

static void pinned_set_options(struct pinned *pinned, CURL *easy, const char *body,
                               char words[CURL_ERROR_SIZE])
{
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "https");
    curl_easy_setopt(easy, CURLOPT_PROXY, "");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, TIMEOUT_MSEC);
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, pinned_on_ssl);
    curl_easy_setopt(easy, CURLOPT_SSL_CTX_DATA, pinned);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, pinned_on_data);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, pinned);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, words);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
}

static int pinned_post(struct pinned *pinned, CURL *easy, const char *url, const char *body, long *ret_status,
                       struct error *error)
{
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    char words[CURL_ERROR_SIZE] = "";
    CURLcode code;

    pinned_set_options(pinned, easy, body, words);
    curl_easy_setopt(easy, CURLOPT_URL, url);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    code = curl_easy_perform(easy);
    curl_slist_free_all(headers);
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, ret_status);
    if (pinned->error.code)
        return error_set(error, pinned->error.code, "%s: %s", url, pinned->error.text);
    if (code != CURLE_OK)
        return error_set(error, EIO, "%s: %s", url, words[0] ? words : curl_easy_strerror(code));
    return 0;
}

int join_pin_post(const char *url, const char *path, const char *body, const uint8_t pin[JOIN_PIN_BYTES],
                  json_t **ret, char **ret_ca, struct error *error)
{
    struct pinned pinned = {.pin = pin};
    CURL *easy = curl_easy_init();
    char whole[1024];
    long status = 0;
    int r;

    snprintf(whole, sizeof(whole), "%s%s", url, path);
    r = easy ? pinned_post(&pinned, easy, whole, body, &status, error) : error_oom(error);
    if (r == 0)
        r = pinned_take_answer(&pinned, status, ret, error);
    if (r == 0)
        *ret_ca = TAKE_PTR(pinned.ca);
    curl_easy_cleanup(easy);
    free(pinned.ca);
    free(pinned.body);
    return r;
}
