/* See supervisor.h: starting and ending holders. What is told of their faults, and the undoing of what they
 * leave, is in supervisor-end.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "common/own-process.h"
#include "executor.h"

#define BACKSTOP_NSEC                                                                                        \
    (RECORD_GRACE_NSEC + 500 * NSEC_PER_MSEC) /* after the deadline and the kernel's timer */
#define END_NSEC (2 * NSEC_PER_SEC)           /* a holder that was asked to end and did not is killed */

int supervisor_open(struct executor *executor, struct error *error)
{
    _cleanup_(supervisor_freep) struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

    if (!supervisor)
        return error_oom(error);
    supervisor->executor = executor;
    supervisor->records_fd = open(RECORD_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    supervisor->results_fd = open(RESULT_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (supervisor->records_fd < 0 || supervisor->results_fd < 0)
        return error_errno(error, errno, "can't open %s and %s", RECORD_FOLDER, RESULT_FOLDER);
    if (reserve_open(&supervisor->reserve, executor->base, error) < 0)
        return -ENOMEM;
    executor->supervisor = TAKE_PTR(supervisor);
    return 0;
}

struct supervisor *supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor)
        return NULL;
    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++)
        slot_clear(&supervisor->slots[i]);
    reserve_close(&supervisor->reserve);
    cleanup_close(&supervisor->records_fd);
    cleanup_close(&supervisor->results_fd);
    free(supervisor);
    return NULL;
}

/* ---- slots */

void slot_set_timer(struct slot *slot, int64_t after_nsec)
{
    int64_t usec = after_nsec > 0 ? after_nsec / NSEC_PER_USEC : 0;
    struct timeval after = {usec / USEC_PER_SEC, usec % USEC_PER_SEC};

    event_add(slot->on_timer, &after);
}

static void slot_kill(const struct slot *slot)
{
    if (slot->pidfd >= 0)
        pidfd_send_signal(slot->pidfd, SIGKILL, NULL, 0);
}

void slot_event(const struct slot *slot, const char *kind, json_t *body)
{
    if (body)
        json_object_set_new(body, "fault", json_string(slot->fault->name));
    executor_record(slot->supervisor->executor, kind, *slot->run ? slot->run : NULL, slot->order,
                    *slot->step ? slot->step : NULL, body);
}

static void drop_event(struct event **event, int *fd)
{
    if (*event)
        event_free(*event);
    *event = NULL;
    cleanup_close(fd);
    *fd = -1;
}

void slot_clear(struct slot *slot)
{
    int no_fd = -1;

    if (slot->state == SLOT_FREE)
        return;
    drop_event(&slot->on_pidfd, &slot->pidfd);
    drop_event(&slot->on_channel, &slot->channel);
    drop_event(&slot->on_timer, &no_fd);
    json_decref(slot->effect);
    *slot = (struct slot){0};
}

static void on_timer(evutil_socket_t fd, short what, void *context)
{
    struct slot *slot = context;

    if (slot->state == SLOT_UNDOING)
        slot_finish(slot);
    else
        slot_kill(slot);
}

static void on_channel(evutil_socket_t fd, short what, void *context)
{
    struct slot *slot = context;
    struct error error = {0};
    int r = slot_hear(slot, &error);

    if (r == 0)
        return;
    drop_event(&slot->on_channel, &slot->channel);
    if (r == -EPIPE)
        return; /* it is dying: the pidfd says more */
    executor_say(LOG_LEVEL_WARNING, "%s", error.text);
    slot_kill(slot);
}

static void on_pidfd(evutil_socket_t fd, short what, void *context)
{
    struct slot *slot = context;
    siginfo_t info = {0};

    if (slot->channel >= 0)
        slot_hear(slot, NULL); /* its last words */
    if (waitid(P_PIDFD, (id_t)slot->pidfd, &info, WEXITED) < 0)
        snprintf(slot->death, sizeof(slot->death), "its holder is gone: %s", strerror(errno));
    else
        snprintf(slot->death, sizeof(slot->death),
                 info.si_code == CLD_EXITED ? "its holder ended with exit code %d"
                                            : "its holder was killed by signal %d",
                 info.si_status);
    if (!slot->over_boot_nsec)
        slot->over_boot_nsec = time_boot_nsec();
    drop_event(&slot->on_channel, &slot->channel);
    drop_event(&slot->on_pidfd, &slot->pidfd);
    slot_finish(slot);
}

struct slot *slot_open(struct supervisor *supervisor, const char *order, const struct fault *fault,
                       struct error *error)
{
    struct slot *slot = supervisor->slots;

    if (!fault) {
        error_set(error, EINVAL, "order %s: this agent does not know its fault", order);
        return NULL;
    }
    while (slot < supervisor->slots + SUPERVISOR_FAULTS_MAX && slot->state != SLOT_FREE)
        slot++;
    if (slot == supervisor->slots + SUPERVISOR_FAULTS_MAX) {
        error_set(error, EBUSY, "host: %d faults are under way already", SUPERVISOR_FAULTS_MAX);
        return NULL;
    }
    *slot = (struct slot){
        .supervisor = supervisor, .state = SLOT_ARMING, .fault = fault, .pidfd = -1, .channel = -1};
    snprintf(slot->order, sizeof(slot->order), "%s", order);
    slot->on_timer = evtimer_new(supervisor->executor->base, on_timer, slot);
    if (slot->on_timer)
        return slot;
    slot_clear(slot);
    error_oom(error);
    return NULL;
}

static int slot_watch(struct slot *slot, struct error *error)
{
    struct event_base *base = slot->supervisor->executor->base;

    slot->on_pidfd = event_new(base, slot->pidfd, EV_READ | EV_PERSIST, on_pidfd, slot);
    slot->on_channel = event_new(base, slot->channel, EV_READ | EV_PERSIST, on_channel, slot);
    if (!slot->on_pidfd || event_add(slot->on_pidfd, NULL) < 0 || !slot->on_channel ||
        event_add(slot->on_channel, NULL) < 0)
        return error_oom(error);
    return 0;
}

/* ---- starting one */

/* It can't make anything before it has the record; the record is ours, and all that it can do is append. */
static int give_record(const struct slot *slot, struct error *error)
{
    struct record record = {.holder_pid = slot->pid,
                            .holder_start_ticks = process_start_ticks(slot->pid),
                            .deadline_boot_nsec = slot->deadline_boot_nsec,
                            .deadline_real_usec = slot->deadline_real_usec};
    int folder_fd = slot->supervisor->records_fd;
    _cleanup_close_ int fd = -1;
    int r;

    snprintf(record.order, sizeof(record.order), "%s", slot->order);
    snprintf(record.fault, sizeof(record.fault), "%s", slot->fault->name);
    time_boot_id(record.boot);
    /* Without them the sweep would take it for one of an earlier boot, or for dead. */
    if (!record.holder_start_ticks || !*record.boot)
        return error_set(error, EIO, "host: can't tell since when a holder runs, and in which boot");
    r = record_write(&record, folder_fd, error);
    if (r < 0)
        return r;
    fd = openat(folder_fd, slot->order, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    r = fd < 0 ? -errno : channel_send(slot->channel, CHANNEL_RECORD, NULL, 0, fd);
    if (r == -EPIPE)
        return 0; /* it is dead: how it died is about to be heard */
    return r < 0 ? error_errno(error, -r, "host: can't give a holder its record") : 0;
}

static int start_holder(struct slot *slot, const struct job *job, struct error *error)
{
    _cleanup_close_ int job_fd = job_write(job, error);
    struct holder_process process;
    int r = job_fd < 0 ? job_fd : reserve_give_job(&slot->supervisor->reserve, job_fd, &process, error);

    if (r < 0)
        return r;
    slot->pid = process.pid;
    slot->pidfd = process.pidfd;
    slot->channel = process.channel;
    r = slot_watch(slot, error);
    return r < 0 ? r : give_record(slot, error);
}

int supervisor_start(struct supervisor *supervisor, const struct job *job, struct error *error)
{
    struct slot *slot = slot_open(supervisor, job->order, job->fault, error);
    int r, no_fd = -1;

    if (!slot)
        return -error->code;
    snprintf(slot->run, sizeof(slot->run), "%s", job->run);
    snprintf(slot->step, sizeof(slot->step), "%s", job->step);
    slot->deadline_boot_nsec = job->deadline_boot_nsec;
    slot->deadline_real_usec = job->deadline_real_usec;
    r = start_holder(slot, job, error);
    if (r == 0) {
        slot_set_timer(slot, job->deadline_boot_nsec + BACKSTOP_NSEC - time_boot_nsec());
        return 0;
    }
    if (slot->pid) {
        drop_event(&slot->on_pidfd, &no_fd);
        process_end(slot->pid, TAKE_FD(slot->pidfd), supervisor->executor->base);
    }
    record_remove(slot->order, supervisor->records_fd, NULL);
    slot_clear(slot);
    return r;
}

/* ---- ending them */

/* Who asks again must not give a holder that hangs more time. */
static void slot_end(struct slot *slot, enum supervisor_end end)
{
    int64_t now = time_boot_nsec();

    if (slot->end != SUPERVISOR_NOT_ENDED)
        return;
    slot->end = end;
    if (!slot->over_boot_nsec)
        slot->over_boot_nsec = now;
    if (slot->state == SLOT_UNDOING)
        return;
    if (slot->channel < 0 || channel_send(slot->channel, CHANNEL_END, NULL, 0, -1) < 0)
        slot_kill(slot);
    if (now + END_NSEC < slot->deadline_boot_nsec + BACKSTOP_NSEC)
        slot_set_timer(slot, END_NSEC);
}

size_t supervisor_end(struct supervisor *supervisor, const char *run, enum supervisor_end end)
{
    size_t count = 0;

    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++) {
        struct slot *slot = &supervisor->slots[i];

        if (slot->state == SLOT_FREE || (run && strcmp(slot->run, run)))
            continue;
        slot_end(slot, end);
        count += !slot->has_ended; /* its holder may take a moment to go */
    }
    return count;
}

/* ---- what others want to know */

const struct slot *supervisor_next(const struct supervisor *supervisor, const struct slot *after)
{
    for (const struct slot *slot = after ? after + 1 : supervisor->slots;
         slot < supervisor->slots + SUPERVISOR_FAULTS_MAX; slot++)
        if (slot->state != SLOT_FREE)
            return slot;
    return NULL;
}

size_t supervisor_count(const struct supervisor *supervisor, const char *class)
{
    const struct slot *slot = NULL;
    size_t count = 0;

    while ((slot = supervisor_next(supervisor, slot)))
        count += !class || (!slot->has_ended && !strcmp(slot->fault->class, class));
    return count;
}

const char *slot_state_name(const struct slot *slot)
{
    static const char *const names[] = {"", "arming", "armed", "exercised", "reverting", "reverting"};

    return slot->end ? "reverting" : names[slot->state];
}
