/* An undo record as the sweep finds it: what is accepted must read the same after it was written again. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/io.h"
#include "common/record.h"

#define NAME "0190abcd-0000-7000-8000-000000000001"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char folder[] = "grivet-fuzz-XXXXXX";
    static int folder_fd = -1;
    struct record record, again;
    struct error error = {0};
    int fd;

    if (folder_fd < 0) {
        if (!mkdtemp(folder))
            abort();
        folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    fd = openat(folder_fd, NAME, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || io_write_all(fd, data, size) < 0)
        abort();
    close(fd);
    if (record_read(&record, folder_fd, NAME, &error) < 0)
        return 0;
    if (record_write(&record, folder_fd, &error) < 0 ||
        record_read(&again, folder_fd, record.order, &error) < 0 || again.holder_pid != record.holder_pid ||
        again.deadline_boot_nsec != record.deadline_boot_nsec || again.n_undos != record.n_undos)
        abort();
    record_remove(record.order, folder_fd, &error);
    return 0;
}
