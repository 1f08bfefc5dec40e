/* What every handler needs: sealing, replies that wait for the disk, a line for the log. */
#include "coordinator.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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
