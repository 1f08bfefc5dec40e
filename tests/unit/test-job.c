/* Jobs: what the executor wrote, the holder reads, and a job that was tampered with is refused. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "agent/job.h"
#include "common/io.h"

#define ID "01900000-0000-7000-8000-000000000001"
#define MANDATE                                                                                              \
    "{\"schema\": \"grivet.mandate/1\", \"id\": \"" ID "\", \"experiment\": \"zone-outage\", "               \
    "\"environment\": \"lab\", \"created_at\": \"2026-01-31T12:00:00Z\", "                                   \
    "\"not_before\": \"2026-01-31T12:00:00Z\", \"not_after\": \"2026-01-31T13:00:00Z\", \"max_runs\": 1, "   \
    "\"require_percent\": 100, \"warmup_ms\": 0, \"settle_ms\": 0, "                                         \
    "\"expect\": {\"hosts\": 1, \"max_share_of_group_percent\": 34}, "                                       \
    "\"zones\": {\"apse2-az1\": [\"10.1.0.0/24\"]}, \"steps\": [{\"name\": \"lose-az1\", "                   \
    "\"fault\": \"zone.block\", \"parameters\": {\"zone\": \"apse2-az1\"}, \"duration_ms\": 20000, "         \
    "\"hosts\": [\"a\"], \"late_joiners\": false}]}"

static int write_good(void)
{
    static const char *const processes[] = {"sshd", "init", NULL};
    struct lifeline lifeline = {
        .courier_uid = 64001, .n_coordinators = 2, .n_resolvers = 1, .n_management = 1, .ssh_port = 22};
    struct parameter_cidrs cidrs = {.count = 1, .cidrs = &lifeline.management[0]};
    struct job job = {.order = ID,
                      .run = ID,
                      .step = "lose-az1",
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
    fd = job_write(&job, MANDATE, &error);
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
    ck_assert_str_eq(job->step_of_mandate->fault, "zone.block");
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
    refuse("\"run\":", "\"bogus\":1,\"run\":", "bogus: unknown field");
    refuse("\"host\":\"a\",", "", "'host' is missing");
    refuse("10.0.0.2:8443", "10.0.0.2:99999", "99999");
    refuse("192.168.0.0/16", "192.168.0.1/16", "host bits");
    refuse("\"lose-az1\"", "\"lose-az2\"", "no step 'lose-az2'");
    refuse("\"sshd\"", "7", "processes[0]: expected a string");
    refuse("grivet.mandate/1", "grivet.mandate/2", "expected grivet.mandate/1");
    refuse("\"ssh_port\":22", "\"ssh_port\":70000", "out of range");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {jobs_come_back, others_are_refused, NULL};

    return unit_run("job", tests);
}
