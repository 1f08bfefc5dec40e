/* What root asks the executor of this host, without any coordinator: see local.h. */
#include "local.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>

#include "common/io.h"
#include "common/times.h"

#define ANSWER_BYTES_MAX (1 << 20)
#define STATUS_MAX_MSEC  5000
#define HALT_MAX_MSEC    10000

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
    return *ret ? 0 : error_set(error, EBADMSG, "the executor's answer is not JSON");
}

static int wait_for(int fd, int64_t until_nsec, struct error *error)
{
    int64_t left_msec = (until_nsec - time_boot_nsec()) / NSEC_PER_MSEC;
    struct pollfd event = {fd, POLLIN, 0};
    int r = poll(&event, 1, left_msec > 0 ? (int)left_msec : 0);

    if (r < 0 && errno != EINTR)
        return error_errno(error, errno, "can't wait for the executor");
    return r == 0 ? error_set(error, ETIMEDOUT, "the executor did not answer in time") : 0;
}

/* Sends {} as @request and waits for @answer, which is in the body or in a memfd. */
static int ask(enum channel_type request, enum channel_type answer, int64_t timeout_msec, json_t **ret,
               struct error *error)
{
    const struct channel_row rows[] = {
        {answer, "answer", CHANNEL_EXECUTOR, 0, CHANNEL_BODY_MAX, answer == CHANNEL_STATUS_IS, take_answer},
        {}};
    int64_t until_nsec = time_boot_nsec() + timeout_msec * NSEC_PER_MSEC;
    _cleanup_close_ int fd = channel_connect(EXECUTOR_SOCKET, error);
    int r;

    if (fd < 0)
        return fd;
    r = channel_send(fd, request, "{}", 2, -1);
    if (r < 0)
        return error_errno(error, -r, "can't ask the executor");
    *ret = NULL;
    while (r == 0 && !*ret) {
        r = wait_for(fd, until_nsec, error);
        if (r == 0)
            r = channel_receive(fd, CHANNEL_EXECUTOR, rows, ret, error);
        r = r > 0 ? 0 : r;
    }
    return r;
}

/* Scalars as `key: value`, what is active as a table; the executor may say more than we know. */
static void print_status(const json_t *status)
{
    static const struct column columns[] = {{"ORDER", "order"}, {"FAULT", "fault"},       {"STEP", "step"},
                                            {"STATE", "state"}, {"DEADLINE", "deadline"}, {}};
    const json_t *faults = json_object_get(status, "faults");
    const json_t *value;
    const char *key;

    json_object_foreach((json_t *)status, key, value)
    {
        _cleanup_free_ char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

        if (!json_is_array(value) && text)
            printf("%s: %s\n", key, json_is_string(value) ? json_string_value(value) : text);
    }
    output_table("", columns, faults, NULL);
    if (!json_array_size(faults))
        printf("no fault is active on this host\n");
}

int local_status(const struct call *call, struct error *error)
{
    json_auto_t *status = NULL;
    int r = ask(CHANNEL_STATUS, CHANNEL_STATUS_IS, STATUS_MAX_MSEC, &status, error);

    if (r < 0)
        return r;
    if (call->is_json)
        return output_json(status);
    print_status(status);
    return EXIT_MET;
}

int local_halt(const struct call *call, struct error *error)
{
    json_auto_t *answer = NULL;
    int r = ask(CHANNEL_HALT_LOCAL, CHANNEL_HALTED, HALT_MAX_MSEC, &answer, error);

    if (r < 0)
        return error_wrap(
            error, "halt on this host (`touch /run/grivet/halt` and `systemctl stop grivetd` do it too)");
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
    int64_t timeout_sec;
    bool is_ready;
    int r;

    r = call_integer(call, "timeout-s", 1, 3600, 15, &timeout_sec, error);
    if (r == 0)
        r = ask(CHANNEL_WAIT_READY, CHANNEL_READY, timeout_sec * 1000, &answer, error);
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
