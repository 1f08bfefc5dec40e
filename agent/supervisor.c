/* See supervisor.h: starting, hearing of and ending holders. What they say is read in supervisor-state.c,
 * what they leave is undone in supervisor-end.c. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "supervised.h"

#define FD_ABOVE_JOB 10 /* so that putting one fd in its place overwrites none of the others */

int supervisor_new(struct supervisor **ret, struct event_base *base, const struct supervisor_events *events,
                   void *context, struct error *error)
{
    _cleanup_(supervisor_freep) struct supervisor *supervisor = calloc(1, sizeof(*supervisor));

    if (!supervisor)
        return error_oom(error);
    supervisor->base = base;
    supervisor->events = events;
    supervisor->context = context;
    supervisor->records_fd = open(RECORD_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    supervisor->results_fd = open(RESULT_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (supervisor->records_fd < 0 || supervisor->results_fd < 0)
        return error_errno(error, errno, "can't open %s and %s", RECORD_FOLDER, RESULT_FOLDER);
    *ret = TAKE_PTR(supervisor);
    return 0;
}

struct supervisor *supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor)
        return NULL;
    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++)
        slot_clear(&supervisor->slots[i]);
    cleanup_close(&supervisor->records_fd);
    cleanup_close(&supervisor->results_fd);
    free(supervisor);
    return NULL;
}

void slot_set_timer(struct slot *slot, int64_t boot_nsec)
{
    struct itimerspec at = {.it_value = {boot_nsec / NSEC_PER_SEC, boot_nsec % NSEC_PER_SEC}};

    timerfd_settime(slot->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
}

void slot_kill(const struct slot *slot)
{
    if (slot->pidfd >= 0)
        pidfd_send_signal(slot->pidfd, SIGKILL, NULL, 0);
}

void slot_event(const struct slot *slot, const char *kind, json_t *body)
{
    const struct supervisor *supervisor = slot->supervisor;

    if (body)
        json_object_set_new(body, "fault", json_string(slot->fault->name));
    supervisor->events->event(supervisor->context, kind, *slot->run ? slot->run : NULL, slot->order,
                              *slot->step ? slot->step : NULL, body);
}

static void slot_drop_event(struct event **event, int *fd)
{
    if (*event)
        event_free(*event);
    *event = NULL;
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void slot_clear(struct slot *slot)
{
    if (slot->state == SLOT_FREE)
        return;
    slot_drop_event(&slot->on_pidfd, &slot->pidfd);
    slot_drop_event(&slot->on_channel, &slot->channel);
    slot_drop_event(&slot->on_timer, &slot->timer_fd);
    json_decref(slot->effect);
    *slot = (struct slot){0};
}

static void slot_on_timer(evutil_socket_t fd, short what, void *context)
{
    struct slot *slot = context;
    uint64_t expirations;

    if (read(fd, &expirations, sizeof(expirations)) < 0)
        return;
    if (slot->state == SLOT_UNDOING)
        slot_finish(slot);
    else
        slot_kill(slot);
}

static void slot_on_channel(evutil_socket_t fd, short what, void *context)
{
    struct slot *slot = context;
    struct error error = {0};
    int r = slot_hear(slot, &error);

    if (r == 0)
        return;
    slot_drop_event(&slot->on_channel, &slot->channel);
    if (r == -EPIPE)
        return; /* it is dying: the pidfd says more */
    slot->supervisor->events->say(slot->supervisor->context, &error);
    slot_kill(slot);
}

static void slot_note_death(struct slot *slot)
{
    siginfo_t info = {0};

    if (!slot->pid || waitid(P_PIDFD, (id_t)slot->pidfd, &info, WEXITED) < 0)
        snprintf(slot->death, sizeof(slot->death), "the executor was started again; its holder had to end");
    else if (info.si_code == CLD_EXITED)
        snprintf(slot->death, sizeof(slot->death), "its holder ended with exit code %d", info.si_status);
    else
        snprintf(slot->death, sizeof(slot->death), "its holder was killed by signal %d", info.si_status);
}

static void slot_on_pidfd(evutil_socket_t fd, short what, void *context)
{
    struct slot *slot = context;

    if (slot->channel >= 0)
        slot_hear(slot, NULL); /* its last words */
    slot_note_death(slot);
    if (!slot->over_boot_nsec)
        slot->over_boot_nsec = time_boot_nsec();
    slot_drop_event(&slot->on_channel, &slot->channel);
    slot_drop_event(&slot->on_pidfd, &slot->pidfd);
    slot_finish(slot);
}

struct slot *slot_open(struct supervisor *supervisor, struct error *error)
{
    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++) {
        struct slot *slot = &supervisor->slots[i];

        if (slot->state != SLOT_FREE)
            continue;
        *slot = (struct slot){
            .supervisor = supervisor, .state = SLOT_ARMING, .pidfd = -1, .channel = -1, .timer_fd = -1};
        slot->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
        if (slot->timer_fd >= 0)
            slot->on_timer =
                event_new(supervisor->base, slot->timer_fd, EV_READ | EV_PERSIST, slot_on_timer, slot);
        if (slot->on_timer && event_add(slot->on_timer, NULL) == 0)
            return slot;
        slot_clear(slot);
        error_oom(error);
        return NULL;
    }
    error_set(error, EBUSY, "host: %d faults are under way already", SUPERVISOR_FAULTS_MAX);
    return NULL;
}

int slot_watch(struct slot *slot, struct error *error)
{
    struct event_base *base = slot->supervisor->base;

    if (slot->pidfd >= 0) {
        slot->on_pidfd = event_new(base, slot->pidfd, EV_READ | EV_PERSIST, slot_on_pidfd, slot);
        if (!slot->on_pidfd || event_add(slot->on_pidfd, NULL) < 0)
            return error_oom(error);
    }
    if (slot->channel >= 0) {
        slot->on_channel = event_new(base, slot->channel, EV_READ | EV_PERSIST, slot_on_channel, slot);
        if (!slot->on_channel || event_add(slot->on_channel, NULL) < 0)
            return error_oom(error);
    }
    return 0;
}

/* Only what a test build's hooks read; a holder needs nothing else. */
static void make_environment(char *ret[4])
{
    size_t count = 0;

    for (char **variable = environ; *variable && count < 3; variable++)
        if (!strncmp(*variable, "GRIVET_", strlen("GRIVET_")))
            ret[count++] = *variable;
    ret[count] = NULL;
}

/* Nothing is inherited but the job and the channel. */
static int spawn(pid_t *ret, int job_fd, int channel, struct error *error)
{
    char program[] = "/proc/self/exe", name[] = "grivetd", option[] = "--holder", *variables[4];
    char *const arguments[] = {name, option, NULL};
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);

    if (r != 0)
        return error_errno(error, r, "host: can't start a holder");
    make_environment(variables);
    r = posix_spawn_file_actions_adddup2(&actions, job_fd, JOB_FD);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(&actions, channel, CHANNEL_FD);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(&actions, CHANNEL_FD + 1);
    if (r == 0)
        r = posix_spawn(ret, program, &actions, NULL, arguments, variables);
    posix_spawn_file_actions_destroy(&actions);
    return r == 0 ? 0 : error_errno(error, r, "host: can't start a holder");
}

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
    r = record_write(&record, folder_fd, error);
    if (r < 0)
        return r;
    fd = openat(folder_fd, slot->order, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW);
    r = fd < 0 ? -errno : channel_send(slot->channel, CHANNEL_RECORD, NULL, 0, fd);
    return r < 0 ? error_errno(error, -r, "host: can't give a holder its record") : 0;
}

static int start_holder(struct slot *slot, int job_fd, struct error *error)
{
    int pair[2], job, channel, r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return error_errno(error, errno, "host: can't start a holder");
    slot->channel = pair[0];
    job = fcntl(job_fd, F_DUPFD_CLOEXEC, FD_ABOVE_JOB);
    channel = fcntl(pair[1], F_DUPFD_CLOEXEC, FD_ABOVE_JOB);
    r = job < 0 || channel < 0 ? error_errno(error, errno, "host: can't start a holder")
                               : spawn(&slot->pid, job, channel, error);
    cleanup_close(&job);
    cleanup_close(&channel);
    close(pair[1]);
    if (r < 0)
        return r;
    slot->pidfd = pidfd_open(slot->pid, 0);
    if (slot->pidfd < 0)
        return error_errno(error, errno, "host: can't watch a holder");
    r = slot_watch(slot, error);
    return r < 0 ? r : give_record(slot, error);
}

int supervisor_start(struct supervisor *supervisor, const struct job *job, struct error *error)
{
    _cleanup_close_ int job_fd = job_write(job, error);
    struct slot *slot;
    int r;

    if (job_fd < 0)
        return job_fd;
    slot = slot_open(supervisor, error);
    if (!slot)
        return -EBUSY;
    snprintf(slot->order, sizeof(slot->order), "%s", job->order);
    snprintf(slot->run, sizeof(slot->run), "%s", job->run);
    snprintf(slot->step, sizeof(slot->step), "%s", job->step);
    slot->fault = job->fault;
    slot->deadline_boot_nsec = job->deadline_boot_nsec;
    slot->deadline_real_usec = job->deadline_real_usec;
    r = start_holder(slot, job_fd, error);
    if (r < 0) {
        if (slot->pid) {
            kill(slot->pid, SIGKILL);
            waitpid(slot->pid, NULL, 0);
        }
        record_remove(slot->order, supervisor->records_fd, NULL);
        slot_clear(slot);
        return r;
    }
    slot_set_timer(slot, job->deadline_boot_nsec + RECORD_GRACE_NSEC + SLOT_BACKSTOP_NSEC);
    return 0;
}

static void slot_end(struct slot *slot, enum supervisor_end end)
{
    int64_t now = time_boot_nsec();

    if (slot->end == SUPERVISOR_NOT_ENDED) {
        slot->end = end;
        if (!slot->over_boot_nsec)
            slot->over_boot_nsec = now;
    }
    if (slot->state == SLOT_UNDOING)
        return;
    if (slot->channel < 0 || channel_send(slot->channel, CHANNEL_END, NULL, 0, -1) < 0)
        slot_kill(slot);
    if (now + SLOT_END_NSEC < slot->deadline_boot_nsec + RECORD_GRACE_NSEC + SLOT_BACKSTOP_NSEC)
        slot_set_timer(slot, now + SLOT_END_NSEC);
}

size_t supervisor_end(struct supervisor *supervisor, const char *run, enum supervisor_end end)
{
    size_t count = 0;

    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++) {
        struct slot *slot = &supervisor->slots[i];

        if (slot->state == SLOT_FREE || (run && strcmp(slot->run, run)))
            continue;
        slot_end(slot, end);
        count++;
    }
    return count;
}

size_t supervisor_count(const struct supervisor *supervisor)
{
    return supervisor_count_class(supervisor, NULL);
}

size_t supervisor_count_class(const struct supervisor *supervisor, const char *class)
{
    size_t count = 0;

    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++)
        count += supervisor->slots[i].state != SLOT_FREE &&
                 (!class || !strcmp(supervisor->slots[i].fault->class, class));
    return count;
}

bool supervisor_get(const struct supervisor *supervisor, size_t index, struct supervised *ret)
{
    static const char *const names[] = {"", "arming", "armed", "exercised", "reverting", "reverting"};

    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++) {
        const struct slot *slot = &supervisor->slots[i];

        if (slot->state == SLOT_FREE || index-- > 0)
            continue;
        *ret = (struct supervised){slot->order,
                                   slot->run,
                                   slot->step,
                                   slot->fault->name,
                                   slot->fault->class,
                                   slot->end ? "reverting" : names[slot->state],
                                   slot->deadline_boot_nsec,
                                   slot->deadline_real_usec,
                                   slot->state == SLOT_ARMING};
        return true;
    }
    return false;
}
