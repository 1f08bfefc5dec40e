/* See scope.h. The request goes to PID 1 itself, so that no message bus has to run. Source of the properties:
 * org.freedesktop.systemd1(5), StartTransientUnit(). */
#include "scope.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "common/times.h"

#define PID1_SOCKET  "unix:path=/run/systemd/private"
#define MANAGER_PATH "/org/freedesktop/systemd1"
#define MANAGER      "org.freedesktop.systemd1.Manager"
#define TIMEOUT_USEC (1 * USEC_PER_SEC)

/* @job: the one that moves us, "" = not known yet; @result: "" until it is over */
struct scope {
    char job[128], result[32];
};

static int on_job_removed(sd_bus_message *message, void *context, sd_bus_error *failure)
{
    struct scope *scope = context;
    const char *job, *unit, *result;
    uint32_t id;

    if (sd_bus_message_read(message, "uoss", &id, &job, &unit, &result) >= 0 && !strcmp(job, scope->job))
        snprintf(scope->result, sizeof(scope->result), "%s", result);
    return 0;
}

static int open_bus(sd_bus **ret, struct scope *scope)
{
    int r = sd_bus_new(ret);

    if (r >= 0)
        r = sd_bus_set_address(*ret, PID1_SOCKET);
    if (r >= 0)
        r = sd_bus_set_method_call_timeout(*ret, TIMEOUT_USEC);
    if (r >= 0)
        r = sd_bus_start(*ret);
    if (r >= 0)
        r = sd_bus_match_signal(*ret, NULL, NULL, MANAGER_PATH, MANAGER, "JobRemoved", on_job_removed, scope);
    return r;
}

static int request(sd_bus *bus, struct scope *scope, const char *name, const char *slice, uint64_t run_usec,
                   sd_bus_error *failure)
{
    _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
    const char *job;
    int r = sd_bus_call_method(bus, NULL, MANAGER_PATH, MANAGER, "StartTransientUnit", failure, &reply,
                               "ssa(sv)a(sa(sv))", name, "fail", 5,                   /* properties: */
                               "Description", "s", "Grivet: a fault that makes load", /* */
                               "PIDs", "au", 1, (uint32_t)getpid(),                   /* */
                               "Slice", "s", slice,                                   /* */
                               "RuntimeMaxUSec", "t", run_usec,                       /* */
                               "CollectMode", "s", "inactive-or-failed", 0);

    if (r >= 0)
        r = sd_bus_message_read(reply, "o", &job);
    if (r >= 0)
        snprintf(scope->job, sizeof(scope->job), "%s", job);
    return r;
}

/* The job may be over before its name is known: signals wait in the connection until they are processed. */
static int wait_for_job(sd_bus *bus, const struct scope *scope)
{
    int64_t until_nsec = time_boot_nsec() + TIMEOUT_USEC * NSEC_PER_USEC, left_nsec;

    while (!*scope->result) {
        int r = sd_bus_process(bus, NULL);

        left_nsec = until_nsec - time_boot_nsec();
        if (r == 0 && left_nsec > 0)
            r = sd_bus_wait(bus, (uint64_t)left_nsec / NSEC_PER_USEC);
        if (r < 0)
            return r;
        if (left_nsec <= 0)
            return -ETIMEDOUT;
    }
    return strcmp(scope->result, "done") ? -EIO : 0;
}

/* Load is the first that a host short of memory should kill; what we fork inherits it. */
static void offer_to_oom(void)
{
    _cleanup_close_ int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd >= 0)
        io_write_all(fd, "1000", 4);
}

int scope_enter(const char *order, const char *slice, int64_t end_boot_nsec, struct error *error)
{
    _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
    _cleanup_(sd_bus_error_free) sd_bus_error failure = SD_BUS_ERROR_NULL;
    int64_t left_usec = (end_boot_nsec - time_boot_nsec()) / NSEC_PER_USEC;
    struct scope scope = {{0}, {0}};
    char name[64];
    int r;

    offer_to_oom();
    if (sd_booted() <= 0)
        return 0;
    if (left_usec <= 0)
        return error_set(error, ETIME, "the deadline is already past");
    snprintf(name, sizeof(name), "grivet-%s.scope", order);
    r = open_bus(&bus, &scope);
    if (r >= 0)
        r = request(bus, &scope, name, slice, (uint64_t)left_usec, &failure);
    if (r >= 0)
        r = wait_for_job(bus, &scope);
    if (r < 0)
        return error_errno(error, -r, "can't enter a scope of its own in %s%s%s", slice,
                           failure.message ? ": " : "", failure.message ? failure.message : "");
    return 0;
}
