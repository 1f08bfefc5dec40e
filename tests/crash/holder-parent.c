/*
 * Plays the executor's part towards one holder, without keys and policy, so that a holder can be killed at
 * each of its system calls (a prefix may be put before it: strace). The states come out as lines; a line
 * "end" asks for the end.
 *
 * Usage: holder-parent MANDATE STEP HOST ZONE DURATION_MS [PREFIX...]
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/holder.h"
#include "agent/job.h"
#include "common/channel.h"
#include "common/io.h"
#include "common/record.h"

#define PREFIX_AT   6
#define PREFIX_MAX  32
#define COURIER_UID 64001

static int on_state(void *context, struct message *message, struct error *error)
{
    printf("%s\n", message->body);
    return 0;
}

static const struct channel_row rows[] = {
    {CHANNEL_STATE, "state", CHANNEL_HOLDER, 2, CHANNEL_BODY_MAX, false, on_state},
    {},
};

static int write_job(char **argv, struct error *error)
{
    struct lifeline lifeline = {.courier_uid = COURIER_UID, .ssh_port = 22};
    struct parameter_cidrs cidrs = {0};
    int64_t duration_msec = strtoll(argv[5], NULL, 10);
    struct job job = {.step = argv[2], .host = {.name = argv[3], .zone = argv[4], .lifeline = &lifeline}};
    _cleanup_free_ char *mandate = NULL;
    char order[UUID_TEXT_MAX], run[UUID_TEXT_MAX];
    int r = io_read_file(argv[1], 1 << 20, &mandate, NULL, error);

    if (r < 0)
        return r;
    job.host.protected_cidrs = &cidrs;
    job.order = uuid_new(order);
    job.run = uuid_new(run);
    job.deadline_boot_nsec = time_boot_nsec() + duration_msec * NSEC_PER_MSEC;
    job.deadline_real_usec = time_now_usec() + duration_msec * USEC_PER_MSEC;
    printf("{\"order\": \"%s\", \"deadline_boot_nsec\": %lld}\n", order, (long long)job.deadline_boot_nsec);
    return job_write(&job, mandate, error);
}

/* Moves the fds out of the way first: one of them may stand where another has to go. */
static void exec_holder(char **argv, int job, int channel, int records)
{
    int from[] = {fcntl(job, F_DUPFD, 16), fcntl(channel, F_DUPFD, 16), fcntl(records, F_DUPFD, 16)};
    char *command[PREFIX_MAX + 3] = {NULL}, self[] = "/proc/self/exe", word[] = "--holder";
    size_t count = 0;
    ssize_t length;
    char path[4096];

    for (char **prefix = argv + PREFIX_AT; *prefix && count < PREFIX_MAX; prefix++)
        command[count++] = *prefix;
    length = readlink(self, path, sizeof(path) - 1);
    path[length < 0 ? 0 : length] = '\0';
    command[count++] = path;
    command[count++] = word;
    for (int i = 0; i < 3; i++) {
        dup2(from[i], JOB_FD + i);
        close(from[i]);
    }
    close_range(RECORDS_FD + 1, ~0U, 0);
    execvp(command[0], command);
    _exit(127);
}

/* Until the holder is gone: its end of the channel closes with it. */
static void relay(int channel)
{
    struct pollfd fds[] = {{.fd = channel, .events = POLLIN}, {.fd = STDIN_FILENO, .events = POLLIN}};
    char line[64];

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return;
        if (fds[0].revents && channel_receive(channel, CHANNEL_HOLDER, rows, NULL, NULL) < 0)
            return;
        if (fds[1].revents && read(STDIN_FILENO, line, sizeof(line)) > 0)
            channel_send(channel, CHANNEL_END, "{\"reason\":\"halt\"}", 17, -1);
        else if (fds[1].revents)
            fds[1].fd = -1;
    }
}

int main(int argc, char **argv)
{
    int job, channel[2], records, status;
    struct error error = {0};
    pid_t pid;

    if (argc == 2 && strcmp(argv[1], "--holder") == 0)
        return holder_main();
    if (argc < PREFIX_AT)
        return 2;
    setlinebuf(stdout);
    job = write_job(argv, &error);
    records = open(RECORD_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (job < 0 || records < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0) {
        fprintf(stderr, "holder-parent: %s\n", job < 0 ? error.text : strerror(errno));
        return 1;
    }
    pid = fork();
    if (pid == 0)
        exec_holder(argv, job, channel[1], records);
    close(channel[1]);
    printf("{\"holder\": %d}\n", pid);
    relay(channel[0]);
    waitpid(pid, &status, 0);
    printf("{\"exit\": %d}\n", WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status));
    return 0;
}
