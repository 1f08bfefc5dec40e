/* Jobs: what the executor wrote, the holder reads, and a job that was tampered with is refused. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "agent/job.h"
#include "common/io.h"

#define ID "01900000-0000-7000-8000-000000000001"
static int write_good(void)
{
    static const char *const processes[] = {"sshd", "init", NULL};
    struct lifeline lifeline = {
        .courier_uid = 64001, .n_coordinators = 2, .n_resolvers = 1, .n_management = 1, .ssh_port = 22};
    struct parameter_cidrs cidrs = {.count = 1, .cidrs = &lifeline.management[0]};
    struct zone zone = {.name = "apse2-az1", .n_cidrs = 1};
    const struct mandate mandate = {.n_zones = 1, .zones = &zone};
    _cleanup_(document_freep) struct document *parameters = NULL;
    struct job job = {.order = ID,
                      .fault = fault_find("zone.block"),
                      .mandate = &mandate,
                      .deadline_boot_nsec = 123456789012345,
                      .deadline_real_usec = 1800000000000000,
                      .host = {.name = "a",
                               .zone = "apse2-az1",
                               .lifeline = &lifeline,
                               .protected_processes = processes,
                               .protected_cidrs = &cidrs}};
    struct error error;
    int fd;

    ck_assert_int_eq(endpoint_parse(&lifeline.coordinators[0], "10.0.0.2:8443", NULL), 0);
    ck_assert_int_eq(endpoint_parse(&lifeline.coordinators[1], "[fd00::2]:8443", NULL), 0);
    ck_assert_int_eq(cidr_parse(&lifeline.resolvers[0], "10.0.0.53", NULL), 0);
    ck_assert_int_eq(cidr_parse(&lifeline.management[0], "192.168.0.0/16", NULL), 0);
    zone.cidrs = &lifeline.management[0];
    ck_assert_int_eq(document_parse_json(&parameters, "p", "{\"zone\":\"apse2-az1\"}", 20, &error), 0);
    job.parameters = document_root(parameters);
    fd = job_write(&job, &error);
    ck_assert_msg(fd >= 0, "%s", error.text);
    return fd;
}

START_TEST(jobs_come_back)
{
    char text[ENDPOINT_TEXT_MAX];
    struct job *job = NULL;
    struct error error;
    int fd = write_good();

    ck_assert_msg(job_read(&job, fd, &error) == 0, "%s", error.text);
    ck_assert_str_eq(job->order, ID);
    ck_assert_int_eq(job->deadline_boot_nsec, 123456789012345);
    ck_assert_int_eq(job->deadline_real_usec, 1800000000000000);
    ck_assert_str_eq(job->fault->name, "zone.block");
    ck_assert_str_eq(node_string(job->parameters, "zone"), "apse2-az1");
    ck_assert_uint_eq(mandate_zone(job->mandate, "apse2-az1")->cidrs[0].prefix, 16);
    ck_assert_str_eq(job->host.zone, "apse2-az1");
    ck_assert_uint_eq(job->host.lifeline->n_coordinators, 2);
    ck_assert_str_eq(endpoint_format(&job->host.lifeline->coordinators[1], text), "[fd00::2]:8443");
    ck_assert_uint_eq(job->host.lifeline->courier_uid, 64001);
    ck_assert_uint_eq(job->host.lifeline->n_time_servers, 0);
    ck_assert_str_eq(job->host.protected_processes[1], "init");
    ck_assert_ptr_null(job->host.protected_processes[2]);
    ck_assert_uint_eq(job->host.protected_cidrs->count, 1);
    job_free(job);
    close(fd);
}
END_TEST

static void refuse(const char *from, const char *to, const char *words)
{
    char *text, *at, changed[4096];
    size_t length;
    struct job *job = NULL;
    struct error error;
    int fd = write_good(), r;

    ck_assert_int_eq(io_memfd_read(fd, sizeof(changed), &text, &length, &error), 0);
    close(fd);
    at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s", from);
    snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(text);
    fd = io_memfd("job", changed, strlen(changed), &error);
    r = job_read(&job, fd, &error);
    close(fd);
    ck_assert_msg(r < 0, "taken with %s", to);
    assert_error(error, words);
}

START_TEST(others_are_refused)
{
    struct job *job = NULL;
    struct error error;
    int fd = memfd_create("open", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    ck_assert_int_lt(job_read(&job, fd, &error), 0); /* not sealed */
    close(fd);
    refuse("\"order\":", "\"bogus\":1,\"order\":", "bogus: unknown field");
    refuse("\"host\":\"a\",", "", "'host' is missing");
    refuse("10.0.0.2:8443", "10.0.0.2:99999", "99999");
    refuse("192.168.0.0/16", "192.168.0.1/16", "host bits");
    refuse("zone.block", "zone.burn", "unknown fault 'zone.burn'");
    refuse("\"ssh_port\":22", "\"ssh_port\":70000", "out of range");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {jobs_come_back, others_are_refused, NULL};

    return unit_run("job", tests);
}
