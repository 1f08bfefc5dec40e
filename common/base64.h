/* Base64 as DSSE wants it: written in the standard alphabet, read in both (DSSE 1.0.2). */
#pragma once

#include "error.h"

#include <stdint.h>

/** base64_encode() - NUL-ended text, owned by the caller; NULL when out of memory */
char *base64_encode(const void *data, size_t length);
/** base64_decode() - with or without padding; @ret is NUL-ended and owned by the caller. Return: 0, -EINVAL,
 * -ENOMEM */
int base64_decode(const char *text, uint8_t **ret, size_t *ret_length);
/** base64_decode_exactly() - into @ret, when the text holds exactly @length bytes. Return: 0 or -EINVAL */
int base64_decode_exactly(const char *text, void *ret, size_t length);
