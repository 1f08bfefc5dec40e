/* A build in which every program may make any system call: option `sandbox`. */
#include "sandbox.h"

const struct sandbox_row *sandbox_rows(size_t *ret_count)
{
    *ret_count = 0;
    return NULL;
}

int sandbox_enter(unsigned int parts, struct error *error)
{
    return 0;
}

int sandbox_filter_make(struct sandbox_filter *ret, unsigned int parts, struct error *error)
{
    return 0;
}

int sandbox_filter_enter(const struct sandbox_filter *filter, struct error *error)
{
    return 0;
}

void sandbox_filter_clear(struct sandbox_filter *filter)
{
}

int sandbox_limit_files(size_t most_bytes, struct error *error)
{
    return 0;
}
