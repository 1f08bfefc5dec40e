/* What root asks the executor of this host, without any coordinator: see local.h. */
#include "local.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

#include "common/io.h"
#include "common/record.h"

#define ANSWER_BYTES_MAX (1 << 20)
#define STATUS_MAX_MSEC  5000
#define HALT_MAX_MSEC    5000
#define FILE_MAX_MSEC    3000 /* the sweep begins after one second */
#define FILE_TICK_MSEC   20

static int take_answer(void *context, struct message *message, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    const char *json = message->body;
    size_t length = message->length;
    json_t **ret = context;
    int r = 0;

    if (message->fd >= 0) {
        r = io_memfd_read(message->fd, ANSWER_BYTES_MAX, &text, &length, error);
        json = text;
    }
    if (r < 0)
        return r;
    *ret = json_loadb(json, length, JSON_REJECT_DUPLICATES, NULL);
    json_make_printable(*ret);
    return *ret ? 0 : error_set(error, EBADMSG, "the executor's answer is not JSON");
}

/* Sends {} as @request and waits for @answer, which is in the body or in a memfd. */
static int ask(enum channel_type request, enum channel_type answer, int timeout_msec, json_t **ret,
               struct error *error)
{
    const struct channel_row rows[] = {
        {answer, "answer", CHANNEL_EXECUTOR, 0, CHANNEL_BODY_MAX, answer == CHANNEL_STATUS_IS, take_answer},
        {}};
    _cleanup_close_ int fd = channel_connect(EXECUTOR_SOCKET, error);
    struct pollfd event = {fd, POLLIN, 0};
    int r;

    if (fd < 0)
        return fd;
    r = channel_send(fd, request, "{}", 2, -1);
    if (r < 0)
        return error_errno(error, -r, "can't ask the executor");
    if (poll(&event, 1, timeout_msec) <= 0)
        return error_set(error, ETIMEDOUT, "the executor did not answer in time");
    r = channel_receive(fd, CHANNEL_EXECUTOR, rows, ret, error);
    return r > 0 ? 0 : r;
}

int local_status(const struct call *call, struct error *error)
{
    static const struct column columns[] = {{"ORDER", "order"}, {"FAULT", "fault"},       {"STEP", "step"},
                                            {"STATE", "state"}, {"DEADLINE", "deadline"}, {}};
    json_auto_t *status = NULL, *faults = NULL;
    int r = ask(CHANNEL_STATUS, CHANNEL_STATUS_IS, STATUS_MAX_MSEC, &status, error);

    if (r < 0)
        return error_wrap(error, "grivetd does not say what it does");
    if (call->is_json)
        return output_json(status);
    faults = json_incref(json_object_get(status, "faults"));
    json_object_del(status, "faults");
    output_tree(stdout, status, 0);
    output_table("", columns, faults, NULL);
    if (!json_array_size(faults))
        printf("no fault is active on this host\n");
    return EXIT_MET;
}

static void count_record(void *context, const char *name)
{
    *(int *)context += uuid_is_valid(name);
}

/* Of all faults that are not proved to have ended, whether somebody holds them or not. A list that can't be
 * read, or breaks off, counts as one more: nobody may be told that all have ended. */
static int count_records(void)
{
    int count = 0, r = io_list(AT_FDCWD, RECORD_FOLDER, count_record, &count, NULL);

    return count + (r < 0 && r != -ENOENT);
}

/* Holders and the sweep watch for the file themselves. */
static int halt_by_file(json_t **ret, struct error *error)
{
    int before = count_records(), left = before;
    _cleanup_close_ int fd = open(HALT_FILE, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    if (fd < 0)
        return error_errno(error, errno, HALT_FILE ": can't make it");
    fprintf(stderr,
            "grivet: the executor does not answer; made " HALT_FILE ", which ends every fault and keeps "
            "orders out until it is removed\n");
    for (int waited_msec = 0; left && waited_msec < FILE_MAX_MSEC; waited_msec += FILE_TICK_MSEC) {
        poll(NULL, 0, FILE_TICK_MSEC);
        left = count_records();
    }
    if (left)
        return error_set(error, EBUSY,
                         "%d of %d faults have left traces: `grivet-sweep` kills and undoes them", left,
                         before);
    *ret = json_pack("{s:i}", "ended", before);
    return *ret ? 0 : error_oom(error);
}

int local_halt(const struct call *call, struct error *error)
{
    json_auto_t *answer = NULL;
    int r = ask(CHANNEL_HALT_LOCAL, CHANNEL_HALTED, HALT_MAX_MSEC, &answer, error);

    /* A socket that refuses has nobody behind it who could start more: then only what is there has to end. */
    if (r < 0 && (r == -ETIMEDOUT || count_records()))
        r = halt_by_file(&answer, error);
    if (r < 0)
        return error_wrap(error, "halt on this host (of others: --run, --experiment, --host or --fleet)");
    if (call->is_json)
        return output_json(answer);
    printf("ended %lld fault(s) on this host\n", json_number(answer, "ended"));
    return EXIT_MET;
}

/* For boot. The executor may start later than we do; asking again costs nothing, and it answers when it
 * knows. */
int command_wait_ready(const struct call *call, struct error *error)
{
    json_auto_t *answer = NULL;
    bool is_ready;
    int r =
        ask(CHANNEL_WAIT_READY, CHANNEL_READY, (int)call_number(call, "timeout-s") * 1000, &answer, error);

    if (r < 0)
        return r;
    is_ready = json_is_true(json_object_get(answer, "is_ready"));
    if (call->is_json)
        output_json(answer);
    else
        printf("%s after %lld ms%s%s\n", is_ready ? "ready" : "NOT ready", json_number(answer, "waited_ms"),
               is_ready ? "" : ": ", is_ready ? "" : json_text(answer, "reason"));
    return is_ready ? EXIT_MET : EXIT_ERROR;
}
