/* The host's own policy: safe defaults, and a place in every error. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "agent/policy.h"
#include "common/io.h"
#include "faults/fault.h"

#define HEAD "host: i-1\nenvironment: lab\ncoordinators: ['https://10.0.0.2:8443']\n"

static struct error error;

static struct policy *parse(const char *text)
{
    struct policy *policy = NULL;

    if (policy_parse(&policy, "agent.yaml", text, strlen(text), &error) < 0)
        return NULL;
    return policy;
}

static void assert_managed_from_anywhere(const struct policy *policy)
{
    ck_assert_int_eq(policy->lifeline.ssh_port, 22);
    ck_assert_uint_eq(policy->lifeline.n_management, 2);
    ck_assert_int_eq(policy->lifeline.management[0].family, AF_INET);
    ck_assert_int_eq(policy->lifeline.management[1].family, AF_INET6);
    ck_assert_uint_eq(policy->lifeline.management[0].prefix + policy->lifeline.management[1].prefix, 0);
}

START_TEST(ssh_stays_open_unless_closed)
{
    _cleanup_(policy_freep) struct policy *silent = parse(HEAD "lifeline: {resolvers: [10.0.0.53]}\n");
    _cleanup_(policy_freep) struct policy *closed = parse(HEAD "lifeline: {management: []}\n");

    assert_managed_from_anywhere(silent);
    ck_assert_uint_eq(closed->lifeline.n_management, 0);
}
END_TEST

START_TEST(defaults_are_safe)
{
    _cleanup_(policy_freep) struct policy *policy = parse(HEAD);
    const struct policy_class *class;

    ck_assert_msg(policy != NULL, "%s", error.text);
    ck_assert(policy->requires_synchronised_clock);
    ck_assert_int_eq(policy->lost_contact_after_s, 60);
    class = policy_class_find(policy, "network");
    ck_assert(class->is_allowed);
    ck_assert_int_eq(class->signatures, 2);
    ck_assert_int_eq(class->longest_duration_s, 300);
    ck_assert(!class->allows_isolation);
    ck_assert(!policy_class_find(policy, "process")->is_allowed);
    ck_assert_ptr_null(policy_class_find(policy, "disk"));
    for (size_t i = 0; fault_registry[i]; i++) {
        class = policy_class_find(policy, fault_registry[i]->class);
        ck_assert_msg(class != NULL, "%s has no default", fault_registry[i]->class);
        ck_assert_int_eq(class->is_allowed, !!(fault_registry[i]->flags & FAULT_REVERSIBLE));
    }
    ck_assert_ptr_null(policy->protected_processes[0]);
    assert_managed_from_anywhere(policy);
}
END_TEST

START_TEST(everything_given)
{
    _cleanup_(policy_freep) struct policy *policy =
        parse("host: i-1\nenvironment: lab\ncoordinators: ['https://10.0.0.2:8443', 'https://[fd00::2]:9', "
              "'https://c.example']\n"
              "labels: {zone: apse2-az1, group: web}\nrequire_synchronised_clock: false\n"
              "classes: {process: {is_allowed: true, signatures: 1}, disk: {is_allowed: true}, "
              "network: {is_allowed: true, allows_isolation: true, "
              "windows: ['Mon..Fri 09:00..15:00', 'Sat 22:00..04:00']}}\n"
              "time_zone: Europe/Berlin\n"
              "protected: {processes: [sshd, init], cidrs: [10.9.0.0/16]}\n"
              "lifeline: {ssh_port: 2222, management: ['::/0'], resolvers: [10.0.0.53]}\n");

    ck_assert_msg(policy != NULL, "%s", error.text);
    ck_assert_str_eq(policy->zone, "apse2-az1");
    ck_assert_uint_eq(policy->lifeline.n_coordinators, 2);
    ck_assert_uint_eq(policy->lifeline.coordinators[0].port, 8443);
    ck_assert_uint_eq(policy->lifeline.coordinators[1].port, 9);
    ck_assert_int_eq(policy->lifeline.coordinators[1].address.family, AF_INET6);
    ck_assert_uint_eq(policy->n_named_ports, 1);
    ck_assert_uint_eq(policy->named_ports[0], 8443);
    ck_assert_int_eq(policy_class_find(policy, "process")->signatures, 1);
    ck_assert_int_eq(policy_class_find(policy, "disk")->signatures, 2);
    ck_assert(policy_class_find(policy, "network")->allows_isolation);
    ck_assert(!policy_class_find(policy, "disk")->allows_isolation);
    ck_assert_str_eq(policy->time_zone, "Europe/Berlin");
    ck_assert_uint_eq(policy_class_find(policy, "network")->windows.count, 2);
    ck_assert_uint_eq(policy_class_find(policy, "disk")->windows.count, 0);
    ck_assert_str_eq(policy->protected_processes[1], "init");
    ck_assert_uint_eq(policy->protected_cidrs.count, 1);
    ck_assert_int_eq(policy->lifeline.ssh_port, 2222);
    ck_assert_uint_eq(policy->lifeline.n_management + policy->lifeline.n_resolvers, 2);
}
END_TEST

START_TEST(every_error_has_a_place)
{
    static const struct {
        const char *text, *place, *words;
    } bad[] = {
        {"environment: lab\ncoordinators: ['https://c']\n", "agent.yaml:", "host"},
        {HEAD "colour: red\n", "agent.yaml:4:1: colour:", ""},
        {HEAD "classes: {network: {is_allowed: true, signatures: 0}}\n", "agent.yaml:4:", "out of range"},
        {HEAD "classes: {network: {is_allowed: true, longest_duration_s: 99999999}}\n", "longest_duration_s",
         "range"},
        {HEAD "classes: {network: {signatures: 1}}\n", "agent.yaml:4:", "is_allowed"},
        {HEAD "classes: {network: {is_allowed: true, windows: [Mon 09:00..15:00, Mon 9..15]}}\n",
         "agent.yaml:4:67: classes.network.windows[1]:", "'Mon 9..15' is no window"},
        {HEAD "classes: {network: {is_allowed: true, windows: []}}\n", "agent.yaml:4:", "windows: 0 entries"},
        {HEAD "time_zone: Europe/Berlyn\n", "agent.yaml:4:1: time_zone:", "'Europe/Berlyn' is no time zone"},
        {HEAD "labels: {zone: 3}\n", "agent.yaml:4:", "expected a string"},
        {HEAD "protected: {cidrs: [10.0.0.1/8]}\n", "agent.yaml:4:", "10.0.0.0/8"},
        {HEAD "host: twice\n", "agent.yaml:4:", "host"},
        {"host: i\nenvironment: lab\ncoordinators: ['http://c']\n", "agent.yaml:3:", "expected https://"},
        {"host: i\nenvironment: lab\ncoordinators: ['https://c:70000']\n", "agent.yaml:3:", "port"},
        {"host: i\nenvironment: lab\ncoordinators: ['https://c:1x']\n", "agent.yaml:3:", "HOST:PORT"},
        {"host: i\nenvironment: lab\ncoordinators: ['https://:80']\n", "agent.yaml:3:", "HOST:PORT"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        ck_assert_msg(parse(bad[i].text) == NULL, "taken: %s", bad[i].text);
        assert_error(error, bad[i].place);
        assert_error(error, bad[i].words);
    }
}
END_TEST

START_TEST(only_root_may_write_it)
{
    char path[] = "/tmp/grivet-unit-XXXXXX";
    _cleanup_close_ int fd = mkstemp(path);
    struct policy *policy = NULL;

    ck_assert_int_eq(io_write_all(fd, HEAD, strlen(HEAD)), 0);
    ck_assert_int_eq(fchmod(fd, 0666), 0);
    ck_assert_int_eq(policy_load(&policy, path, &error), -EPERM);
    assert_error(error, path);
    unlink(path);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {defaults_are_safe,       ssh_stays_open_unless_closed, everything_given,
                                  every_error_has_a_place, only_root_may_write_it,       NULL};

    return unit_run("policy", tests);
}
