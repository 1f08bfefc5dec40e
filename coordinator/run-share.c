/* The bound on how much of a group may fail at once, against typing errors. */
#include <errno.h>
#include <string.h>

#include "run-state.h"

int run_check_share(const struct run *run, size_t (*group_size)(void *context, const char *group),
                    void *context, struct error *error)
{
    const struct node *limit = node_get(run->mandate->expect, "max_share_of_group_percent");

    for (size_t i = 0; limit && i < run->n_hosts; i++) {
        const char *group = run->hosts[i].group;
        size_t victims = 0, size;

        for (size_t k = 0; k < run->n_hosts; k++)
            victims +=
                run->hosts[k].is_pinned && run->hosts[k].is_victim && !strcmp(run->hosts[k].group, group);
        size = group_size(context, group);
        if (victims && victims * 100 > size * (size_t)limit->integer)
            return error_set(error, EDQUOT,
                             "%zu of %zu hosts of group %s would fail themselves, "
                             "expect.max_share_of_group_percent allows %d %%",
                             victims, size, *group ? group : "(none)", (int)limit->integer);
    }
    return 0;
}
