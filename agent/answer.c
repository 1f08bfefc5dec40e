/* See answer.h. */
#include "answer.h"

#include <errno.h>
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

struct answer {
    struct answers *answers;
    struct ask *ask; /* NULL: this slot is free */
    pid_t pid;
    int pipe;
    struct event *readable;
    char *text;
    size_t length;
};

struct answers {
    struct event_base *base;
    void (*done)(void *context, const struct ask *ask, const json_t *findings, const struct error *error);
    void *context;
    struct answer slots[ANSWERS_MAX];
};

int answers_new(struct answers **ret, struct event_base *base,
                void (*done)(void *context, const struct ask *ask, const json_t *findings,
                             const struct error *error),
                void *context, struct error *error)
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
    if (!answer->ask)
        return;
    kill(answer->pid, SIGKILL);
    waitpid(answer->pid, NULL, 0);
    if (answer->readable)
        event_free(answer->readable);
    close(answer->pipe);
    free(answer->text);
    ask_free(answer->ask);
    *answer = (struct answer){0};
}

struct answers *answers_free(struct answers *answers)
{
    if (!answers)
        return NULL;
    for (size_t i = 0; i < ANSWERS_MAX; i++)
        answer_clear(&answers->slots[i]);
    free(answers);
    return NULL;
}

static void answer_finish(struct answer *answer, const struct error *failure)
{
    struct answers *answers = answer->answers;
    struct error error = failure ? *failure : (struct error){0};
    json_t *findings = NULL;

    if (!failure) {
        findings = json_loadb(answer->text ? answer->text : "", answer->length, JSON_REJECT_DUPLICATES, NULL);
        if (!findings || !json_is_boolean(json_object_get(findings, "is_accepted")) ||
            !json_is_array(json_object_get(findings, "steps")))
            error_set(&error, EIO, "host: the plan could not be worked out (its process ended early)");
    }
    answers->done(answers->context, answer->ask, error.code ? NULL : findings, &error);
    json_decref(findings);
    answer_clear(answer);
}

static int answer_read(struct answer *answer, struct error *error)
{
    ssize_t got = read(answer->pipe, answer->text + answer->length, ANSWER_BYTES_MAX - answer->length);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : error_errno(error, errno, "host: plan");
    answer->length += (size_t)got;
    if (answer->length == ANSWER_BYTES_MAX)
        return error_set(error, EMSGSIZE, "host: the plan is longer than %d bytes", ANSWER_BYTES_MAX);
    return got > 0;
}

static void answer_on_readable(evutil_socket_t fd, short what, void *context)
{
    struct answer *answer = context;
    struct error error = {0};
    int r;

    if (what & EV_TIMEOUT)
        r = error_set(&error, ETIME, "host: the plan could not be worked out in %d s", ANSWER_SECONDS);
    else
        r = answer_read(answer, &error);
    if (r <= 0)
        answer_finish(answer, r < 0 ? &error : NULL);
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

    answer->text = malloc(ANSWER_BYTES_MAX);
    answer->readable =
        event_new(answer->answers->base, answer->pipe, EV_READ | EV_PERSIST, answer_on_readable, answer);
    if (!answer->text || !answer->readable || event_add(answer->readable, &limit) < 0)
        return error_oom(error);
    return 0;
}

static struct answer *answers_find_free(struct answers *answers)
{
    for (size_t i = 0; i < ANSWERS_MAX; i++)
        if (!answers->slots[i].ask)
            return &answers->slots[i];
    return NULL;
}

int answers_start(struct answers *answers, const struct admission *admission, struct ask *ask,
                  const struct envelope *mandate, struct error *error)
{
    struct answer *answer = answers_find_free(answers);
    int ends[2], r;
    pid_t pid;

    if (!answer)
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
    *answer = (struct answer){.answers = answers, .ask = ask, .pid = pid, .pipe = ends[0]};
    r = answer_watch(answer, error);
    if (r < 0) {
        answer->ask = NULL; /* stays the caller's */
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        if (answer->readable)
            event_free(answer->readable);
        close(answer->pipe);
        free(answer->text);
    }
    return r;
}
