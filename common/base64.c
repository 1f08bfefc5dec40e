/* Base64 by libsodium: see base64.h. */
#include "base64.h"

#include <errno.h>
#include <sodium.h>
#include <stdbool.h>
#include <string.h>

char *base64_encode(const void *data, size_t length)
{
    size_t size = sodium_base64_encoded_len(length, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(size);

    return text ? sodium_bin2base64(text, size, data, length, sodium_base64_VARIANT_ORIGINAL) : NULL;
}

static int base64_variant(const char *text, size_t length)
{
    bool is_padded = length && text[length - 1] == '=';

    if (strpbrk(text, "-_"))
        return is_padded ? sodium_base64_VARIANT_URLSAFE : sodium_base64_VARIANT_URLSAFE_NO_PADDING;
    if (is_padded || length % 4 == 0)
        return sodium_base64_VARIANT_ORIGINAL;
    return sodium_base64_VARIANT_ORIGINAL_NO_PADDING;
}

static int decode(const char *text, void *ret, size_t size, size_t *ret_length)
{
    size_t length = strlen(text);
    const char *end;

    return sodium_base642bin(ret, size, text, length, NULL, ret_length, &end, base64_variant(text, length)) <
                       0 ||
                   end != text + length
               ? -EINVAL
               : 0;
}

int base64_decode(const char *text, uint8_t **ret, size_t *ret_length)
{
    size_t size = strlen(text) / 4 * 3 + 3;
    _cleanup_free_ uint8_t *data = calloc(1, size + 1); /* NUL-ended for those who take it for text */

    if (!data)
        return -ENOMEM;
    if (decode(text, data, size, ret_length) < 0)
        return -EINVAL;
    *ret = TAKE_PTR(data);
    return 0;
}

int base64_decode_exactly(const char *text, void *ret, size_t length)
{
    size_t got;

    return decode(text, ret, length, &got) == 0 && got == length ? 0 : -EINVAL;
}
