/* Undoing what a record says: see rollback.h. */
#include "rollback.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "common/io.h"
#include "common/own-process.h"
#include "faults/kernel/undo.h"

int rollback_read(struct record *ret, int folder_fd, const char *order, struct error *error)
{
    int r = record_read(ret, folder_fd, order, error);

    if (r == 0)
        return 0;
    ret->n_undos = 0;
    if (!*ret->order) {
        snprintf(ret->order, sizeof(ret->order), "%s", order);
        snprintf(ret->fault, sizeof(ret->fault), "unknown");
        time_boot_id(ret->boot);
    }
    undo_guess(ret);
    return r;
}

/* Return: 1 it is dead, 0 it is still dying, -errno */
static int kill_holder(const struct record *record, struct error *error)
{
    _cleanup_close_ int pidfd = record_open_holder(record);
    struct pollfd death = {.fd = pidfd, .events = POLLIN};

    if (pidfd == -ESRCH)
        return 1;
    if (pidfd < 0)
        return error_errno(error, -pidfd, "can't tell whether holder %d lives", record->holder_pid);
    if (pidfd_send_signal(pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
        return error_errno(error, errno, "can't kill holder %d", record->holder_pid);
    if (poll(&death, 1, 0) == 1)
        return 1;
    error_set(error, ETIME, "holder %d was killed and does not go (see /proc/%d/stack)", record->holder_pid,
              record->holder_pid);
    return 0;
}

int rollback_try(const struct record *record, bool *ret_was_clean, struct error *error)
{
    struct error words = {0};
    int r = kill_holder(record, error);

    if (r <= 0)
        return r;
    r = undo_is_done(record, error);
    *ret_was_clean = r == 1;
    if (r == 1)
        return 1;
    undo_all(record, &words);
    r = undo_is_done(record, error);
    if (r == 0)
        error_set(error, EBUSY, "something of it is still in the kernel%s%s", words.code ? ": " : "",
                  words.text);
    return r;
}

/* ---- processes without a record that says so */

/* @r: why it can't be told */
struct search {
    int folder_fd;
    pid_t pid;
    const char *name;
    bool is_recorded;
    int r;
};

static void look_at_record(void *context, const char *name)
{
    struct search *search = context;
    struct record record;
    char burner[OWN_NAME_MAX];
    int r = record_read(&record, search->folder_fd, name, NULL);

    if (record_is_hidden(r))
        search->r = r;
    search->is_recorded |= record.holder_pid == search->pid ||
                           (uuid_is_valid(name) && !strcmp(own_burner_name(name, burner), search->name));
}

/* Return: 1, 0, -errno */
static int is_recorded(int folder_fd, pid_t pid, const char *name)
{
    struct search search = {folder_fd, pid, name, false, 0};
    int r = io_list(folder_fd, ".", look_at_record, &search, NULL);

    return search.is_recorded ? 1 : r < 0 ? r : search.r;
}

/* @count: of them; @one: the last; @r: the first error */
struct strangers {
    int folder_fd, r;
    bool is_to_kill;
    size_t count;
    pid_t one;
};

/* Processes first, records second: a new one may get its record meanwhile. */
static void look_at_process(void *context, pid_t pid, const char *name)
{
    struct strangers *strangers = context;
    int r = is_recorded(strangers->folder_fd, pid, name);

    if (r == 0) {
        strangers->count++;
        strangers->one = pid;
        r = strangers->is_to_kill ? own_process_kill(pid) : 0;
    }
    if (r < 0 && strangers->r == 0)
        strangers->r = r;
}

static int find_strangers(struct strangers *strangers, struct error *error)
{
    int r = own_process_list(look_at_process, strangers, error);

    if (r == 0 && strangers->r < 0)
        r = error_errno(error, -strangers->r, "can't tell which processes have a record, or end those");
    return r;
}

int rollback_find_stranger(int folder_fd, struct error *error)
{
    struct strangers strangers = {.folder_fd = folder_fd};
    int r = find_strangers(&strangers, error);

    if (r == 0 && strangers.count)
        r = error_set(error, EBUSY, "its record does not read, and holder %d may be its own", strangers.one);
    return r;
}

int rollback_kill_strangers(int folder_fd, size_t *ret_count, struct error *error)
{
    struct strangers strangers = {.folder_fd = folder_fd, .is_to_kill = true};
    int r = find_strangers(&strangers, error);

    *ret_count = strangers.count;
    return r;
}
