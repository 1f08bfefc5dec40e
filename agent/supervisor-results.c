/* What the sweep did in our place: its results become events here, because it has no key. */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "supervised.h"
#include "sweep-result.h"

static struct slot *slot_find(struct supervisor *supervisor, const char *order)
{
    for (size_t i = 0; i < SUPERVISOR_FAULTS_MAX; i++)
        if (supervisor->slots[i].state != SLOT_FREE && !strcmp(supervisor->slots[i].order, order))
            return &supervisor->slots[i];
    return NULL;
}

static json_t *make_body(const struct sweep_result *result, const struct slot *slot)
{
    char at[TIME_TEXT_MAX];

    if (!result->is_reverted)
        return json_pack("{s:s s:b}", "reason", result->reason, "is_reverted", false);
    return json_pack("{s:s s:f s:s s:O? s:b}", "reverted_at", time_format(result->at_usec, at),
                     "revert_error_ms", (double)(result->revert_error_nsec / NSEC_PER_USEC) / 1000.0,
                     "ended_by", "sweep", "effect", slot->effect, "is_interfered", false);
}

/* Both of us may have ended it at the same moment, and a record may be somebody's invention: only an order
 * that is under way has an end to tell, and only one. */
static void take_result(struct supervisor *supervisor, const struct sweep_result *result)
{
    struct slot *slot = slot_find(supervisor, result->order);

    if (!slot || slot->has_ended)
        return;
    if (result->is_reverted && result->revert_error_nsec < 0)
        slot_event(slot, "fault.interrupted",
                   json_pack("{s:s}", "reason", "the executor was gone, and the sweep undid it"));
    slot_event(slot, result->is_reverted ? "fault.reverted" : "fault.failed", make_body(result, slot));
    slot->has_ended = result->is_reverted;
}

static void cleanup_closedir(DIR **folder)
{
    if (*folder)
        closedir(*folder);
}

void supervisor_take_results(struct supervisor *supervisor)
{
    int fd = open(SWEEP_RESULT_FOLDER, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(cleanup_closedir) DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    struct error error = {0};
    struct sweep_result result;

    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (!uuid_is_valid(entry->d_name))
            continue;
        if (sweep_result_read(&result, fd, entry->d_name, &error) == 0)
            take_result(supervisor, &result);
        else
            supervisor->events->say(supervisor->context, &error);
        unlinkat(fd, entry->d_name, 0);
    }
}
