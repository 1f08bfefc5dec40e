/* Any bytes in a sealed memfd, as a courier that was taken over could hand them to the executor. */
#include "fuzz.h"

#include "common/bundle.h"
#include "common/io.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_ORDER, ENVELOPE_MANDATE};
    struct bundle bundle = {0};
    struct error error = {0};
    _cleanup_close_ int fd = io_memfd("fuzz", data, size, &error);

    if (fd >= 0 && bundle_from_memfd(&bundle, fd, kinds, 2, &error) == 0)
        bundle_clear(&bundle);
    return 0;
}
