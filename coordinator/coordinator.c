/* What every handler needs: sealing, replies that wait for the disk, a line for the log. */
#include "coordinator.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct later {
    struct coordinator *coordinator;
    struct http_request *request;
    int status;
    json_t *body;
};

bool coordinator_refuses(struct coordinator *coordinator, struct http_request *request)
{
    const char *failure = store_failure(coordinator->store);

    if (failure)
        http_reply_error(request, 503, "nothing can be stored now, only halts are taken: %s", failure);
    return failure != NULL;
}

static void later_free(struct later *later)
{
    json_decref(later->body);
    free(later);
}

static void on_durable(void *context)
{
    struct later *later = context;

    if (!coordinator_refuses(later->coordinator, later->request))
        http_reply_json(later->request, later->status, TAKE_PTR(later->body));
    later_free(later);
}

static void on_gone(void *context)
{
    struct later *later = context;

    store_forget(later->coordinator->store, later);
    later_free(later);
}

void coordinator_reply_later(struct coordinator *coordinator, struct http_request *request, int status,
                             json_t *body)
{
    struct later *later = body ? malloc(sizeof(*later)) : NULL;

    if (!later) {
        json_decref(body);
        http_reply_error(request, 503, "out of memory");
        return;
    }
    *later = (struct later){coordinator, request, status, body};
    http_hold(request, on_gone, later);
    store_after_commit(coordinator->store, on_durable, later);
}

void coordinator_say(struct coordinator *coordinator, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list arguments;

    if (!coordinator->notice)
        return;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    coordinator->notice(text);
}

int coordinator_seal(struct coordinator *coordinator, enum envelope_kind kind, json_t *payload,
                     struct envelope **ret, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ char *text = payload ? json_dumps(payload, JSON_COMPACT) : NULL;
    int r;

    json_decref(payload);
    if (!text)
        return error_oom(error);
    r = envelope_new(&envelope, kind, text, strlen(text), error);
    if (r == 0)
        r = envelope_sign(envelope, kind == ENVELOPE_HALT ? coordinator->halt_key : coordinator->order_key,
                          error);
    if (r == 0)
        *ret = TAKE_PTR(envelope);
    return r;
}
