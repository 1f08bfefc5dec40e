/* Whom the lifeline keeps: name servers behind a stub, time servers whatever they are called, SSH. */
#include "unit.h"

#include <stdio.h>
#include <sys/stat.h>

#include "agent/lifeline.h"
#include "common/io.h"

#define HEAD "host: i-1\nenvironment: lab\ncoordinators: ['https://10.0.0.2:8443']\n"
#define STUB "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch example\n"

static char root[64];
static struct lifeline lifeline;

static void write_file(const char *path, const char *text)
{
    char whole[160];

    snprintf(whole, sizeof(whole), "%s%s", root, path);
    for (char *slash = strchr(whole + strlen(root) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ck_assert_int_eq(io_mkdir(whole, 0755, NULL), 0);
        *slash = '/';
    }
    ck_assert_int_eq(io_write_file(whole, text, strlen(text), 0644, NULL), 0);
}

/* Makes the lifeline of a host with these files and that policy. */
static void make(const char *yaml, const char *resolv_conf, const char *behind)
{
    _cleanup_(policy_freep) struct policy *policy = NULL;
    const struct lifeline_reported reported = {0};
    struct error error = {0};
    char command[100];

    strcpy(root, "/tmp/grivet-lifeline-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(root));
    if (resolv_conf)
        write_file("/etc/resolv.conf", resolv_conf);
    if (behind)
        write_file("/run/systemd/resolve/resolv.conf", behind);
    ck_assert_msg(policy_parse(&policy, "agent.yaml", yaml, strlen(yaml), &error) == 0, "%s", error.text);
    lifeline_make(&lifeline, policy, 64001, &reported, root);
    snprintf(command, sizeof(command), "rm -r %s", root);
    ck_assert_int_eq(system(command), 0);
}

/* Is there a line with these words? */
static bool says(const char *words)
{
    json_t *lines = lifeline_describe(&lifeline), *line;
    bool is_there = false;
    size_t index;

    json_array_foreach(lines, index, line) is_there |= strstr(json_string_value(line), words) != NULL;
    json_decref(lines);
    return is_there;
}

START_TEST(servers_behind_a_stub)
{
    make(HEAD, STUB, "nameserver 10.0.0.3\nnameserver fd00::3\n");
    ck_assert_uint_eq(lifeline.n_resolvers, 2);
    ck_assert(says("resolver 10.0.0.3") && says("resolver fd00::3"));
    ck_assert(!says("warning"));
    make(HEAD, "nameserver ::1\n", "nameserver 10.0.0.3\n");
    ck_assert_uint_eq(lifeline.n_resolvers, 1);
    make(HEAD, NULL, "nameserver 10.0.0.3\n"); /* no file means the local one */
    ck_assert_uint_eq(lifeline.n_resolvers, 1);
}
END_TEST

START_TEST(servers_without_a_stub)
{
    make(HEAD, "# nameserver 10.0.0.9\nnameserver\t10.0.0.2\nnameserver nonsense\n", "nameserver 10.0.0.3\n");
    ck_assert_uint_eq(lifeline.n_resolvers, 1);
    ck_assert(says("resolver 10.0.0.2"));
    make(HEAD
         "lifeline: {resolvers: [10.0.0.1, 10.0.0.3, 10.0.0.5, 10.0.0.7, 10.0.0.9, 10.0.0.11, 10.0.0.13, "
         "10.0.0.15]}\n",
         "nameserver 10.9.0.2\n", NULL);
    ck_assert_uint_eq(lifeline.n_resolvers, 9); /* a full list leaves room for those in use */
}
END_TEST

START_TEST(what_is_missing_is_said)
{
    make(HEAD "lifeline: {management: []}\n", STUB, NULL);
    ck_assert_uint_eq(lifeline.n_resolvers, 0);
    ck_assert(says("warning: no name server is known") && says("warning: nobody may come in by SSH"));
}
END_TEST

START_TEST(time_servers_and_ssh)
{
    make(HEAD, STUB, NULL);
    ck_assert(says("time server 0.0.0.0/0") && says("time server ::/0"));
    ck_assert(says("management by SSH from 0.0.0.0/0") && says("management by SSH from ::/0"));
    make(HEAD "lifeline: {time_servers: [10.0.0.4]}\n", STUB, NULL);
    ck_assert(says("time server 10.0.0.4") && !says("time server 0.0.0.0/0"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {servers_behind_a_stub, servers_without_a_stub, what_is_missing_is_said,
                                  time_servers_and_ssh, NULL};

    return unit_run("lifeline", tests);
}
