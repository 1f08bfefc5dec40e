/*
 * One set-up of libcurl for all who use it. Nothing comes from the environment: no proxy, no redirect, no
 * netrc, http and https only. A library of its own (`web` in meson.build): the privileged side links none of
 * it.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>

#include "error.h"

/**
 * struct web_call - one request and its answer; zeroed before the first web_call_init()
 * @easy: for options of the caller's own, after web_call_init()
 * @body: what came back, NUL-ended; NULL when empty
 * @limit_bytes: a longer answer fails with CURLE_WRITE_ERROR and @is_too_long
 */
struct web_call {
    CURL *easy;
    struct curl_slist *headers;
    char *body;
    size_t length, limit_bytes;
    bool is_too_long;
    char words[CURL_ERROR_SIZE];
};

/** web_call_init() - a request to @url; done again it forgets the last one and keeps its connection. A
 * @call must not move in memory. */
int web_call_init(struct web_call *call, const char *url, size_t limit_bytes, long timeout_msec,
                  struct error *error);
void web_call_clear(struct web_call *call);

/** web_call_set_tls() - TLS 1.3 only, both sides with certificates; three PEM files, and no authority but @ca
 */
int web_call_set_tls(struct web_call *call, const char *ca, const char *certificate, const char *key,
                     struct error *error);

/** web_call_set_body() - POST @body (copied) of @type, such as "application/json" */
int web_call_set_body(struct web_call *call, const char *type, const void *body, size_t length,
                      struct error *error);

/** web_call_status() - HTTP status, 0 = no answer */
long web_call_status(const struct web_call *call);
/** web_call_error() - the words of a failed call: curl's, or what the status says. Return: -EIO */
int web_call_error(const struct web_call *call, CURLcode code, struct error *error);
