/* What the sweep does with undo records: undo-driver FOLDER ORDER, or without an order: remove strays. */
#include <fcntl.h>
#include <stdio.h>

#include "faults/kernel/undo.h"

static int undo_order(int folder, const char *order, struct error *error)
{
    struct record record;
    int r = record_read(&record, folder, order, error);

    if (r == 0)
        r = undo_all(&record, error);
    if (r == 0)
        r = undo_is_done(&record, error);
    if (r >= 0)
        puts(r ? "done" : "not done");
    return r;
}

int main(int argc, char **argv)
{
    int folder = argc > 1 ? open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1, r;
    struct error error = {0};
    size_t count = 0;

    if (folder < 0) {
        fprintf(stderr, "Usage: undo-driver FOLDER [ORDER]\n");
        return 2;
    }
    r = argc > 2 ? undo_order(folder, argv[2], &error) : undo_find_strays(folder, &count, &error);
    if (r >= 0 && argc == 2)
        printf("%zu strays\n", count);
    if (r < 0)
        puts(error.text);
    close(folder);
    return r < 0;
}
