/* Processes that are sent a signal: see victims.h. */
#include "victims.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/channel.h"

#define LIST_BYTES_MAX (CHANNEL_BODY_MAX - 4096) /* what else is in such a body needs less */

struct victims *victims_new(size_t wanted)
{
    struct victims *victims = calloc(1, sizeof(*victims) + wanted * sizeof(victims->victims[0]));

    if (victims)
        victims->wanted = wanted;
    return victims;
}

struct victims *victims_free(struct victims *victims)
{
    for (size_t i = 0; victims && i < victims->count; i++)
        close(victims->victims[i].pidfd);
    free(victims);
    return NULL;
}

static int cant_signal(const struct process *process, int r, struct error *error)
{
    char exe[PROCESS_EXE_MAX];

    return error_errno(error, -r, "can't signal process %d (%s)", process->pid,
                       process_exe_text(process, exe));
}

/* As many as are still wanted, from @next on. Signal 0 is not sent: it tells whether another could be. */
static int hold(struct victims *victims, const struct process_list *list, size_t *next, struct error *error)
{
    for (; *next < list->count && victims->count < victims->wanted; ++*next) {
        const struct process *process = &list->processes[*next];
        int fd = process_open(process, error);
        int r = fd < 0 ? fd : process_signal(fd, 0);

        if (r == 0) {
            victims->victims[victims->count++] = (struct victim){*process, fd, false};
            continue;
        }
        if (fd >= 0)
            close(fd);
        if (r != -ESRCH)
            return cant_signal(process, r, error);
    }
    return 0;
}

static int signal_held(struct victims *victims, int signal, struct error *error)
{
    while (victims->n_signalled < victims->count) {
        struct victim *victim = &victims->victims[victims->n_signalled];
        int r = process_signal(victim->pidfd, signal);

        if (r == 0) {
            victims->n_signalled++;
            continue;
        }
        if (r != -ESRCH)
            return cant_signal(&victim->process, r, error);
        close(victim->pidfd);
        *victim = victims->victims[--victims->count];
    }
    return 0;
}

int victims_signal(struct victims *victims, const struct process_list *list, int signal, struct error *error)
{
    size_t next = 0;
    int r = 0;

    while (r == 0 && victims->count < victims->wanted && next < list->count) {
        r = hold(victims, list, &next, error);
        if (r == 0)
            r = signal_held(victims, signal, error);
    }
    if (r < 0 || victims->count)
        return r;
    return error_set(error, ESRCH, "every process that matched has ended by itself");
}

json_t *victims_list(struct victims *victims, size_t *ret_n_more)
{
    json_t *list = json_array();
    size_t length = 0;

    *ret_n_more = 0;
    for (size_t i = 0; i < victims->n_signalled; i++) {
        struct victim *victim = &victims->victims[i];
        char exe[PROCESS_EXE_MAX];
        size_t own_length;
        json_t *entry;

        victim->is_gone = process_is_gone(victim->pidfd);
        entry = json_pack("{s:i, s:s, s:b}", "pid", victim->process.pid, "exe",
                          process_exe_text(&victim->process, exe), "is_gone", victim->is_gone);
        own_length = json_dumpb(entry, NULL, 0, JSON_COMPACT) + strlen(",");
        if (entry && length + own_length <= LIST_BYTES_MAX && json_array_append(list, entry) == 0)
            length += own_length;
        else
            ++*ret_n_more;
        json_decref(entry);
    }
    return list;
}
