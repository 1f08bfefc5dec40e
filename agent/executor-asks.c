/*
 * Asks: what would this host do with a mandate? Worked out in a child of its own, without capabilities and
 * with a time limit: a draft is signed by nobody but the coordinator, and planning walks through what it
 * names. What the child finds comes back in a memfd and is put together and signed here.
 */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "common/io.h"
#include "executor.h"
#include "sandbox.h"

#define ASKS_BURST_NSEC  (30 * NSEC_PER_SEC)
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
 * back. The group is the one that sees processes where the unit's /proc hides them (proc(5): hidepid, gid):
 * without it a plan would say that there are none. */
static int give_up_privileges(void)
{
    const gid_t group = 0;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -errno;
    if (geteuid() != 0)
        return 0;
    if (setgroups(1, &group) < 0 || setresgid(ANSWER_UID, ANSWER_UID, ANSWER_UID) < 0 ||
        setresuid(ANSWER_UID, ANSWER_UID, ANSWER_UID) < 0)
        return -errno;
    return 0;
}

/* The child's whole life. It shares the executor's memory as it was, so it keeps no way to act on it. */
static _Noreturn void answer_child(int out, const struct admission *admission, const struct ask *ask,
                                   const struct envelope *mandate)
{
    const struct rlimit memory = {ANSWER_MEMORY, ANSWER_MEMORY}, cpu = {ANSWER_SECONDS, ANSWER_SECONDS},
                        file = {ANSWER_BYTES_MAX, ANSWER_BYTES_MAX}, none = {0, 0};
    pid_t parent = getppid();
    const char *text;

    if (dup3(out, 3, O_CLOEXEC) < 0 && out != 3)
        _exit(1);
    close_range(4, ~0U, 0);
    setrlimit(RLIMIT_AS, &memory);
    setrlimit(RLIMIT_CPU, &cpu);
    setrlimit(RLIMIT_CORE, &none);
    setrlimit(RLIMIT_FSIZE, &file);
    if (give_up_privileges() < 0 || prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || getppid() != parent)
        _exit(1);
    if (sandbox_enter(SANDBOX_ANSWER, NULL) < 0)
        _exit(1);
    text = json_dumps(admission_answer(admission, ask, mandate), JSON_COMPACT);
    _exit(text && io_write_all(3, text, strlen(text)) == 0 ? 0 : 1);
}

/* ---- here */

/* The child is killed whatever it is at: it has nothing that would have to be undone. */
static void clear(struct answer *answer)
{
    if (!answer->pid)
        return;
    if (answer->on_end)
        event_free(answer->on_end);
    if (answer->pid > 0)
        process_end(answer->pid, answer->pidfd, answer->executor->base);
    cleanup_close(&answer->findings_fd);
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

static int read_findings(int fd, json_t **ret, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    size_t length = 0;
    int r;

    lseek(fd, 0, SEEK_SET); /* the child has moved the place that we share */
    r = io_read_fd(fd, "host: plan", ANSWER_BYTES_MAX, &text, &length, error);
    if (r < 0)
        return r;
    *ret = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_boolean(json_object_get(*ret, "is_accepted")) ||
        !json_is_array(json_object_get(*ret, "steps")))
        return error_set(error, EIO, "host: the plan could not be worked out (its process ended early)");
    return 0;
}

static void on_end(evutil_socket_t fd, short what, void *context)
{
    struct answer *answer = context;
    json_auto_t *findings = NULL;
    struct error error = {0};
    int r = what & EV_TIMEOUT
                ? error_set(&error, ETIME, "host: the plan could not be worked out in %d s", ANSWER_SECONDS)
                : read_findings(answer->findings_fd, &findings, &error);

    send_answer(answer->executor, answer->ask, r < 0 ? admission_answer_no(&error) : json_incref(findings));
    clear(answer);
}

/* Takes @ask when it returns 0. */
static int start(struct executor *executor, const struct admission *admission, struct ask *ask,
                 const struct envelope *mandate, struct error *error)
{
    const struct timeval limit = {.tv_sec = ANSWER_SECONDS};
    struct answer *answer = executor->answers;
    int fd;

    while (answer < executor->answers + EXECUTOR_ANSWERS_MAX && answer->pid)
        answer++;
    if (answer == executor->answers + EXECUTOR_ANSWERS_MAX)
        return error_set(error, EBUSY, "host: too many asks at once");
    fd = memfd_create("findings", MFD_CLOEXEC);
    if (fd < 0)
        return error_errno(error, errno, "host: plan");
    *answer = (struct answer){.executor = executor, .pid = fork(), .findings_fd = fd, .pidfd = -1};
    if (answer->pid == 0)
        answer_child(fd, admission, ask, mandate);
    if (answer->pid > 0)
        answer->pidfd = pidfd_open(answer->pid, 0);
    if (answer->pidfd >= 0)
        answer->on_end = event_new(executor->base, answer->pidfd, EV_READ, on_end, answer);
    if (answer->on_end && event_add(answer->on_end, &limit) == 0) {
        answer->ask = ask;
        return 0;
    }
    error_errno(error, errno, "host: plan: can't start a process");
    clear(answer);
    return -EAGAIN;
}

/* What is not signed by the coordinator, or not meant for us, gets no answer: it would only be a way to make
 * us work. */
static void judge_ask(struct executor *executor, int fd)
{
    const struct admission admission = executor_make_admission(executor);
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    _cleanup_(ask_freep) struct ask *ask = NULL;
    struct error why = {0};
    int r = admission_ask(&admission, fd, &bundle, &ask, &why);

    if (r < 0) {
        executor_say(LOG_LEVEL_WARNING, "ask refused: %s", why.text);
        return;
    }
    if (!executor_is_within_rate(&executor->asks_nsec, NSEC_PER_SEC, ASKS_BURST_NSEC))
        r = error_set(&why, EBUSY, "host: too many asks; try again later");
    else
        r = start(executor, &admission, ask, bundle.documents[1], &why);
    if (r < 0)
        send_answer(executor, ask, admission_answer_no(&why));
    else
        TAKE_PTR(ask);
}

int executor_on_ask(void *context, struct message *message, struct error *error)
{
    executor_when_clock_known(((struct peer *)context)->executor, message, judge_ask);
    return 0;
}
