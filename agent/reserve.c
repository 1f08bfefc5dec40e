/* Starting holders, ahead of their jobs where there is time: see reserve.h. */
#include "reserve.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/channel.h"
#include "common/clock-hook.h"
#include "executor.h"

#define REFILL_NSEC (100 * NSEC_PER_MSEC) /* after a job: by then its fault is armed, or late anyway */

/* ---- starting one */

/* Only what a test build's hooks read; a holder needs nothing else. */
static void make_environment(char *ret[4])
{
    size_t count = 0;

    for (char **variable = environ; clock_hook_is_test_build() && *variable && count < 3; variable++)
        if (!strncmp(*variable, "GRIVET_TEST_", strlen("GRIVET_TEST_")))
            ret[count++] = *variable;
    ret[count] = NULL;
}

/* Nothing is inherited but the channel. */
static int spawn(pid_t *ret, int channel)
{
    char program[] = "/proc/self/exe", name[] = "grivetd", option[] = "--holder", *variables[4];
    char *const arguments[] = {name, option, NULL};
    posix_spawn_file_actions_t actions;
    int r = posix_spawn_file_actions_init(&actions);

    if (r != 0)
        return -r;
    make_environment(variables);
    r = posix_spawn_file_actions_adddup2(&actions, channel, CHANNEL_FD);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(&actions, CHANNEL_FD + 1);
    if (r == 0)
        r = posix_spawn(ret, program, &actions, NULL, arguments, variables);
    posix_spawn_file_actions_destroy(&actions);
    return -r;
}

static void on_gone(evutil_socket_t pidfd, short what, void *context)
{
    siginfo_t info;

    waitid(P_PIDFD, (id_t)pidfd, &info, WEXITED);
    close(pidfd);
}

void process_end(pid_t pid, int pidfd, struct event_base *base)
{
    kill(pid, SIGKILL);
    /* Without memory or descriptors it stays a zombie until we end. */
    if (pidfd >= 0 && event_base_once(base, pidfd, EV_READ, on_gone, NULL, NULL) < 0)
        close(pidfd);
}

/* Kills what is left of it. */
static void holder_process_end(struct holder_process *process, struct event_base *base)
{
    if (process->pid) {
        process_end(process->pid, process->pidfd, base);
        cleanup_close(&process->channel);
    }
    *process = (struct holder_process){.pidfd = -1, .channel = -1};
}

static int start_one(struct holder_process *ret, struct event_base *base)
{
    struct holder_process process = {.pidfd = -1};
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return -errno;
    process.channel = pair[0];
    r = spawn(&process.pid, pair[1]);
    close(pair[1]);
    if (r < 0) {
        close(pair[0]);
        return r;
    }
    process.pidfd = pidfd_open(process.pid, 0);
    r = process.pidfd < 0 ? -errno : 0;
    if (r < 0)
        holder_process_end(&process, base);
    else
        *ret = process;
    return r;
}

/* ---- the one that waits */

static struct holder_process take(struct reserve *reserve)
{
    struct holder_process one = reserve->one;

    if (reserve->on_death)
        event_free(TAKE_PTR(reserve->on_death));
    reserve->one = (struct holder_process){.pidfd = -1, .channel = -1};
    return one;
}

/* Somebody killed it: that costs the next order a few milliseconds, and nothing else. */
static void on_death(evutil_socket_t fd, short what, void *context)
{
    struct reserve *reserve = context;
    struct holder_process one = take(reserve);

    holder_process_end(&one, reserve->base);
}

static void on_refill(evutil_socket_t fd, short what, void *context)
{
    struct reserve *reserve = context;
    struct error error = {0};
    int r = reserve->one.pid ? 0 : start_one(&reserve->one, reserve->base);

    if (r < 0) {
        error_errno(&error, -r, "no holder can be kept in reserve");
        executor_say(LOG_LEVEL_WARNING, "%s", error.text);
        return;
    }
    if (!reserve->on_death)
        reserve->on_death = event_new(reserve->base, reserve->one.pidfd, EV_READ, on_death, reserve);
    if (reserve->on_death)
        event_add(reserve->on_death, NULL);
}

int reserve_open(struct reserve *reserve, struct event_base *base, struct error *error)
{
    struct timeval now = {0};

    *reserve = (struct reserve){.base = base, .one = {.pidfd = -1, .channel = -1}};
    reserve->on_refill = evtimer_new(base, on_refill, reserve);
    return reserve->on_refill && event_add(reserve->on_refill, &now) == 0 ? 0 : error_oom(error);
}

void reserve_close(struct reserve *reserve)
{
    struct holder_process one = take(reserve);

    if (one.pid) {
        close(one.pidfd);
        close(one.channel);
    }
    if (reserve->on_refill)
        event_free(reserve->on_refill);
}

static int send_job(struct holder_process *to, int job_fd, struct event_base *base)
{
    int r = channel_send(to->channel, CHANNEL_JOB, NULL, 0, job_fd);

    if (r < 0)
        holder_process_end(to, base);
    return r;
}

int reserve_give_job(struct reserve *reserve, int job_fd, struct holder_process *ret, struct error *error)
{
    static const struct timeval later = {.tv_usec = REFILL_NSEC / NSEC_PER_USEC};
    int r;

    event_add(reserve->on_refill, &later);
    *ret = take(reserve);
    r = ret->pid ? send_job(ret, job_fd, reserve->base) : -ESRCH;
    if (r < 0) {
        r = start_one(ret, reserve->base);
        if (r == 0)
            r = send_job(ret, job_fd, reserve->base);
    }
    return r < 0 ? error_errno(error, -r, "host: can't start a holder") : 0;
}
