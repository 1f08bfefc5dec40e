/* See sandbox.h. One row for a call and its callers, in the order of the alphabet. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/clock-hook.h"

#define SWEEP   SANDBOX_SWEEP
#define PROBER  SANDBOX_PROBER
#define COURIER SANDBOX_COURIER
#define WEB     (PROBER | COURIER) /* libevent, libcurl with its threads that resolve names, OpenSSL */
#define ALL     (SWEEP | WEB)

/* The bits of one argument that have to be so; pointers and what they point to are beyond a filter. */
struct sandbox_limit {
    unsigned int argument;
    uint64_t mask, value;
};

#define NAMESPACES                                                                                           \
    (CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER |            \
     CLONE_NEWUTS)

static const struct sandbox_limit no_namespace = {0, NAMESPACES, 0};
static const struct sandbox_limit unix_socket = {0, UINT32_MAX, AF_UNIX};
static const struct sandbox_limit inet_socket = {0, UINT32_MAX, AF_INET};
static const struct sandbox_limit inet6_socket = {0, UINT32_MAX, AF_INET6};
static const struct sandbox_limit netlink_socket = {0, UINT32_MAX, AF_NETLINK};

/* Why a row stands here that the tests can't bring about. */
#define AARCH64 "instead of an older call that aarch64 does not have"
#define ARENAS  "the ninth arena of glibc's malloc"
#define ERRORS  "an end before anything began"
#define GLIBC   "another version of glibc"
#define JOURNAL "standard error is the journal"
#define NO_VDSO "clocks that the vDSO can't read"
#define NSS     "names by nss-resolve or nss-myhostname"
#define STOPPED "a wait goes on after SIGCONT or a suspend"

static const struct sandbox_row rows[] = {
    {SCMP_SYS(access), WEB, NULL, NSS},
    {SCMP_SYS(bind), SWEEP},
    {SCMP_SYS(bind), WEB, NULL, NSS},
    {SCMP_SYS(brk), WEB},
    {SCMP_SYS(brk), SWEEP, NULL, "a host with many records"},
    {SCMP_SYS(chmod), SWEEP},
    {SCMP_SYS(clock_gettime), ALL, NULL, NO_VDSO},
    {SCMP_SYS(clone), WEB, &no_namespace},
    {SCMP_SYS(close), ALL},
    {SCMP_SYS(connect), WEB},
    {SCMP_SYS(epoll_create1), WEB},
    {SCMP_SYS(epoll_ctl), WEB},
    {SCMP_SYS(epoll_pwait), WEB, NULL, AARCH64},
    {SCMP_SYS(epoll_wait), WEB},
    {SCMP_SYS(exit), WEB},
    {SCMP_SYS(exit_group), SWEEP | COURIER},
    {SCMP_SYS(exit_group), PROBER, NULL, ERRORS},
    {SCMP_SYS(fchmod), COURIER},
    {SCMP_SYS(fchmodat), SWEEP, NULL, AARCH64},
    {SCMP_SYS(fcntl), ALL},
    {SCMP_SYS(fstat), ALL, NULL, GLIBC},
    {SCMP_SYS(fsync), COURIER},
    {SCMP_SYS(futex), WEB},
    {SCMP_SYS(getdents64), SWEEP},
    {SCMP_SYS(getegid), WEB},
    {SCMP_SYS(geteuid), WEB},
    {SCMP_SYS(getgid), WEB},
    {SCMP_SYS(getpeername), WEB},
    {SCMP_SYS(getpid), WEB},
    {SCMP_SYS(getrandom), WEB},
    {SCMP_SYS(getsockname), ALL},
    {SCMP_SYS(getsockopt), WEB},
    {SCMP_SYS(gettimeofday), WEB, NULL, NO_VDSO},
    {SCMP_SYS(getuid), WEB},
    {SCMP_SYS(inotify_add_watch), SWEEP},
    {SCMP_SYS(inotify_init1), SWEEP},
    {SCMP_SYS(ioctl), WEB},
    {SCMP_SYS(lseek), WEB},
    {SCMP_SYS(madvise), WEB},
    {SCMP_SYS(memfd_create), COURIER},
    {SCMP_SYS(memfd_create), PROBER, NULL, JOURNAL},
    {SCMP_SYS(mkdir), SWEEP},
    {SCMP_SYS(mkdirat), SWEEP, NULL, AARCH64},
    {SCMP_SYS(mmap), WEB},
    {SCMP_SYS(mprotect), WEB},
    {SCMP_SYS(mremap), COURIER},
    {SCMP_SYS(mremap), PROBER, NULL, "an answer of some size"},
    {SCMP_SYS(munmap), WEB},
    {SCMP_SYS(newfstatat), ALL},
    {SCMP_SYS(openat), ALL},
    {SCMP_SYS(pidfd_open), SWEEP},
    {SCMP_SYS(pidfd_send_signal), SWEEP},
    {SCMP_SYS(pipe2), WEB},
    {SCMP_SYS(poll), ALL},
    {SCMP_SYS(ppoll), ALL, NULL, AARCH64},
    {SCMP_SYS(pread64), WEB},
    {SCMP_SYS(prlimit64), WEB, NULL, NSS},
    {SCMP_SYS(read), ALL},
    {SCMP_SYS(recvfrom), ALL},
    {SCMP_SYS(recvmsg), ALL},
    {SCMP_SYS(rename), COURIER},
    {SCMP_SYS(renameat), SWEEP},
    {SCMP_SYS(renameat), COURIER, NULL, AARCH64},
    {SCMP_SYS(restart_syscall), ALL, NULL, STOPPED},
    {SCMP_SYS(rseq), WEB},
    {SCMP_SYS(rt_sigaction), WEB},
    {SCMP_SYS(rt_sigprocmask), WEB},
    {SCMP_SYS(sched_getaffinity), WEB, NULL, ARENAS},
    {SCMP_SYS(sendmmsg), WEB},
    {SCMP_SYS(sendmsg), WEB},
    {SCMP_SYS(sendto), ALL},
    {SCMP_SYS(set_robust_list), WEB},
    {SCMP_SYS(setsockopt), ALL},
    {SCMP_SYS(socket), WEB, &inet_socket},
    {SCMP_SYS(socket), WEB, &inet6_socket},
    {SCMP_SYS(socket), WEB, &unix_socket},
    {SCMP_SYS(socket), SWEEP, &netlink_socket},
    {SCMP_SYS(socket), WEB, &netlink_socket, NSS},
    {SCMP_SYS(socketpair), WEB},
    {SCMP_SYS(sysinfo), WEB},
    {SCMP_SYS(timerfd_create), SWEEP | PROBER},
    {SCMP_SYS(timerfd_settime), SWEEP | PROBER},
    {SCMP_SYS(uname), WEB},
    {SCMP_SYS(unlinkat), SWEEP},
    {SCMP_SYS(write), ALL},
};

const struct sandbox_row *sandbox_rows(size_t *ret_count)
{
    *ret_count = ARRAY_SIZE(rows);
    return rows;
}

static int allow(scmp_filter_ctx filter, const struct sandbox_row *row)
{
    const struct sandbox_limit *limit = row->limit;

    if (!limit)
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, row->call, 0);
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, row->call, 1,
                            SCMP_CMP(limit->argument, SCMP_CMP_MASKED_EQ, limit->mask, limit->value));
}

/* A tracer that injects an error has the call skipped by giving it the number -1. */
static int allow_skipped(scmp_filter_ctx filter)
{
    int r = seccomp_attr_set(filter, SCMP_FLTATR_API_TSKIP, 1);

    return r < 0 ? r : seccomp_rule_add(filter, SCMP_ACT_ALLOW, -1, 0);
}

/* clone3() takes its flags by a pointer: glibc goes on with clone(), whose flags can be seen. */
static int fill(scmp_filter_ctx filter, unsigned int parts)
{
    int r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a search tree */

    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (r == 0 && clock_hook_is_test_build())
        r = allow_skipped(filter);
    for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0; i++)
        if (rows[i].parts & parts)
            r = allow(filter, &rows[i]);
    return r;
}

int sandbox_enter(unsigned int parts, struct error *error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = filter ? fill(filter, parts) : -ENOMEM;

    if (r == 0)
        r = seccomp_load(filter);
    seccomp_release(filter);
    return r < 0 ? error_errno(error, -r, "can't limit the system calls of this program") : 0;
}
