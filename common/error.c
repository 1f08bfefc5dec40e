/* Errors by value: see error.h. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void error_vset(struct error *error, int code, const char *format, va_list arguments)
{
    error->code = code;
    vsnprintf(error->text, sizeof(error->text), format, arguments);
}

int error_set(struct error *error, int code, const char *format, ...)
{
    va_list arguments;

    if (error) {
        va_start(arguments, format);
        error_vset(error, code, format, arguments);
        va_end(arguments);
    }
    return -code;
}

int error_errno(struct error *error, int code, const char *format, ...)
{
    va_list arguments;
    size_t length;

    if (error) {
        va_start(arguments, format);
        error_vset(error, code, format, arguments);
        va_end(arguments);
        length = strlen(error->text);
        snprintf(error->text + length, sizeof(error->text) - length, ": %s", strerror(code));
    }
    return -code;
}

int error_wrap(struct error *error, const char *format, ...)
{
    char prefix[ERROR_TEXT_MAX], whole[2 * ERROR_TEXT_MAX + sizeof(": ")];
    va_list arguments;

    if (!error)
        return -EIO;
    va_start(arguments, format);
    vsnprintf(prefix, sizeof(prefix), format, arguments);
    va_end(arguments);
    snprintf(whole, sizeof(whole), "%s: %s", prefix, error->text);
    memcpy(error->text, whole, sizeof(error->text));
    error->text[sizeof(error->text) - 1] = '\0';
    return -error->code;
}

int error_oom(struct error *error)
{
    return error_set(error, ENOMEM, "out of memory");
}
