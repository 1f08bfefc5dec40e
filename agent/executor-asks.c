/*
 * Asks: what would this host do with a mandate? Worked out in a child of its own, without capabilities and
 * with a time limit: a draft is signed by nobody but the coordinator, and planning walks through what it
 * names. What the child finds comes back through a pipe and is put together and signed here.
 */
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
#include "executor.h"

#define ASKS_BURST       30
#define ANSWER_SECONDS   5
#define ANSWER_BYTES_MAX (512 * 1024)
#define ANSWER_UID       65534 /* nobody */
/* AddressSanitizer maps terabytes of shadow. */
#ifdef __SANITIZE_ADDRESS__
#define ANSWER_MEMORY RLIM_INFINITY
#else
#define ANSWER_MEMORY (256UL << 20)
#endif

/* ---- the child */

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

/* ---- here */

/* The child is killed whatever it is at: it has nothing that would have to be undone. */
static void clear(struct answer *answer)
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

void executor_close_asks(struct executor *executor)
{
    for (size_t i = 0; i < EXECUTOR_ANSWERS_MAX; i++)
        clear(&executor->answers[i]);
}

/* @findings: as of admission_answer(); taken */
static void send_answer(struct executor *executor, const struct ask *ask, json_t *findings)
{
    char at[TIME_TEXT_MAX], boot[BOOT_ID_MAX];

    peer_send_signed(executor_peer(executor, CHANNEL_COURIER), CHANNEL_ANSWER, ENVELOPE_ANSWER,
                     json_pack("{s:s s:s s:s s:s s:s s:O s:s s:O s:o s:O?}", "schema", "grivet.answer/1",
                               "ask", ask->id, "host", executor->policy->host, "mandate", ask->mandate_hash,
                               "at", time_format(time_now_usec(), at), "is_accepted",
                               json_object_get(findings, "is_accepted"), "boot", time_boot_id(boot), "steps",
                               json_object_get(findings, "steps"), "lifeline",
                               lifeline_describe(&executor->lifeline), "clock", executor->events.clock));
    json_decref(findings);
}

/* Return: 1 there is more to come, 0 that was all, -errno */
static int read_findings(struct answer *answer, json_t **ret, struct error *error)
{
    int got = evbuffer_read(answer->text, answer->pipe, ANSWER_BYTES_MAX);
    size_t length = evbuffer_get_length(answer->text);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : error_errno(error, errno, "host: plan");
    if (length >= ANSWER_BYTES_MAX)
        return error_set(error, EMSGSIZE, "host: the plan is longer than %d bytes", ANSWER_BYTES_MAX);
    if (got > 0)
        return 1;
    *ret = json_loadb((const char *)evbuffer_pullup(answer->text, -1), length, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_boolean(json_object_get(*ret, "is_accepted")) ||
        !json_is_array(json_object_get(*ret, "steps")))
        return error_set(error, EIO, "host: the plan could not be worked out (its process ended early)");
    return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *context)
{
    struct answer *answer = context;
    json_auto_t *findings = NULL;
    struct error error = {0};
    int r;

    if (what & EV_TIMEOUT)
        r = error_set(&error, ETIME, "host: the plan could not be worked out in %d s", ANSWER_SECONDS);
    else
        r = read_findings(answer, &findings, &error);
    if (r > 0)
        return;
    send_answer(answer->executor, answer->ask, r < 0 ? admission_answer_no(&error) : json_incref(findings));
    clear(answer);
}

static int watch(struct answer *answer, struct error *error)
{
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};

    answer->text = evbuffer_new();
    answer->readable =
        event_new(answer->executor->base, answer->pipe, EV_READ | EV_PERSIST, on_readable, answer);
    if (!answer->text || !answer->readable || event_add(answer->readable, &limit) < 0)
        return error_oom(error);
    return 0;
}

/* Takes @ask when it returns 0. */
static int start(struct executor *executor, const struct admission *admission, struct ask *ask,
                 const struct envelope *mandate, struct error *error)
{
    struct answer *answer = executor->answers;
    int ends[2], r;
    pid_t pid;

    while (answer < executor->answers + EXECUTOR_ANSWERS_MAX && answer->pid)
        answer++;
    if (answer == executor->answers + EXECUTOR_ANSWERS_MAX)
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
    *answer = (struct answer){.executor = executor, .pid = pid, .pipe = ends[0]};
    r = watch(answer, error);
    if (r < 0)
        clear(answer);
    else
        answer->ask = ask;
    return r;
}

/* What is not signed by the coordinator, or not meant for us, gets no answer: it would only be a way to make
 * us work. */
int executor_on_ask(void *context, struct message *message, struct error *error)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_ASK, ENVELOPE_MANDATE};
    struct executor *executor = ((struct peer *)context)->executor;
    const struct admission admission = executor_make_admission(executor);
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    _cleanup_(ask_freep) struct ask *ask = NULL;
    struct error why = {0};
    int r = bundle_from_memfd(&bundle, message->fd, kinds, ARRAY_SIZE(kinds), &why);

    if (r == 0)
        r = admission_ask(&admission, &bundle, &ask, &why);
    if (r < 0) {
        executor_say(LOG_LEVEL_WARNING, "ask refused: %s", why.text);
        return 0;
    }
    if (!executor_is_within_rate(&executor->asks_nsec, ASKS_BURST))
        r = error_set(&why, EBUSY, "host: too many asks; try again later");
    else
        r = start(executor, &admission, ask, bundle.documents[1], &why);
    if (r < 0)
        send_answer(executor, ask, admission_answer_no(&why));
    else
        TAKE_PTR(ask);
    return 0;
}
