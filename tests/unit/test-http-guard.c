/* The guard: what may pass, and every malformed request that facts know of. Each is fed whole and byte by
 * byte. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coordinator/http-guard.h"

static int feed(struct http_guard *guard, const char *text, size_t length, size_t chunk, size_t *ret_left)
{
    struct evbuffer *input = evbuffer_new();
    int r = 0;

    *guard = (struct http_guard){.taken = 0};
    for (size_t at = 0; r == 0 && at < length; at += chunk) {
        evbuffer_add(input, text + at, length - at < chunk ? length - at : chunk);
        r = http_guard_take(guard, input);
    }
    *ret_left = evbuffer_get_length(input);
    evbuffer_free(input);
    return r;
}

#define HEAD   "POST /v1/join HTTP/1.1\r\n"
#define HOST   "Host: a\r\n"
#define LENGTH "Content-Length: 5\r\n"

static const struct {
    const char *text;
    size_t length; /* 0 = strlen */
    int status;
    const char *why;
} malformed[] = {
    {HEAD HOST LENGTH "Transfer-Encoding: chunked\r\n\r\n", 0, 400, "Transfer-Encoding"},
    {HEAD HOST "Transfer-Encoding: chunked\r\n" LENGTH "\r\n", 0, 400, "Transfer-Encoding"},
    {HEAD HOST "Transfer-Encoding: xchunked\r\n\r\n", 0, 400, "Transfer-Encoding"},
    {HEAD HOST "transfer-encoding:\r\n\r\n", 0, 400, "Transfer-Encoding"},
    {HEAD HOST "Transfer-Encoding : chunked\r\n\r\n", 0, 400, "name is no token"},
    {HEAD HOST "Transfer-Encoding: identity,\r\n chunked\r\n\r\n", 0, 400, "Transfer-Encoding"},
    {HEAD HOST "X: y\r\n chunked\r\n\r\n", 0, 400, "name is no token"},
    {HEAD HOST "X: y\r\n\tchunked\r\n\r\n", 0, 400, "name is no token"},
    {HEAD HOST LENGTH LENGTH "\r\n", 0, 400, "two Content-Length"},
    {HEAD HOST LENGTH "content-length: 6\r\n\r\n", 0, 400, "two Content-Length"},
    {HEAD HOST "Content-Length: 5, 5\r\n\r\n", 0, 400, "no number"},
    {HEAD HOST "Content-Length : 5\r\n\r\n", 0, 400, "name is no token"},
    {HEAD HOST "Content-Length: -1\r\n\r\n", 0, 400, "no number"},
    {HEAD HOST "Content-Length: +5\r\n\r\n", 0, 400, "no number"},
    {HEAD HOST "Content-Length: 0x5\r\n\r\n", 0, 400, "no number"},
    {HEAD HOST "Content-Length:\r\n\r\n", 0, 400, "no number"},
    {HEAD HOST "Content-Length: 18446744073709551621\r\n\r\n", 0, 413, "too large"},
    {HEAD HOST HOST "\r\n", 0, 400, "two Host"},
    {HEAD "Host:\r\n\r\n", 0, 400, "without a host"},
    {HEAD "Host: a b\r\n\r\n", 0, 400, "without a host"},
    {HEAD LENGTH "\r\n", 0, 400, "no Host"},
    {HEAD HOST "X: a\0b\r\n\r\n", sizeof(HEAD HOST "X: a\0b\r\n\r\n") - 1, 400, "control character"},
    {HEAD HOST "X\0: b\r\n\r\n", sizeof(HEAD HOST "X\0: b\r\n\r\n") - 1, 400, "name is no token"},
    {HEAD HOST "X: a\rb\r\n\r\n", 0, 400, "control character"},
    {HEAD "Host: a\nX: b\r\n\r\n", 0, 400, "control character"},
    {HEAD HOST ": b\r\n\r\n", 0, 400, "name is no token"},
    {HEAD HOST "garbage\r\n\r\n", 0, 400, "name is no token"},
    {HEAD HOST "Expect: the unexpected\r\n\r\n", 0, 417, "100-continue"},
    {"GET /v1/hosts\r\n\r\n", 0, 400, "HTTP/1.1"},
    {"GET /v1/hosts HTTP/1.0\r\n" HOST "\r\n", 0, 400, "HTTP/1.1"},
    {"GET /v1/hosts HTTP/2.0\r\n" HOST "\r\n", 0, 400, "HTTP/1.1"},
    {"GET  HTTP/1.1\r\n" HOST "\r\n", 0, 400, "origin-form"},
    {"GET HTTP/1.1\r\n" HOST "\r\n", 0, 400, "no target"},
    {"GET  /v1/hosts HTTP/1.1\r\n" HOST "\r\n", 0, 400, "origin-form"},
    {"GET /v1/a b HTTP/1.1\r\n" HOST "\r\n", 0, 400, "origin-form"},
    {"GET http://a/v1/hosts HTTP/1.1\r\n" HOST "\r\n", 0, 400, "origin-form"},
    {"CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n", 0, 400, "origin-form"},
    {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 0, 400, "origin-form"},
    {"G@T / HTTP/1.1\r\n" HOST "\r\n", 0, 400, "method"},
    {"PROPPATCH / HTTP/1.1\r\n" HOST "\r\n", 0, 400, "method"},
    {" GET / HTTP/1.1\r\n" HOST "\r\n", 0, 400, "method"},
    {"\r\nGET / HTTP/1.1\r\n" HOST "\r\n", 0, 400, "no request line"},
    {"\x16\x03\x01\x02\r\n", 0, 400, "HTTP/1.1"},
};

START_TEST(test_malformed)
{
    const char *text = malformed[_i].text;
    size_t length = malformed[_i].length ? malformed[_i].length : strlen(text), left;
    struct http_guard guard;

    for (size_t chunk = 1; chunk <= length; chunk += length - 1) {
        ck_assert_msg(feed(&guard, text, length, chunk, &left) == -EBADMSG, "passed: %s", text);
        ck_assert_msg(guard.status == malformed[_i].status && strstr(guard.why, malformed[_i].why),
                      "%s: %d %s", text, guard.status, guard.why);
    }
}
END_TEST

START_TEST(test_good)
{
    static const char text[] =
        "POST /v1/runs/%41?after=3 HTTP/1.1\r\nhOsT: [fd00::1]:8443\r\nContent-Length: \t005 \r\n"
        "X-Empty:\r\nX-Latin: \xe9\r\nConnection: Close\r\nExpect: 100-Continue\r\n\r\nhello";
    struct http_guard guard;
    size_t left;

    for (size_t chunk = 1; chunk <= sizeof(text) - 1; chunk += sizeof(text) - 2) {
        ck_assert_int_eq(feed(&guard, text, sizeof(text) - 1, chunk, &left), 1);
        ck_assert_str_eq(guard.method, "POST");
        ck_assert_str_eq(guard.target, "/v1/runs/%41?after=3");
        ck_assert_uint_eq(guard.length, 5);
        ck_assert(guard.is_closing && guard.is_expecting);
    }
    ck_assert_uint_eq(left, 5);
}
END_TEST

/* What follows a whole head stays for the next request, garbage or not. */
START_TEST(test_pipelined)
{
    static const char text[] = "GET / HTTP/1.1\r\n" HOST "\r\n\x01\x02garbage\r\n";
    struct http_guard guard;
    size_t left;

    ck_assert_int_eq(feed(&guard, text, sizeof(text) - 1, sizeof(text) - 1, &left), 1);
    ck_assert_uint_eq(left, 11);
    ck_assert_int_eq(feed(&guard, text + sizeof(text) - 1 - left, left, left, &left), -EBADMSG);
}
END_TEST

static char *big_head(const char *line, size_t count, const char *filler, size_t repeat)
{
    size_t unit = strlen(line) + strlen(filler) * repeat + 2, length = strlen(HEAD HOST);
    char *text = calloc(1, length + count * unit + 3);

    strcpy(text, HEAD HOST);
    for (size_t i = 0; i < count; i++) {
        length += (size_t)sprintf(text + length, "%s", line);
        for (size_t j = 0; j < repeat; j++)
            length += (size_t)sprintf(text + length, "%s", filler);
        length += (size_t)sprintf(text + length, "\r\n");
    }
    strcpy(text + length, "\r\n");
    return text;
}

START_TEST(test_large)
{
    static const struct {
        const char *line;
        size_t count;
        size_t repeat;
        const char *why;
    } cases[] = {
        {"X: ", 1, 65536, "too large"}, {"A: b", 100000, 0, "too many"}, {"A: ", 60, 1000, "too large"}};
    struct http_guard guard;
    size_t left;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *text = big_head(cases[i].line, cases[i].count, "y", cases[i].repeat);

        ck_assert_int_eq(feed(&guard, text, strlen(text), 4096, &left), -EBADMSG);
        ck_assert_int_eq(guard.status, 431);
        ck_assert_ptr_nonnull(strstr(guard.why, cases[i].why));
        free(text);
    }
    ck_assert_int_eq(feed(&guard, "GET / HTTP/1.1\r\nHost: a\r\n", 25, 25, &left), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("http-guard");
    TCase *tests = tcase_create("http-guard");
    SRunner *runner = srunner_create(suite);
    int failed;

    tcase_add_loop_test(tests, test_malformed, 0, (int)(sizeof(malformed) / sizeof(malformed[0])));
    tcase_add_test(tests, test_good);
    tcase_add_test(tests, test_pipelined);
    tcase_add_test(tests, test_large);
    suite_add_tcase(suite, tests);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
