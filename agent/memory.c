/*
 * What a process keeps of its libraries in memory. A library brings others (libcurl forty, libsystemd five),
 * and each touches pages when it is loaded and made ready that nobody needs again. They can be read again
 * from its file.
 */
#include "memory.h"

#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/cleanup.h"

/* By a holder, whose pages may not have to come back from a disk that hangs: only the executor needs them, or
 * a holder before its fault begins, and they are two thirds of what would be locked. Whatever is not listed
 * stays. */
static const char *const not_needed[] = {"libsystemd.",    "libgcrypt.", "libgpg-error.",
                                         "liblz4.",        "liblzma.",   "libzstd.",
                                         "libevent_core-", "libsodium.", "libyaml-"};

static bool is_needed(const char *path)
{
    const char *slash = strrchr(path, '/');

    for (size_t i = 0; slash && i < ARRAY_SIZE(not_needed); i++)
        if (!strncmp(slash + 1, not_needed[i], strlen(not_needed[i])))
            return false;
    return true;
}

/* Only what was never written to can be read again from the file. */
static void let_go(const struct dl_phdr_info *object, bool is_locked)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    for (size_t i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &object->dlpi_phdr[i];
        uintptr_t start = (object->dlpi_addr + segment->p_vaddr) & ~(page - 1);
        uintptr_t end = (object->dlpi_addr + segment->p_vaddr + segment->p_memsz + page - 1) & ~(page - 1);

        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) &&
            (!is_locked || munlock((void *)start, end - start) == 0))
            madvise((void *)start, end - start, MADV_DONTNEED);
    }
}

static int unlock_one(struct dl_phdr_info *object, size_t size, void *context)
{
    if (!is_needed(object->dlpi_name))
        let_go(object, true);
    return 0;
}

/* Best effort: MCL_FUTURE would make allocations fail where the limit stays. That a host short of memory
 * kills us last is inherited from the executor. */
void memory_lock(void)
{
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    bool is_unlimited = setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0;

    mlockall(is_unlimited ? MCL_CURRENT | MCL_FUTURE : MCL_CURRENT);
    dl_iterate_phdr(unlock_one, NULL);
}

static int trim_one(struct dl_phdr_info *object, size_t size, void *context)
{
    if (strchr(object->dlpi_name, '/'))
        let_go(object, false);
    return 0;
}

void memory_trim(void)
{
    malloc_trim(0);
    dl_iterate_phdr(trim_one, NULL);
}
