/* Who is asked before a step starts, and how many of a group may fail. */
#include <errno.h>
#include <string.h>

#include "run-state.h"

bool run_has_due_step(const struct run *run, const struct run_host *host, int64_t now_usec)
{
    const struct mandate *mandate = run->mandate;

    if (!host->is_pinned || !run->started_usec)
        return host->is_pinned;
    for (const struct step *step = mandate->steps; step < mandate->steps + mandate->n_steps; step++)
        if (run_step_is_due(run, step, now_usec) && mandate_step_has_host(mandate, step->name, host->id))
            return true;
    return false;
}

void run_begin(struct run *run, int64_t now_usec)
{
    run_enter(run, RUN_CHECKING, now_usec);
    EACH_HOST (run, host) {
        if (!run_has_due_step(run, host, now_usec))
            continue;
        run_record(run, now_usec, "run.asked", json_pack("{s:s}", "host", host->id));
        run_ask(run, host, "start", now_usec);
    }
}

int run_check_share(const struct run *run, struct error *error)
{
    const struct node *limit = node_get(run->mandate->expect, "max_share_of_group_percent");

    EACH_HOST (run, host) {
        const char *group = host->group;
        size_t victims = 0, size = run_group_size(run, group);

        EACH_HOST (run, other)
            victims += other->is_pinned && other->is_victim && !strcmp(other->group, group);
        if (limit && victims && victims * 100 > size * (size_t)limit->integer)
            return error_set(error, EDQUOT,
                             "%zu of %zu hosts of group %s would fail themselves, "
                             "expect.max_share_of_group_percent allows %d %%",
                             victims, size, *group ? group : "(none)", (int)limit->integer);
    }
    return 0;
}
