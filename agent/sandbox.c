/* See sandbox.h. One row for a call and its callers, in the order of the alphabet. */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock-hook.h"
#include "faults/fault.h"

#define SWEEP    SANDBOX_SWEEP
#define PROBER   SANDBOX_PROBER
#define COURIER  SANDBOX_COURIER
#define EXECUTOR SANDBOX_EXECUTOR
#define SYNCER   SANDBOX_SYNCER
#define START    SANDBOX_START
#define HOLDER   SANDBOX_HOLDER
#define ANSWER   SANDBOX_ANSWER
#define NETLINK  MECHANISM_NETLINK
#define PROCESS  MECHANISM_PROCESS
#define BURNER   MECHANISM_BURNER
#define WEB      (PROBER | COURIER) /* libevent, libcurl with its threads that resolve names, OpenSSL */
#define ALL      (SWEEP | WEB | EXECUTOR | SYNCER | START | HOLDER | ANSWER)

/* The bits of one argument that have to be so; pointers and what they point to are beyond a filter. */
struct sandbox_limit {
    unsigned int argument;
    uint64_t mask, value;
};

#define NAMESPACES                                                                                           \
    (CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUSER |            \
     CLONE_NEWUTS)

static const struct sandbox_limit no_namespace = {0, NAMESPACES, 0};
static const struct sandbox_limit read_only = {2, O_ACCMODE | O_CREAT | O_TRUNC, O_RDONLY};
/* Nothing that has a signal sent to others (F_SETOWN), or takes O_APPEND from the record (F_SETFL). */
static const struct sandbox_limit duplicate = {1, UINT32_MAX, F_DUPFD_CLOEXEC};
static const struct sandbox_limit get_flags = {1, UINT32_MAX, F_GETFL};
static const struct sandbox_limit set_close_on_exec = {1, UINT32_MAX, F_SETFD};
static const struct sandbox_limit die_with_parent = {0, UINT32_MAX, PR_SET_PDEATHSIG};
static const struct sandbox_limit set_name = {0, UINT32_MAX, PR_SET_NAME};
static const struct sandbox_limit oneself = {0, UINT32_MAX, 0}; /* other holders have the same user */
/* Connected to each other for good: a datagram could be sent to others. */
static const struct sandbox_limit stream_socket = {1, UINT32_MAX & ~SOCK_CLOEXEC, SOCK_STREAM};
static const struct sandbox_limit unix_socket = {0, UINT32_MAX, AF_UNIX};
static const struct sandbox_limit inet_socket = {0, UINT32_MAX, AF_INET};
static const struct sandbox_limit inet6_socket = {0, UINT32_MAX, AF_INET6};
static const struct sandbox_limit netlink_socket = {0, UINT32_MAX, AF_NETLINK};

/* Why a row stands here that the tests can't bring about. */
#define AARCH64 "instead of an older call that aarch64 does not have"
#define ACKED   "a whole segment of the journal that was acknowledged"
#define ARENAS  "the ninth arena of glibc's malloc"
#define ERRORS  "an end before anything began"
#define GLIBC   "another version of glibc"
#define LD_SO   "the dynamic linker's last words"
#define MEMORY  "a fault with more of everything"
#define NETEM   "a kernel with netem: tests/system"
#define NO_VDSO "clocks that the vDSO can't read"
#define NSS     "names by nss-resolve or nss-myhostname"
#define SORTING "glibc's qsort() of more than a kilobyte"
#define SYNCED  "a clock that has to be synchronised: the lab's policy opts out"
#define STOPPED "a wait goes on after SIGCONT or a suspend"
#define ASKED   "SIGTERM, which libevent hears in a handler"

static const struct sandbox_row rows[] = {
    {SCMP_SYS(accept4), EXECUTOR},
    {SCMP_SYS(access), EXECUTOR | START | ANSWER},
    {SCMP_SYS(access), WEB, NULL, NSS},
    {SCMP_SYS(access), NETLINK, NULL, NETEM},
    {SCMP_SYS(arch_prctl), START},
    {SCMP_SYS(bind), SWEEP | EXECUTOR | ANSWER | NETLINK},
    {SCMP_SYS(bind), WEB, NULL, NSS},
    {SCMP_SYS(brk), WEB | EXECUTOR | START | ANSWER},
    {SCMP_SYS(brk), SWEEP, NULL, "a host with many records"},
    {SCMP_SYS(brk), HOLDER, NULL, MEMORY},
    {SCMP_SYS(capget), START},
    {SCMP_SYS(capset), START},
    {SCMP_SYS(chmod), SWEEP | EXECUTOR},
    {SCMP_SYS(clock_adjtime), EXECUTOR, NULL, SYNCED},
    {SCMP_SYS(clock_getres), BURNER},
    {SCMP_SYS(clock_gettime), BURNER},
    {SCMP_SYS(clock_gettime), SWEEP | WEB | EXECUTOR | START | HOLDER | ANSWER, NULL, NO_VDSO},
    {SCMP_SYS(clock_nanosleep), BURNER},
    {SCMP_SYS(clone), WEB | EXECUTOR | BURNER, &no_namespace},
    {SCMP_SYS(close), ALL},
    {SCMP_SYS(close_range), EXECUTOR | SYNCER | BURNER},
    {SCMP_SYS(connect), WEB | START | NETLINK},
    {SCMP_SYS(connect), EXECUTOR, NULL, SYNCED},
    {SCMP_SYS(dup2), EXECUTOR | SYNCER},
    {SCMP_SYS(dup3), EXECUTOR},
    {SCMP_SYS(dup3), SYNCER, NULL, AARCH64},
    {SCMP_SYS(epoll_create1), WEB},
    {SCMP_SYS(epoll_ctl), WEB | EXECUTOR},
    {SCMP_SYS(epoll_pwait), WEB | EXECUTOR, NULL, AARCH64},
    {SCMP_SYS(epoll_wait), WEB | EXECUTOR},
    {SCMP_SYS(execve), EXECUTOR},
    {SCMP_SYS(exit), WEB},
    {SCMP_SYS(exit_group), SWEEP | COURIER | EXECUTOR | SYNCER | HOLDER | ANSWER},
    {SCMP_SYS(exit_group), PROBER, NULL, ERRORS},
    {SCMP_SYS(faccessat), EXECUTOR | START | ANSWER, NULL, AARCH64},
    {SCMP_SYS(faccessat2), START},
    {SCMP_SYS(fchmod), COURIER | EXECUTOR},
    {SCMP_SYS(fchmodat), SWEEP | EXECUTOR, NULL, AARCH64},
    {SCMP_SYS(fcntl), HOLDER, &duplicate},
    {SCMP_SYS(fcntl), ANSWER | NETLINK, &get_flags},
    {SCMP_SYS(fcntl), ANSWER | NETLINK, &set_close_on_exec},
    {SCMP_SYS(fcntl), SWEEP | WEB | EXECUTOR | START},
    {SCMP_SYS(fdatasync), EXECUTOR | SYNCER},
    {SCMP_SYS(fstat), SWEEP | WEB | EXECUTOR | START | HOLDER | ANSWER, NULL, GLIBC},
    {SCMP_SYS(fsync), COURIER | EXECUTOR},
    {SCMP_SYS(ftruncate), EXECUTOR},
    {SCMP_SYS(ftruncate), SYNCER, NULL, "a full disk"},
    {SCMP_SYS(futex), WEB | START},
    {SCMP_SYS(getdents64), SWEEP | EXECUTOR | ANSWER | NETLINK | PROCESS},
    {SCMP_SYS(getegid), WEB | EXECUTOR},
    {SCMP_SYS(geteuid), WEB | EXECUTOR | START},
    {SCMP_SYS(getgid), WEB | EXECUTOR},
    {SCMP_SYS(getpeername), WEB},
    {SCMP_SYS(getpid), WEB | EXECUTOR | HOLDER | ANSWER},
    {SCMP_SYS(getppid), EXECUTOR | START | BURNER},
    {SCMP_SYS(getrandom), WEB | START | PROCESS},
    {SCMP_SYS(getrandom), EXECUTOR, NULL, "a temporary file's name: glibc takes one of some twenty from it"},
    {SCMP_SYS(getsockname), SWEEP | WEB | EXECUTOR | ANSWER | NETLINK},
    {SCMP_SYS(getsockopt), WEB | EXECUTOR | START},
    {SCMP_SYS(gettimeofday), WEB | EXECUTOR, NULL, NO_VDSO},
    {SCMP_SYS(getuid), WEB | EXECUTOR},
    {SCMP_SYS(inotify_add_watch), SWEEP | EXECUTOR | HOLDER},
    {SCMP_SYS(inotify_init1), SWEEP | EXECUTOR | HOLDER},
    {SCMP_SYS(ioctl), WEB},
    {SCMP_SYS(kill), EXECUTOR | BURNER},
    {SCMP_SYS(listen), EXECUTOR},
    {SCMP_SYS(lseek), WEB | EXECUTOR | SYNCER | START},
    {SCMP_SYS(madvise), WEB | EXECUTOR | START},
    {SCMP_SYS(memfd_create), COURIER | EXECUTOR | START},
    {SCMP_SYS(mkdir), SWEEP | EXECUTOR},
    {SCMP_SYS(mkdirat), SWEEP | EXECUTOR, NULL, AARCH64},
    {SCMP_SYS(mlock), EXECUTOR},
    {SCMP_SYS(mlockall), START},
    {SCMP_SYS(mmap), WEB | EXECUTOR | START},
    {SCMP_SYS(mmap), HOLDER | ANSWER, NULL, MEMORY},
    {SCMP_SYS(mprotect), WEB | EXECUTOR | START},
    {SCMP_SYS(mremap), COURIER},
    {SCMP_SYS(mremap), PROBER, NULL, "an answer of some size"},
    {SCMP_SYS(mremap), EXECUTOR | HOLDER | ANSWER, NULL, MEMORY},
    {SCMP_SYS(munlock), EXECUTOR | START},
    {SCMP_SYS(munmap), WEB | EXECUTOR | START},
    {SCMP_SYS(munmap), HOLDER | ANSWER, NULL, MEMORY},
    {SCMP_SYS(newfstatat), SWEEP | WEB | EXECUTOR | START | HOLDER | ANSWER},
    {SCMP_SYS(openat), HOLDER | ANSWER, &read_only},
    {SCMP_SYS(openat), SWEEP | WEB | EXECUTOR | SYNCER | START},
    {SCMP_SYS(pidfd_open), SWEEP | EXECUTOR | ANSWER | PROCESS},
    {SCMP_SYS(pidfd_send_signal), SWEEP | EXECUTOR | PROCESS},
    {SCMP_SYS(pipe2), WEB | BURNER},
    {SCMP_SYS(poll), SWEEP | WEB | SYNCER | START | HOLDER},
    {SCMP_SYS(ppoll), NETLINK | BURNER},
    {SCMP_SYS(ppoll), SWEEP | WEB | EXECUTOR | SYNCER | START | HOLDER, NULL, AARCH64},
    {SCMP_SYS(prctl), BURNER, &die_with_parent},
    {SCMP_SYS(prctl), BURNER, &set_name},
    {SCMP_SYS(prctl), EXECUTOR | START},
    {SCMP_SYS(pread64), WEB | EXECUTOR | START},
    {SCMP_SYS(prlimit64), EXECUTOR | START},
    {SCMP_SYS(prlimit64), WEB, NULL, NSS},
    {SCMP_SYS(read), SWEEP | WEB | EXECUTOR | START | HOLDER | ANSWER},
    {SCMP_SYS(readlink), EXECUTOR | ANSWER | PROCESS},
    {SCMP_SYS(readlinkat), EXECUTOR | ANSWER | PROCESS, NULL, AARCH64},
    {SCMP_SYS(recvfrom), SWEEP | WEB | EXECUTOR | ANSWER | NETLINK},
    {SCMP_SYS(recvmsg), ALL},
    {SCMP_SYS(rename), COURIER | EXECUTOR},
    {SCMP_SYS(renameat), SWEEP | EXECUTOR},
    {SCMP_SYS(renameat), COURIER, NULL, AARCH64},
    {SCMP_SYS(restart_syscall), ALL, NULL, STOPPED},
    {SCMP_SYS(rseq), WEB | START},
    {SCMP_SYS(rt_sigaction), WEB | EXECUTOR},
    {SCMP_SYS(rt_sigprocmask), WEB | EXECUTOR | HOLDER},
    {SCMP_SYS(rt_sigreturn), EXECUTOR},
    {SCMP_SYS(rt_sigreturn), WEB, NULL, ASKED},
    {SCMP_SYS(sched_getaffinity), ANSWER | BURNER, &oneself},
    {SCMP_SYS(sched_getaffinity), WEB, NULL, ARENAS},
    {SCMP_SYS(sched_setaffinity), BURNER, &oneself},
    {SCMP_SYS(sched_setscheduler), BURNER, &oneself},
    {SCMP_SYS(seccomp), EXECUTOR | START},
    {SCMP_SYS(sendmmsg), WEB},
    {SCMP_SYS(sendmsg), WEB | EXECUTOR | SYNCER | HOLDER | ANSWER},
    {SCMP_SYS(sendto), SWEEP | WEB | EXECUTOR | ANSWER | NETLINK},
    {SCMP_SYS(set_robust_list), WEB | EXECUTOR | START | BURNER},
    {SCMP_SYS(set_tid_address), START},
    {SCMP_SYS(setgroups), EXECUTOR | START},
    {SCMP_SYS(setresgid), EXECUTOR | START},
    {SCMP_SYS(setresuid), EXECUTOR | START},
    {SCMP_SYS(setsockopt), SWEEP | WEB | EXECUTOR | ANSWER | NETLINK},
    {SCMP_SYS(signalfd4), HOLDER},
    {SCMP_SYS(socket), WEB | NETLINK, &inet6_socket},
    {SCMP_SYS(socket), WEB | NETLINK, &inet_socket},
    {SCMP_SYS(socket), SWEEP | EXECUTOR | ANSWER | NETLINK, &netlink_socket},
    {SCMP_SYS(socket), WEB | EXECUTOR | START, &unix_socket},
    {SCMP_SYS(socket), WEB, &netlink_socket, NSS},
    {SCMP_SYS(socketpair), ANSWER | PROCESS, &stream_socket},
    {SCMP_SYS(socketpair), WEB | EXECUTOR},
    {SCMP_SYS(statfs), ANSWER | NETLINK},
    {SCMP_SYS(sysinfo), WEB | EXECUTOR},
    {SCMP_SYS(sysinfo), HOLDER | ANSWER, NULL, SORTING},
    {SCMP_SYS(timer_create), START | BURNER},
    {SCMP_SYS(timer_settime), START | BURNER},
    {SCMP_SYS(timerfd_create), SWEEP | PROBER | HOLDER},
    {SCMP_SYS(timerfd_settime), SWEEP | PROBER | HOLDER},
    {SCMP_SYS(uname), WEB | EXECUTOR | ANSWER | NETLINK},
    {SCMP_SYS(unlink), EXECUTOR},
    {SCMP_SYS(unlinkat), SWEEP | EXECUTOR},
    {SCMP_SYS(unlinkat), SYNCER, NULL, ACKED},
    {SCMP_SYS(wait4), EXECUTOR | BURNER},
    {SCMP_SYS(waitid), EXECUTOR | BURNER},
    {SCMP_SYS(write), SWEEP | WEB | EXECUTOR | SYNCER | START | ANSWER | NETLINK},
    {SCMP_SYS(write), BURNER, NULL, ERRORS},
    {SCMP_SYS(writev), START, NULL, LD_SO},
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
        r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r == 0)
        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (r == 0 && clock_hook_is_test_build())
        r = allow_skipped(filter);
    for (size_t i = 0; i < ARRAY_SIZE(rows) && r == 0; i++)
        if (rows[i].parts & parts)
            r = allow(filter, &rows[i]);
    return r;
}

/* libseccomp writes a program to a file only. */
static int export(scmp_filter_ctx filter, struct sandbox_filter *ret)
{
    _cleanup_close_ int fd = memfd_create("filter", MFD_CLOEXEC);
    int r = fd < 0 ? -errno : seccomp_export_bpf(filter, fd);
    off_t length = r < 0 ? r : lseek(fd, 0, SEEK_END);

    ret->code = length > 0 ? malloc(length) : NULL;
    if (!ret->code || pread(fd, ret->code, length, 0) != length)
        return r < 0 ? r : -ENOMEM;
    ret->count = length / sizeof(*ret->code);
    return 0;
}

int sandbox_filter_make(struct sandbox_filter *ret, unsigned int parts, struct error *error)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_KILL_PROCESS);
    int r = filter ? fill(filter, parts) : -EOPNOTSUPP; /* or seccomp() itself is refused here */

    if (r == 0)
        r = export(filter, ret);
    seccomp_release(filter);
    return r < 0 ? error_errno(error, -r, "can't make a list of system calls") : 0;
}

void sandbox_filter_clear(struct sandbox_filter *filter)
{
    free(filter->code);
    *filter = (struct sandbox_filter){0};
}

int sandbox_filter_enter(const struct sandbox_filter *filter, struct error *error)
{
    const struct sock_fprog program = {filter->count, filter->code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
        return error_errno(error, errno, "can't limit the system calls of this program");
    return 0;
}

int sandbox_enter(unsigned int parts, struct error *error)
{
    _cleanup_(sandbox_filter_clear) struct sandbox_filter filter = {0};
    int r = sandbox_filter_make(&filter, parts, error);

    return r < 0 ? r : sandbox_filter_enter(&filter, error);
}

int sandbox_limit_files(size_t most_bytes, struct error *error)
{
    const struct rlimit most = {most_bytes, most_bytes};

    return setrlimit(RLIMIT_FSIZE, &most) < 0 ? error_errno(error, errno, "can't limit the size of files")
                                              : 0;
}
