/* See answer.h. */
#include "answer.h"

#include <errno.h>
#include <event2/buffer.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "common/io.h"

#define ANSWER_SECONDS   5
#define ANSWER_BYTES_MAX (512 * 1024)
#define ANSWER_UID       65534 /* nobody */
/* AddressSanitizer maps terabytes of shadow. */
#ifdef __SANITIZE_ADDRESS__
#define ANSWER_MEMORY RLIM_INFINITY
#else
#define ANSWER_MEMORY (256UL << 20)
#endif

/* @pid: 0 = this place is free */
struct answer {
    struct answers *answers;
    struct ask *ask;
    pid_t pid;
    int pipe;
    struct event *readable;
    struct evbuffer *text;
};

struct answers {
    struct event_base *base;
    void (*done)(void *context, const struct ask *ask, const json_t *findings);
    void *context;
    struct answer places[ANSWERS_MAX];
};

int answers_new(struct answers **ret, struct event_base *base,
                void (*done)(void *context, const struct ask *ask, const json_t *findings), void *context,
                struct error *error)
{
    struct answers *answers = calloc(1, sizeof(*answers));

    if (!answers)
        return error_oom(error);
    *answers = (struct answers){.base = base, .done = done, .context = context};
    *ret = answers;
    return 0;
}

/* The child is killed whatever it is at: it has nothing that would have to be undone. */
static void answer_clear(struct answer *answer)
{
    if (!answer->pid)
        return;
    kill(answer->pid, SIGKILL);
    waitpid(answer->pid, NULL, 0);
    if (answer->readable)
        event_free(answer->readable);
    if (answer->text)
        evbuffer_free(answer->text);
    close(answer->pipe);
    ask_free(answer->ask);
    *answer = (struct answer){0};
}

struct answers *answers_free(struct answers *answers)
{
    if (!answers)
        return NULL;
    for (size_t i = 0; i < ANSWERS_MAX; i++)
        answer_clear(&answers->places[i]);
    free(answers);
    return NULL;
}

static json_t *answer_parse(const struct answer *answer)
{
    const char *text = (const char *)evbuffer_pullup(answer->text, -1);
    json_t *findings =
        text ? json_loadb(text, evbuffer_get_length(answer->text), JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (json_is_boolean(json_object_get(findings, "is_accepted")) &&
        json_is_array(json_object_get(findings, "steps")))
        return findings;
    json_decref(findings);
    return NULL;
}

/* Return: 1 there is more to come, 0 that was all, -errno */
static int answer_read(struct answer *answer, struct error *error)
{
    int got = evbuffer_read(answer->text, answer->pipe, ANSWER_BYTES_MAX);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : error_errno(error, errno, "host: plan");
    if (evbuffer_get_length(answer->text) >= ANSWER_BYTES_MAX)
        return error_set(error, EMSGSIZE, "host: the plan is longer than %d bytes", ANSWER_BYTES_MAX);
    return got > 0;
}

static void answer_on_readable(evutil_socket_t fd, short what, void *context)
{
    struct answer *answer = context;
    struct answers *answers = answer->answers;
    struct error error = {0};
    json_t *findings = NULL;
    int r;

    if (what & EV_TIMEOUT)
        r = error_set(&error, ETIME, "host: the plan could not be worked out in %d s", ANSWER_SECONDS);
    else
        r = answer_read(answer, &error);
    if (r > 0)
        return;
    if (r == 0)
        findings = answer_parse(answer);
    if (r == 0 && !findings)
        error_set(&error, EIO, "host: the plan could not be worked out (its process ended early)");
    if (!findings)
        findings = admission_answer_no(&error);
    answers->done(answers->context, answer->ask, findings);
    json_decref(findings);
    answer_clear(answer);
}

/* A change of user without PR_SET_KEEPCAPS takes all capabilities, and no_new_privs keeps them from coming
 * back. */
static int give_up_privileges(void)
{
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (geteuid() != 0)
        return 0;
    if (setgroups(0, NULL) < 0 || setresgid(ANSWER_UID, ANSWER_UID, ANSWER_UID) < 0 ||
        setresuid(ANSWER_UID, ANSWER_UID, ANSWER_UID) < 0)
        return -errno;
    return 0;
}

/* The child's whole life. It shares the executor's memory as it was, so it keeps no way to act on it. */
static void answer_child(int out, const struct admission *admission, const struct ask *ask,
                         const struct envelope *mandate)
{
    struct rlimit memory = {ANSWER_MEMORY, ANSWER_MEMORY}, cpu = {ANSWER_SECONDS, ANSWER_SECONDS},
                  none = {0, 0};
    _cleanup_free_ char *text = NULL;
    pid_t parent = getppid();
    json_t *findings;

    if (dup3(out, 3, O_CLOEXEC) < 0 && out != 3)
        _exit(1);
    close_range(4, ~0U, 0);
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &none);
    if (give_up_privileges() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
    findings = admission_answer(admission, ask, mandate);
    text = findings ? json_dumps(findings, JSON_COMPACT) : NULL;
    _exit(text && io_write_all(3, text, strlen(text)) == 0 ? 0 : 1);
}

static int answer_watch(struct answer *answer, struct error *error)
{
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};

    answer->text = evbuffer_new();
    answer->readable =
        event_new(answer->answers->base, answer->pipe, EV_READ | EV_PERSIST, answer_on_readable, answer);
    if (!answer->text || !answer->readable || event_add(answer->readable, &limit) < 0)
        return error_oom(error);
    return 0;
}

int answers_start(struct answers *answers, const struct admission *admission, struct ask *ask,
                  const struct envelope *mandate, struct error *error)
{
    struct answer *answer = answers->places;
    int ends[2];
    pid_t pid;

    while (answer < answers->places + ANSWERS_MAX && answer->pid)
        answer++;
    if (answer == answers->places + ANSWERS_MAX)
        return error_set(error, EBUSY, "host: too many asks at once");
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(error, errno, "host: plan");
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    pid = fork();
    if (pid == 0)
        answer_child(ends[1], admission, ask, mandate);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return error_errno(error, errno, "host: plan: can't fork");
    }
    *answer = (struct answer){.answers = answers, .pid = pid, .pipe = ends[0]};
    if (answer_watch(answer, error) < 0) {
        answer_clear(answer);
        return -ENOMEM;
    }
    answer->ask = ask; /* ours from now on */
    return 0;
}
