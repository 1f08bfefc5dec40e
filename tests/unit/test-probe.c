/* Probes: decoding with located errors, and which answers count. */
#include "probes/probe.h"
#include "unit.h"

#define BASE                                                                                                 \
    "\"name\":\"shop\",\"kind\":\"http\",\"url\":\"http://10.0.0.5/"                                         \
    "health\",\"interval_ms\":200,\"timeout_ms\":500"

static struct document *document;
static struct probe probe;

static int decode(const char *json, struct error *error)
{
    document_free(document);
    document = NULL;
    ck_assert_int_eq(document_parse_json(&document, "probe", json, strlen(json), error), 0);
    return probe_decode(&probe, document, document_root(document), error);
}

static void check_good(const char *json)
{
    struct error error = {0};

    ck_assert_msg(decode(json, &error) == 0, "%s", error.text);
}

static void check_bad(const char *json, const char *place, const char *words)
{
    struct error error = {0};

    ck_assert_int_lt(decode(json, &error), 0);
    ck_assert_msg(!strncmp(error.text, "probe:1:", 8), "no place: %s", error.text);
    ck_assert_msg(strstr(error.text, place), "not at %s: %s", place, error.text);
    ck_assert_msg(strstr(error.text, words), "not \"%s\": %s", words, error.text);
}

static void check_answer(long status, const char *body, bool is_ok)
{
    ck_assert_msg(probe_accepts(&probe, status, body, body ? strlen(body) : 0) == is_ok, "%ld %s", status,
                  body ? body : "-");
}

START_TEST(test_decode)
{
    check_good("{" BASE ",\"unhealthy_after\":3,\"healthy_after\":4,\"stable_s\":5,\"connection\":\"kept\","
               "\"expect\":{\"status\":\"200-399\",\"json\":{\"/a\":true}}}");
    ck_assert_str_eq(probe.name, "shop");
    ck_assert_str_eq(probe.url, "http://10.0.0.5/health");
    ck_assert_int_eq(probe.interval_msec, 200);
    ck_assert_int_eq(probe.timeout_msec, 500);
    ck_assert_int_eq(probe.unhealthy_after, 3);
    ck_assert_int_eq(probe.healthy_after, 4);
    ck_assert_int_eq(probe.stable_sec, 5);
    ck_assert(!probe.is_fresh);
    ck_assert_int_eq(probe.status_min, 200);
    ck_assert_int_eq(probe.status_max, 399);
    ck_assert_uint_eq(probe.assertions->count, 1);
}
END_TEST

START_TEST(test_defaults)
{
    check_good("{" BASE "}");
    ck_assert(probe.is_fresh);
    ck_assert_int_eq(probe.unhealthy_after, 2);
    ck_assert_int_eq(probe.healthy_after, 2);
    ck_assert_int_eq(probe.stable_sec, 3);
    ck_assert_int_eq(probe.status_min, 200);
    ck_assert_int_eq(probe.status_max, 200);
    ck_assert_ptr_null(probe.assertions);
}
END_TEST

START_TEST(test_refused)
{
    check_bad("{\"kind\":\"http\"}", "name", "");
    check_bad("{" BASE ",\"retries\":1}", "retries", "");
    check_bad("{" BASE ",\"connection\":\"pooled\"}", "connection", "expected fresh or kept");
    check_bad("{" BASE ",\"unhealthy_after\":0}", "unhealthy_after", "");
    check_bad("{" BASE ",\"expect\":{\"status\":99}}", "expect.status", "from 100 to 599");
    check_bad("{" BASE ",\"expect\":{\"status\":\"399-200\"}}", "expect.status", "smaller one first");
    check_bad("{" BASE ",\"expect\":{\"status\":\"2xx\"}}", "expect.status", "200-399");
    check_bad("{" BASE ",\"expect\":{\"status\":\" 200-30\"}}", "expect.status", "200-399");
    check_bad("{" BASE ",\"expect\":{\"json\":{\"a\":1}}}", "expect.json.a", "JSON pointer");
    check_bad("{" BASE ",\"expect\":{\"json\":{\"/a~2\":1}}}", "expect.json", "JSON pointer");
    check_bad("{" BASE ",\"expect\":{\"json\":{\"/a~\":1}}}", "expect.json", "JSON pointer");
    check_bad("{" BASE ",\"expect\":{}}", "expect", "");
}
END_TEST

static void check_bad_url(const char *url, const char *words)
{
    char json[512];

    snprintf(json, sizeof(json),
             "{\"name\":\"a\",\"kind\":\"http\",\"url\":\"%s\",\"interval_ms\":200,\"timeout_ms\":500}", url);
    check_bad(json, "url", words);
}

START_TEST(test_refused_urls_and_times)
{
    check_bad_url("ftp://10.0.0.5/", "http:// or https://");
    check_bad_url("file:///etc/passwd", "http:// or https://");
    check_bad_url("http:///health", "expected a host");
    check_bad_url("http://:80/", "expected a host");
    check_bad_url("http://me:secret@10.0.0.5/", "no user name");
    check_bad_url("http://10.0.0.5/a b", "printable ASCII");
    check_bad_url("http://10.0.0.5/\\n", "printable ASCII");
    check_bad("{\"name\":\"a\",\"kind\":\"tcp\",\"url\":\"http://a\",\"interval_ms\":200,\"timeout_ms\":500}",
              "kind", "expected http");
    check_bad("{\"name\":\"a\",\"kind\":\"http\",\"url\":\"http://a\",\"interval_ms\":49,\"timeout_ms\":500}",
              "interval_ms", "50");
    check_bad(
        "{\"name\":\"a\",\"kind\":\"http\",\"url\":\"http://a\",\"interval_ms\":50,\"timeout_ms\":1001}",
        "timeout_ms", "at most 20 times the interval, 1000");
    check_good("{\"name\":\"a\",\"kind\":\"http\",\"url\":\"https://[fd00::1]:8443/\",\"interval_ms\":50,"
               "\"timeout_ms\":1000}");
}
END_TEST

START_TEST(test_status)
{
    check_good("{" BASE ",\"expect\":{\"status\":\"200-299\"}}");
    check_answer(200, NULL, true);
    check_answer(299, "not json", true);
    check_answer(199, NULL, false);
    check_answer(300, NULL, false);
    check_answer(0, NULL, false);
}
END_TEST

START_TEST(test_assertions)
{
    check_good("{" BASE ",\"expect\":{\"json\":{\"/DatabaseConnectivity\":true}}}");
    check_answer(200, "{\"DatabaseConnectivity\":true,\"MaintenanceMode\":false}", true);
    check_answer(200, "{\"DatabaseConnectivity\":false}", false);
    check_answer(200, "{\"DatabaseConnectivity\":\"true\"}", false);
    check_answer(200, "{}", false);
    check_answer(200, "<html>", false);
    check_answer(200, "{\"DatabaseConnectivity\":true", false);
    check_answer(200, "{\"a\":1,\"a\":2,\"DatabaseConnectivity\":true}", false);
    check_answer(200, "", false);
    check_answer(200, NULL, false);
    check_answer(503, "{\"DatabaseConnectivity\":true}", false);
}
END_TEST

/* The document and most pointers of RFC 6901 section 5. */
static const char *const rfc6901 =
    "{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,"
    "\"k\\\"l\":6,\" \":7,\"m~n\":8,\"~1\":9}";

static void check_pointer(const char *pointer, const char *wanted, bool is_ok)
{
    char json[512];

    snprintf(json, sizeof(json), "{" BASE ",\"expect\":{\"json\":{\"%s\":%s}}}", pointer, wanted);
    check_good(json);
    ck_assert_msg(probe_accepts(&probe, 200, rfc6901, strlen(rfc6901)) == is_ok, "%s", pointer);
}

START_TEST(test_pointers)
{
    check_pointer("/foo", "[\"bar\",\"baz\"]", true);
    check_pointer("/foo/0", "\"bar\"", true);
    check_pointer("/", "0", true);
    check_pointer("/a~1b", "1", true);
    check_pointer("/c%d", "2", true);
    check_pointer("/e^f", "3", true);
    check_pointer("/g|h", "4", true);
    check_pointer("/k\\\"l", "6", true);
    check_pointer("/ ", "7", true);
    check_pointer("/m~0n", "8", true);
    check_pointer("/~01", "9", true);
    check_pointer("/a~1b", "1.0", true);
    check_pointer("/a~1b", "1.5", false);
    check_pointer("/foo/2", "\"baz\"", false);
    check_pointer("/foo/01", "\"baz\"", false);
    check_pointer("/foo/+1", "\"baz\"", false);
    check_pointer("/foo/-", "\"baz\"", false);
    check_pointer("/foo/0/x", "\"bar\"", false);
    check_pointer("/a/b", "1", false);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_decode, test_defaults,   test_refused,  test_refused_urls_and_times,
                                  test_status, test_assertions, test_pointers, NULL};
    int result = unit_run("probe", tests);

    document_free(document);
    return result;
}
