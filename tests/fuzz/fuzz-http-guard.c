/* A request's head, whole and byte by byte: both ways must come to the same end. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "coordinator/http-guard.h"

static int feed(struct http_guard *guard, const uint8_t *data, size_t size, size_t chunk)
{
    struct evbuffer *input = evbuffer_new();
    int r = 0;

    memset(guard, 0, sizeof(*guard));
    for (size_t at = 0; r == 0 && at < size; at += chunk) {
        evbuffer_add(input, data + at, size - at < chunk ? size - at : chunk);
        r = http_guard_take(guard, input);
    }
    evbuffer_free(input);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_guard whole, bytes;
    int r = feed(&whole, data, size, size ? size : 1);

    if (feed(&bytes, data, size, 1) != r || whole.status != bytes.status)
        abort();
    if (r == 1 && (strcmp(whole.target, bytes.target) != 0 || whole.length != bytes.length))
        abort();
    return 0;
}
