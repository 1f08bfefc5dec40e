/* What went wrong, where, and in whose words: errors travel up by value and are printed once, by main(). */
#pragma once

#include <stddef.h>

#include "cleanup.h"

#define ERROR_TEXT_MAX 512

/**
 * struct error - one failure, without allocation
 * @code: positive errno value; 0 = no error
 * @text: one line for a human: what, where (`file:line:column: key:` for documents) and what was expected
 *
 * Functions return 0 or -errno and fill the error that the caller passes as the last parameter. The pointer
 * may be NULL where the caller does not care for the words.
 */
struct error {
    int code;
    char text[ERROR_TEXT_MAX];
};

/**
 * error_set() - fill an error
 * @error: may be NULL
 * @code: positive errno value
 * @format: the whole text; end without a full stop, so that it can be wrapped
 * Return: -@code, to be returned at once
 */
int error_set(struct error *error, int code, const char *format, ...) _printf_(3, 4);

/**
 * error_errno() - like error_set() with `: strerror(code)` appended
 */
int error_errno(struct error *error, int code, const char *format, ...) _printf_(3, 4);

/**
 * error_wrap() - put `prefix: ` before the text that is there
 * Return: -code of @error (or -EIO when @error is NULL)
 */
int error_wrap(struct error *error, const char *format, ...) _printf_(2, 3);

/** error_oom() - the one text for a failed allocation. Return: -ENOMEM */
int error_oom(struct error *error);
