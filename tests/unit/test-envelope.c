/* Envelopes, bundles and roots: what is signed by enough people passes, everything else is refused. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>

#include "common/bundle.h"
#include "common/io.h"
#include "common/roots.h"
#include "common/times.h"

#define NOW (1800000000 * USEC_PER_SEC)

enum { ALICE, ALICE_TOO, BOB, HALTER, KEYS };

static const struct {
    const char *person, *roles;
} people[KEYS] = {
    [ALICE] = {"alice", "\"approve\", \"halt\""},
    [ALICE_TOO] = {"alice", "\"approve\""},
    [BOB] = {"bob", "\"approve\""},
    [HALTER] = {"carol", "\"halt\""},
};

static struct secret_key *keys[KEYS];
static struct roots *roots;

/* Runs first: the others need its roots. */
START_TEST(makes_roots)
{
    char text[4096] = "", public[KEY_TEXT_MAX];
    struct error error;
    size_t length;

    length =
        snprintf(text, sizeof(text),
                 "{\"schema\": \"grivet.roots/1\", \"version\": 1, \"expires_at\": \"2030-01-01T00:00:00Z\", "
                 "\"keys\": [");
    for (int i = 0; i < KEYS; i++) {
        struct public_key key;

        ck_assert_int_eq(secret_key_generate(&keys[i], &error), 0);
        key = secret_key_public(keys[i]);
        length += snprintf(text + length, sizeof(text) - length,
                           "%s{\"public\": \"%s\", \"person\": \"%s\", \"roles\": [%s]}", i ? ", " : "",
                           public_key_format(&key, public), people[i].person, people[i].roles);
    }
    length += snprintf(text + length, sizeof(text) - length, "]}");
    ck_assert_msg(roots_parse(&roots, "roots", text, length, &error) == 0, "%s", error.text);
}
END_TEST

static struct envelope *make(const char *payload)
{
    struct envelope *envelope;

    ck_assert_int_eq(envelope_new(&envelope, ENVELOPE_MANDATE, payload, strlen(payload), NULL), 0);
    return envelope;
}

static int require(const struct envelope *envelope, size_t count, struct error *error)
{
    return roots_require(roots, envelope, ROOTS_APPROVE, count, NOW, error);
}

START_TEST(counts_people)
{
    _cleanup_(envelope_freep) struct envelope *envelope = make("{}");
    struct error error;

    ck_assert_int_eq(require(envelope, 1, &error), -EKEYREJECTED);
    assert_error(error, "mandate: signed by 0 of 1 people with role approve");
    ck_assert_int_eq(envelope_sign(envelope, keys[ALICE], &error), 0);
    ck_assert_int_eq(require(envelope, 1, &error), 0);
    ck_assert_int_eq(require(envelope, 2, &error), -EKEYREJECTED);
    assert_error(error, "signed by 1 of 2 people");
    ck_assert_int_eq(envelope_sign(envelope, keys[ALICE], &error), -EEXIST);
    ck_assert_int_eq(envelope_sign(envelope, keys[ALICE_TOO], &error), 0);
    ck_assert_int_eq(require(envelope, 2, &error),
                     -EKEYREJECTED); /* one person with two keys is one person */
    ck_assert_int_eq(envelope_sign(envelope, keys[HALTER], &error), 0);
    ck_assert_int_eq(require(envelope, 2, &error), -EKEYREJECTED); /* who may halt may not approve */
    ck_assert_int_eq(envelope_sign(envelope, keys[BOB], &error), 0);
    ck_assert_int_eq(require(envelope, 2, &error), 0);
    ck_assert_int_eq(require(envelope, 3, &error), -EKEYREJECTED);
    ck_assert_int_eq(require(envelope, 0, &error), -EINVAL);
    ck_assert_int_eq(roots_require(roots, envelope, ROOTS_ORDER, 1, NOW, &error), -EKEYREJECTED);
    ck_assert_int_eq(roots_require(roots, envelope, ROOTS_HALT, 1, NOW, &error), 0);
    ck_assert_int_eq(roots_require(roots, envelope, ROOTS_APPROVE, 1, 2 * NOW, &error), -EKEYREJECTED);
    ck_assert_ptr_nonnull(strstr(error.text, "the roots have expired: root has to put"));
    ck_assert_int_eq(roots_require(roots, envelope, ROOTS_ORDER, 1, 2 * NOW, &error), -EKEYREJECTED);
    ck_assert_int_eq(roots_require(roots, envelope, ROOTS_HALT, 1, 2 * NOW, &error), 0);
    assert_error(error, "expired");
}
END_TEST

START_TEST(travels_as_json)
{
    _cleanup_(envelope_freep) struct envelope *envelope = make("{\"a\": \"\xc3\xa4\"}"), *again = NULL;
    _cleanup_free_ char *text = NULL;
    struct error error;

    envelope_sign(envelope, keys[ALICE], NULL);
    envelope_sign(envelope, keys[BOB], NULL);
    text = envelope_format(envelope);
    ck_assert_int_eq(envelope_parse(&again, "m", ENVELOPE_MANDATE, text, strlen(text), &error), 0);
    ck_assert_uint_eq(again->n_signatures, 2);
    ck_assert_int_eq(require(again, 2, &error), 0);
    again = envelope_free(again);
    ck_assert_int_eq(envelope_parse(&again, "m", ENVELOPE_ORDER, text, strlen(text), &error), -EINVAL);
    assert_error(error, "expected application/vnd.grivet.order+json");
}
END_TEST

/* The same signature under two key ids, and fields that DSSE lets others add. */
START_TEST(key_ids_decide_nothing)
{
    _cleanup_(envelope_freep) struct envelope *envelope = make("{}"), *again = NULL;
    char text[1024], signature[128];
    struct error error;
    json_t *json;

    envelope_sign(envelope, keys[ALICE], NULL);
    {
        _cleanup_free_ char *formatted = envelope_format(envelope);

        json = json_loads(formatted, 0, NULL);
    }
    snprintf(
        signature, sizeof(signature), "%s",
        json_string_value(json_object_get(json_array_get(json_object_get(json, "signatures"), 0), "sig")));
    json_decref(json);
    snprintf(text, sizeof(text),
             "{\"payloadType\": \"application/vnd.grivet.mandate+json\", \"payload\": \"e30=\", \"more\": 1, "
             "\"signatures\": [{\"keyid\": \"a\", \"sig\": \"%s\"}, {\"keyid\": \"b\", \"sig\": \"%s\"}]}",
             signature, signature);
    ck_assert_msg(envelope_parse(&again, "m", ENVELOPE_MANDATE, text, strlen(text), &error) == 0, "%s",
                  error.text);
    ck_assert_int_eq(require(again, 1, &error), 0);
    ck_assert_int_eq(require(again, 2, &error), -EKEYREJECTED);
    assert_error(error, "signed by 1 of 2 people");
}
END_TEST

START_TEST(changed_bytes_are_found_out)
{
    _cleanup_(envelope_freep) struct envelope *envelope = make("{\"a\": 1}"), *other = NULL;
    struct error error;

    envelope_sign(envelope, keys[ALICE], NULL);
    envelope->payload[1]++;
    ck_assert_int_eq(require(envelope, 1, &error), -EKEYREJECTED);
    envelope->payload[1]--;
    ck_assert_int_eq(require(envelope, 1, &error), 0);
    envelope->signatures[0][3] ^= 1;
    ck_assert_int_eq(require(envelope, 1, &error), -EKEYREJECTED);
    envelope->signatures[0][3] ^= 1;
    envelope->kind = ENVELOPE_ORDER; /* a signature is over the type, too */
    ck_assert_int_eq(require(envelope, 1, &error), -EKEYREJECTED);
}
END_TEST

START_TEST(refuses_bad_envelopes)
{
#define TYPE "\"payloadType\": \"application/vnd.grivet.mandate+json\", "
    static const char *const bad[] = {
        "[]",
        "{}",
        "{" TYPE "\"payload\": \"e30=\"}",
        "{" TYPE "\"payload\": \"e30=\", \"signatures\": {}}",
        "{" TYPE "\"payload\": \"e3!=\", \"signatures\": []}",
        "{" TYPE "\"signatures\": []}",
        "{" TYPE "\"payload\": \"e30=\", \"payload\": \"e30=\", \"signatures\": []}",
        "{" TYPE "\"payload\": \"e30=\", \"signatures\": [{\"sig\": \"AAAA\"}]}",
        "{" TYPE "\"payload\": \"e30=\", \"signatures\": [\"AAAA\"]}",
        "{\"payloadType\": 1, \"payload\": \"e30=\", \"signatures\": []}",
        "{" TYPE "\"payload\": \"e30=\", \"signatures\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}",
    };
    _cleanup_free_ char *large = calloc(1, 200000);
    struct envelope *envelope = NULL;
    struct error error;

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ck_assert_msg(envelope_parse(&envelope, "m", ENVELOPE_MANDATE, bad[i], strlen(bad[i]), &error) ==
                          -EINVAL,
                      "%s", bad[i]);
        assert_error(error, "m:1:");
    }
    memset(large, ' ', 200000);
    ck_assert_int_eq(envelope_parse(&envelope, "o", ENVELOPE_ORDER, large, 200000, &error), -E2BIG);
    ck_assert_int_eq(envelope_new(&envelope, ENVELOPE_ORDER, large, (64 << 10) + 1, &error), -E2BIG);
    ck_assert_ptr_null(envelope);
}
END_TEST

START_TEST(both_alphabets)
{
    const char *url = "{" TYPE "\"payload\": \"e30\", \"signatures\": []}";
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;

    ck_assert_int_eq(envelope_parse(&envelope, "m", ENVELOPE_MANDATE, url, strlen(url), NULL), 0);
    ck_assert_uint_eq(envelope->payload_length, 2);
    ck_assert_mem_eq(envelope->payload, "{}", 3);
}
END_TEST

START_TEST(full_of_signatures)
{
    _cleanup_(envelope_freep) struct envelope *envelope = make("{}");

    for (int i = 0; i <= ENVELOPE_SIGNATURES_MAX; i++) {
        _cleanup_(secret_key_freep) struct secret_key *key = NULL;

        ck_assert_int_eq(secret_key_generate(&key, NULL), 0);
        ck_assert_int_eq(envelope_sign(envelope, key, NULL), i < ENVELOPE_SIGNATURES_MAX ? 0 : -ENOSPC);
    }
}
END_TEST

static const enum envelope_kind bundle_kinds[] = {ENVELOPE_MANDATE, ENVELOPE_MANDATE};

START_TEST(bundles)
{
    _cleanup_(envelope_freep) struct envelope *one = make("{}"), *two = make("{\"a\": 1}");
    const struct envelope *documents[] = {one, two};
    const enum envelope_kind other[] = {ENVELOPE_MANDATE, ENVELOPE_ORDER};
    struct bundle bundle = {0};
    struct error error;
    _cleanup_close_ int fd = -1;

    envelope_sign(two, keys[BOB], NULL);
    fd = bundle_to_memfd(documents, 2, &error);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bundle_from_memfd(&bundle, fd, bundle_kinds, 2, &error), 0);
    ck_assert_uint_eq(bundle.count, 2);
    ck_assert_int_eq(require(bundle.documents[1], 1, &error), 0);
    ck_assert_int_eq(require(bundle.documents[0], 1, &error), -EKEYREJECTED);
    bundle_clear(&bundle);
    ck_assert_int_eq(bundle_from_memfd(&bundle, fd, bundle_kinds, 1, &error), -EINVAL);
    assert_error(error, "2 documents; expected 1");
    ck_assert_int_eq(bundle_from_memfd(&bundle, fd, other, 2, &error), -EINVAL);
    assert_error(error, "another document than the order");
    ck_assert_uint_eq(bundle.count, 0);
}
END_TEST

/* Every cut of a bundle, one byte too many, a count over the limits, and a memfd without seals. */
START_TEST(hostile_bundles)
{
    _cleanup_(envelope_freep) struct envelope *one = make("{}"), *two = make("{\"a\": 1}");
    const struct envelope *documents[] = {one, two};
    _cleanup_close_ int whole = -1, unsealed = memfd_create("x", MFD_CLOEXEC);
    _cleanup_free_ char *data = NULL, *longer = NULL;
    struct bundle bundle = {0};
    struct error error;
    size_t length;

    envelope_sign(one, keys[BOB], NULL);
    whole = bundle_to_memfd(documents, 2, &error);
    ck_assert_int_eq(io_memfd_read(whole, 4096, &data, &length, &error), 0);
    for (size_t cut = 0; cut < length; cut++) {
        _cleanup_close_ int fd = io_memfd("cut", data, cut, &error);

        ck_assert_int_eq(bundle_from_memfd(&bundle, fd, bundle_kinds, 2, &error), -EINVAL);
    }
    longer = calloc(1, length + 1);
    memcpy(longer, data, length);
    {
        _cleanup_close_ int fd = io_memfd("longer", longer, length + 1, &error);

        ck_assert_int_eq(bundle_from_memfd(&bundle, fd, bundle_kinds, 2, &error), -EINVAL);
        assert_error(error, "1 bytes after its end");
    }
    for (size_t i = 8; i < 20; i += 4) { /* kind, payload bytes and signatures of the first document */
        memset(longer + i, 0xff, 4);
        {
            _cleanup_close_ int fd = io_memfd("huge", longer, length, &error);

            ck_assert_int_lt(bundle_from_memfd(&bundle, fd, bundle_kinds, 2, &error), 0);
        }
        memcpy(longer, data, length);
    }
    ck_assert_int_eq(io_write_all(unsealed, data, length), 0);
    ck_assert_int_eq(bundle_from_memfd(&bundle, unsealed, bundle_kinds, 2, &error), -EPERM);
    ck_assert_int_eq(bundle_from_memfd(&bundle, STDIN_FILENO, bundle_kinds, 2, &error), -EPERM);
}
END_TEST

static void assert_bad_roots(const char *text, const char *part)
{
    struct roots *bad = NULL;
    struct error error;

    ck_assert_msg(roots_parse(&bad, "roots", text, strlen(text), &error) == -EINVAL, "%s", text);
    ck_assert_ptr_null(bad);
    assert_error(error, part);
}

START_TEST(refuses_bad_roots)
{
#define HEAD                                                                                                 \
    "{\"schema\": \"grivet.roots/1\", \"version\": 1, \"expires_at\": \"2030-01-01T00:00:00Z\", \"keys\": ["
#define KEY "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\""
    assert_bad_roots("{}", "'schema' is missing");
    assert_bad_roots(HEAD "]}", "at least 1");
    assert_bad_roots(HEAD "{\"public\": \"x\", \"person\": \"a\", \"roles\": [\"halt\"]}]}",
                     "keys[0].public: not a key");
    assert_bad_roots(HEAD "{\"public\": " KEY ", \"person\": \"a\", \"roles\": [\"root\"]}]}",
                     "keys[0].roles[0]: expected approve, halt or order");
    assert_bad_roots(HEAD "{\"public\": " KEY ", \"person\": \"a\", \"roles\": []}]}", "at least 1");
    assert_bad_roots(HEAD "{\"public\": " KEY ", \"person\": \"a\", \"roles\": [\"halt\"]}, {\"public\": " KEY
                          ", \"person\": \"b\", \"roles\": [\"halt\"]}]}",
                     "keys[1].public: the same key as that of a above");
    assert_bad_roots(
        "{\"schema\": \"grivet.roots/9\", \"version\": 1, \"expires_at\": \"2030-01-01T00:00:00Z\", "
        "\"keys\": [1]}",
        "expected grivet.roots/1");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {makes_roots,
                                  counts_people,
                                  travels_as_json,
                                  key_ids_decide_nothing,
                                  changed_bytes_are_found_out,
                                  refuses_bad_envelopes,
                                  both_alphabets,
                                  full_of_signatures,
                                  bundles,
                                  hostile_bundles,
                                  refuses_bad_roots,
                                  NULL};
    int failed;

    failed = unit_run("envelope", tests);
    roots_free(roots);
    for (int i = 0; i < KEYS; i++)
        secret_key_free(keys[i]);
    return failed;
}
