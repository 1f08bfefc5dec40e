/*
 * A closed loop on the thread's own CPU time: every period it works until it has used its share of all the
 * time that went by, and sleeps for the rest. So it holds its share beside a rival, where a loop that only
 * sleeps and spins by the clock gets half of it.
 *
 * Nobody has to end it: it is tied to its parent and to a timer of its own, because timers are not inherited
 * by fork (timer_create(2)).
 */
#include "burner.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/hands.h"
#include "common/io.h"
#include "common/kill-timer.h"
#include "common/times.h"

#define PERIOD_NSEC (10 * NSEC_PER_MSEC)
/* What a rival or a suspended host kept from it is not made up for beyond this: a burst of full load would
 * follow. */
#define DEBT_NSEC       (200 * NSEC_PER_MSEC)
#define ROUNDS_PER_LOOK 2000

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

static void sleep_until(int64_t nsec)
{
    const struct timespec at = {.tv_sec = nsec / NSEC_PER_SEC, .tv_nsec = nsec % NSEC_PER_SEC};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void work(void)
{
    volatile uint64_t number = 88172645463325252ULL;

    for (int i = 0; i < ROUNDS_PER_LOOK; i++)
        number ^= number << 13 | number >> 7;
}

_Noreturn static void burn(int load_percent)
{
    int64_t last = read_clock(CLOCK_MONOTONIC), next = last + PERIOD_NSEC, now;
    int64_t wanted = read_clock(CLOCK_THREAD_CPUTIME_ID), used;

    for (;; next += PERIOD_NSEC) {
        used = read_clock(CLOCK_THREAD_CPUTIME_ID);
        wanted += (next - last) * load_percent / 100;
        if (wanted > used + DEBT_NSEC)
            wanted = used + DEBT_NSEC;
        last = next;
        do {
            work();
            now = read_clock(CLOCK_MONOTONIC);
        } while (now < next && read_clock(CLOCK_THREAD_CPUTIME_ID) < wanted);
        sleep_until(next);
        now = read_clock(CLOCK_MONOTONIC);
        if (now > next + PERIOD_NSEC) /* kept from running: go on from here, the share of that time is owed */
            next = now;
    }
}

static int bind_to_cpu(const struct burner_order *order)
{
    const struct sched_param none = {0};
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET(order->cpu, &cpus);
    if (sched_setaffinity(0, sizeof(cpus), &cpus) < 0)
        return -errno;
    return order->is_yielding && sched_setscheduler(0, SCHED_IDLE, &none) < 0 ? -errno : 0;
}

/* Says one word down the pipe: an errno, or nothing at all, which is the end of the file. */
_Noreturn static void live(const struct burner_order *order, pid_t parent, int pipe_fd)
{
    sigset_t none;
    int r;

    if (has_parent_death)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(1);
    prctl(PR_SET_NAME, order->name);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    r = kill_timer_arm(order->end_boot_nsec);
    if (r == 0)
        r = bind_to_cpu(order);
    if (r < 0) {
        io_write_all(pipe_fd, (const char *)&r, sizeof(r));
        _exit(1);
    }
    close_range(0, ~0U, 0);
    burn(order->load_percent);
}

/* Return: 0 when it runs, else what it said before it ended */
static int hear_start(int pipe_fd)
{
    int word = 0;
    ssize_t length;

    do
        length = read(pipe_fd, &word, sizeof(word));
    while (length < 0 && errno == EINTR);
    return length == 0 ? 0 : length == sizeof(word) ? word : -EIO;
}

int burner_start(const struct burner_order *order, struct burner *ret, struct error *error)
{
    _cleanup_close_ int ours = -1, theirs = -1;
    struct burner burner = {.cpu = order->cpu, .born_boot_nsec = time_boot_nsec()};
    pid_t parent = getpid();
    int ends[2], r;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(error, errno, "can't make a pipe");
    ours = ends[0];
    theirs = ends[1];
    burner.pid = fork();
    if (burner.pid < 0)
        return error_errno(error, errno, "can't fork a burner");
    if (burner.pid == 0)
        live(order, parent, theirs);
    close(TAKE_FD(theirs));
    r = hear_start(ours);
    if (r == 0) {
        *ret = burner;
        return 0;
    }
    burner_kill(&burner);
    burner_reap(&burner);
    return error_errno(error, -r, "can't start a burner on CPU %d", order->cpu);
}

/* What its parent is told of it: no /proc has to show it. */
enum burner_state burner_state(const struct burner *burner)
{
    const int news = WEXITED | WSTOPPED | WCONTINUED | WNOHANG | WNOWAIT;
    siginfo_t info = {0};

    if (!burner->pid || waitid(P_PID, (id_t)burner->pid, &info, news) < 0)
        return BURNER_GONE;
    if (info.si_pid == 0)
        return BURNER_RUNS;
    return info.si_code == CLD_STOPPED || info.si_code == CLD_CONTINUED ? BURNER_STOPPED : BURNER_GONE;
}

int64_t burner_cpu_nsec(const struct burner *burner)
{
    clockid_t clock;

    if (!burner->pid || clock_getcpuclockid(burner->pid, &clock) != 0)
        return -ESRCH;
    return read_clock(clock);
}

/* Our own child that we have not reaped: its pid can't be somebody else's. */
void burner_kill(const struct burner *burner)
{
    if (burner->pid)
        kill(burner->pid, SIGKILL);
}

void burner_reap(struct burner *burner)
{
    pid_t r = 0;

    while (burner->pid && (r = waitpid(burner->pid, NULL, 0)) < 0 && errno == EINTR)
        continue;
    if (r >= 0 || errno == ECHILD)
        burner->pid = 0; /* else the next attempt reaps it */
}

bool burner_are_left(void)
{
    siginfo_t info;

    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}
