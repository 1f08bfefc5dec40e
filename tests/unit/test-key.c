/* Key files, sealed and open, public keys as text; what is wrong is refused. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "common/io.h"
#include "common/key.h"

static char folder[64], path[128];

static void setup(void)
{
    snprintf(folder, sizeof(folder), "/tmp/grivet-unit-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/a.key", folder);
}

static void teardown(void)
{
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void assert_same(const struct secret_key *a, const struct secret_key *b)
{
    struct public_key public_a = secret_key_public(a), public_b = secret_key_public(b);

    ck_assert_mem_eq(&public_a, &public_b, sizeof(public_a));
}

static void write_key(const char *text)
{
    ck_assert_int_eq(io_write_file(path, text, strlen(text), 0600, NULL), 0);
}

START_TEST(saves_and_loads)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL, *again = NULL;
    struct error error;
    struct stat stat_is;

    setup();
    ck_assert_int_eq(secret_key_generate(&key, &error), 0);
    ck_assert_int_eq(secret_key_save(key, path, "host", NULL, &error), 0);
    ck_assert_int_eq(stat(path, &stat_is), 0);
    ck_assert_int_eq(stat_is.st_mode & 07777, 0600);
    ck_assert_int_eq(secret_key_is_sealed(path, &error), 0);
    ck_assert_int_eq(secret_key_load(&again, path, NULL, &error), 0);
    assert_same(key, again);
    ck_assert_int_eq(secret_key_save(key, path, "host", NULL, &error), -EEXIST);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(secret_key_load(&again, path, NULL, &error), -EPERM);
    assert_error(error, "chmod 600");
    teardown();
}
END_TEST

START_TEST(seals_with_a_passphrase)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL, *again = NULL;
    struct error error;

    setup();
    ck_assert_int_eq(secret_key_generate(&key, &error), 0);
    ck_assert_int_eq(secret_key_save(key, path, "alice", "correct horse", &error), 0);
    ck_assert_int_eq(secret_key_is_sealed(path, &error), 1);
    ck_assert_int_eq(secret_key_load(&again, path, "wrong", &error), -EKEYREJECTED);
    assert_error(error, "wrong passphrase");
    ck_assert_ptr_null(again);
    ck_assert_int_eq(secret_key_load(&again, path, NULL, &error), -EKEYREJECTED);
    ck_assert_int_eq(secret_key_load(&again, path, "correct horse", &error), 0);
    assert_same(key, again);
    teardown();
}
END_TEST

START_TEST(refuses_bad_files)
{
    static const char *const bad[] = {
        "{}",
        "{\"schema\": \"grivet.key/2\", \"name\": \"a\", \"public\": \"x\", \"secret\": \"x\"}",
        "{\"schema\": \"grivet.key/1\", \"name\": \"a\", \"public\": \"x\"}",
        "{\"schema\": \"grivet.key/1\", \"name\": \"a\", \"public\": \"x\", \"secret\": \"eA==\"}",
        "{\"schema\": \"grivet.key/1\", \"name\": \"a\", \"public\": "
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\", "
        "\"secret\": "
        "\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\"}",
        "{\"schema\": \"grivet.key/1\", \"name\": \"a\", \"public\": \"x\", \"sealed\": \"eA==\"}",
        "{\"schema\": \"grivet.key/1\", \"name\": \"a\", \"public\": \"x\", \"secret\": \"eA==\", "
        "\"sealed\": \"eA==\"}",
    };
    struct secret_key *key = NULL;
    struct error error;

    setup();
    ck_assert_int_eq(secret_key_load(&key, path, NULL, &error), -ENOENT);
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        write_key(bad[i]);
        ck_assert_int_eq(secret_key_load(&key, path, "x", &error), -EINVAL);
        assert_error(error, "a.key:1:");
    }
    teardown();
}
END_TEST

START_TEST(public_keys)
{
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    struct public_key public, again;
    _cleanup_free_ char *name = NULL;
    char text[KEY_TEXT_MAX];
    struct error error;

    setup();
    ck_assert_int_eq(secret_key_generate(&key, &error), 0);
    public = secret_key_public(key);
    ck_assert_int_eq(public_key_parse(&again, public_key_format(&public, text)), 0);
    ck_assert_mem_eq(&public, &again, sizeof(public));
    ck_assert_int_ne(public_key_parse(&again, "AAAA"), 0);
    ck_assert_int_eq(public_key_save(&public, path, "alice", &error), 0);
    ck_assert_int_eq(public_key_load(&again, &name, path, &error), 0);
    ck_assert_str_eq(name, "alice");
    ck_assert_mem_eq(&public, &again, sizeof(public));
    ck_assert_int_eq(public_key_save(&public, path, "alice", &error), -EEXIST);
    ck_assert_int_eq(public_key_save(&public, path, "a b", &error), -EINVAL);
    write_key("grivet-ed25519 AAAA alice\n");
    ck_assert_int_eq(public_key_load(&again, &name, path, &error), -EINVAL);
    write_key("ssh-ed25519 AAAA alice\n");
    ck_assert_int_eq(public_key_load(&again, &name, path, &error), -EINVAL);
    assert_error(error, "expected 'grivet-ed25519 BASE64 NAME'");
    teardown();
}
END_TEST

/* Works out a plan in a child: what is parsed there must not come near the key. */
START_TEST(children_have_no_key)
{
    static const uint8_t nothing[KEY_SECRET_BYTES];
    _cleanup_(secret_key_freep) struct secret_key *key = NULL;
    int status = 0;
    pid_t pid;

    ck_assert_int_eq(secret_key_generate(&key, NULL), 0);
    pid = fork();
    if (pid == 0)
        _exit(memcmp(key, nothing, sizeof(nothing)) != 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_mem_ne(key, nothing, sizeof(nothing));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {saves_and_loads, seals_with_a_passphrase, refuses_bad_files,
                                  public_keys,     children_have_no_key,    NULL};

    return unit_run("key", tests);
}
