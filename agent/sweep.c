/*
 * grivet-sweep: ends what nobody else ended. Without arguments one pass over everything (at boot, after the
 * executor stopped, on removal); with --watch it stays and ends each fault whose deadline and grace are past.
 * It knows no configuration and no keys, and links little, so that little can stop it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/hands.h"
#include "common/io.h"
#include "deadline.h"
#include "faults/kernel/undo.h"
#include "rollback.h"
#include "sandbox.h"
#include "watchdog.h"

#define GRACE_USEC      (RECORD_GRACE_NSEC / NSEC_PER_USEC)
#define TRY_NSEC        (2 * NSEC_PER_SEC) /* as long often, then seldom and with a word */
#define TRY_AGAIN_NSEC  (10 * NSEC_PER_MSEC)
#define LOOK_AGAIN_NSEC NSEC_PER_SEC
#define LEFT_MAX        64
#define PASSING_NSEC    (100 * NSEC_PER_MSEC)
#define HALT_GRACE_NSEC NSEC_PER_SEC /* for those who hear of the file themselves */

/** struct left - what could not be ended, and since when; free while @since_nsec is 0 */
struct left {
    char name[64];
    int64_t since_nsec;
    bool is_still;
};

/**
 * struct sweep - one pass; nothing is remembered between two but since when something could not be ended, so
 * that nothing can go out of step with the folder
 * @is_all: end every fault, and objects without a record; else only what is past its deadline and grace
 * @halted_boot_nsec: when the halt file was first seen, 0 = there is none; all is due soon after
 * @left: number of things that are still there; @next_boot_nsec, @next_real_usec: when to look again
 * @watchdog: told before each record
 */
struct sweep {
    int records_fd, results_fd;
    bool is_all, has_said, has_said_strays;
    int64_t halted_boot_nsec;
    size_t left;
    struct left lefts[LEFT_MAX];
    int64_t next_boot_nsec, next_real_usec;
    struct watchdog watchdog;
};

static void sweep_close(struct sweep *sweep)
{
    cleanup_close(&sweep->records_fd);
    cleanup_close(&sweep->results_fd);
    watchdog_close(&sweep->watchdog);
}

static _printf_(1, 2) void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("grivet-sweep: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
}

static int open_folder(const char *path, int *ret, struct error *error)
{
    int r = io_mkdir(path, 0755, error);

    if (r < 0)
        return r;
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *ret < 0 ? error_errno(error, errno, "%s: can't open", path) : 0;
}

static int sweep_open(struct sweep *sweep, struct error *error)
{
    int r = io_mkdir(RUN_FOLDER, 0755, error);

    if (r == 0)
        r = open_folder(RECORD_FOLDER, &sweep->records_fd, error);
    if (r == 0)
        r = open_folder(RESULT_FOLDER, &sweep->results_fd, error);
    return r;
}

static void look_again(struct sweep *sweep, int64_t boot_nsec, int64_t real_usec)
{
    if (boot_nsec < sweep->next_boot_nsec)
        sweep->next_boot_nsec = boot_nsec;
    if (real_usec < sweep->next_real_usec)
        sweep->next_real_usec = real_usec;
}

/* More than there are places for counts as new. */
static int64_t left_since_nsec(struct sweep *sweep, const char *name, int64_t now_nsec)
{
    struct left *place = NULL;

    for (struct left *left = sweep->lefts; left < sweep->lefts + LEFT_MAX; left++) {
        if (left->since_nsec && !strncmp(left->name, name, sizeof(left->name) - 1)) {
            left->is_still = true;
            return left->since_nsec;
        }
        if (!left->since_nsec)
            place = left;
    }
    if (place) {
        *place = (struct left){.since_nsec = now_nsec, .is_still = true};
        snprintf(place->name, sizeof(place->name), "%s", name);
    }
    return now_nsec;
}

static void forget_ended(struct sweep *sweep)
{
    for (struct left *left = sweep->lefts; left < sweep->lefts + LEFT_MAX; left++) {
        if (!left->is_still)
            left->since_nsec = 0;
        left->is_still = false;
    }
}

/* The last file of a process that dies may close a moment after its end shows, and no event tells when; nor
 * when an error has passed. Others don't wait for it. */
static void leave(struct sweep *sweep, const char *name, const struct error *error)
{
    int64_t now = time_boot_nsec();
    bool is_lasting = now - left_since_nsec(sweep, name, now) >= TRY_NSEC;

    if (is_lasting)
        say("%.64s: %s", name, error->text);
    sweep->has_said |= is_lasting;
    sweep->left++;
    look_again(sweep, now + (is_lasting ? LOOK_AGAIN_NSEC : TRY_AGAIN_NSEC), DEADLINE_NONE);
}

/* Whose holder no record names any more, burns and blocks until that is dead: it ends by its own timer. */
static int undo(const struct sweep *sweep, const struct record *record, bool is_known, struct error *error)
{
    bool was_clean;
    int r;

    if (!has_sweep)
        return error_set(error, EPERM, "found, and left alone: this is a mutated build");
    r = is_known ? 0 : rollback_find_stranger(sweep->records_fd, error);
    if (r == 0)
        r = rollback_try(record, &was_clean, error);
    return r > 0 ? 0 : -error->code;
}

/* A result that can't be written must not keep a record alive that describes nothing any more. */
static int end_fault(const struct sweep *sweep, struct record *record, const char *reason,
                     struct error *error)
{
    int r = undo(sweep, record, record->deadline_boot_nsec, error);

    if (r < 0)
        return r;
    record->reverted_usec = time_now_usec();
    if (record->deadline_boot_nsec)
        record->revert_error_nsec = time_boot_nsec() - record->deadline_boot_nsec;
    snprintf(record->reason, sizeof(record->reason), "%s", reason);
    if (record_write(record, sweep->results_fd, error) < 0)
        say("%s", error->text);
    r = record_remove(record->order, sweep->records_fd, error);
    if (r == 0)
        say("%s: ended %s (%s)", record->order, record->fault, reason);
    return r;
}

/* What passes, like a lack of memory, says nothing about the file. */
static void look_for_halt(struct sweep *sweep)
{
    struct stat status;

    if (lstat(HALT_FILE, &status) == 0) {
        if (!sweep->halted_boot_nsec)
            sweep->halted_boot_nsec = time_boot_nsec();
    } else if (errno == ENOENT) {
        sweep->halted_boot_nsec = 0;
    } else {
        look_again(sweep, time_boot_nsec() + PASSING_NSEC, DEADLINE_NONE);
    }
}

static bool is_halt_due(const struct sweep *sweep)
{
    return sweep->halted_boot_nsec && time_boot_nsec() >= sweep->halted_boot_nsec + HALT_GRACE_NSEC;
}

/* Records of an earlier boot have no time to wait for: their clock is gone. */
static bool is_due(struct sweep *sweep, const struct record *record)
{
    char boot[BOOT_ID_MAX];
    bool is_known = *time_boot_id(boot);

    if (!is_known)
        look_again(sweep, time_boot_nsec() + PASSING_NSEC, DEADLINE_NONE);
    return (is_known && strcmp(record->boot, boot) != 0) || is_halt_due(sweep) ||
           deadline_is_past(record->deadline_boot_nsec + RECORD_GRACE_NSEC,
                            record->deadline_real_usec + GRACE_USEC);
}

static void look_at_order(struct sweep *sweep, const char *order)
{
    char reason[sizeof(((struct record *)NULL)->reason)] = "swept";
    struct error error = {0};
    struct record record;
    int r = rollback_read(&record, sweep->records_fd, order, &error);

    if (r == -ENOENT)
        return; /* it has ended meanwhile */
    if (record_is_hidden(r)) {
        leave(sweep, order, &error);
        look_again(sweep, time_boot_nsec() + PASSING_NSEC, DEADLINE_NONE);
        return;
    }
    if (r == 0 && !sweep->is_all && !is_due(sweep, &record)) {
        look_again(sweep, record.deadline_boot_nsec + RECORD_GRACE_NSEC,
                   record.deadline_real_usec + GRACE_USEC);
        if (sweep->halted_boot_nsec)
            look_again(sweep, sweep->halted_boot_nsec + HALT_GRACE_NSEC, DEADLINE_NONE);
        return;
    }
    if (r < 0)
        snprintf(reason, sizeof(reason), "undone by name, its record is unreadable: %.100s", error.text);
    else if (!sweep->is_all)
        snprintf(reason, sizeof(reason),
                 is_halt_due(sweep) ? "halted: the file " HALT_FILE " is there"
                                    : "deadline and grace were past");
    if (end_fault(sweep, &record, reason, &error) < 0)
        leave(sweep, order, &error);
}

/* A name with a dot in front is half a record, whose writer died before anything was made. */
static void look_at_name(void *context, const char *name)
{
    struct sweep *sweep = context;
    struct error error;

    watchdog_tell(&sweep->watchdog);
    if (name[0] == '.') {
        if (sweep->is_all)
            unlinkat(sweep->records_fd, name, 0);
    } else if (uuid_is_valid(name)) {
        look_at_order(sweep, name);
    } else {
        error_set(&error, EINVAL, "is not named after an order: look into it, and remove it");
        leave(sweep, name, &error);
    }
}

/* Processes first: they may own tables. Returns the first failure. */
static int end_strays(const struct sweep *sweep, size_t *ret_processes, size_t *ret_objects,
                      struct error *error)
{
    int first = rollback_kill_strangers(sweep->records_fd, ret_processes, error);
    int r = undo_find_strays(sweep->records_fd, ret_objects, first < 0 ? NULL : error);

    return first < 0 ? first : r;
}

/* What is still there after it was ended once may only be dying; or it is held by a process of another name.
 */
static void look_for_strays(struct sweep *sweep)
{
    struct error error = {0};
    size_t processes = 0, objects = 0;
    int r = end_strays(sweep, &processes, &objects, &error);

    if (r == 0 && processes + objects > 0) {
        if (!sweep->has_said_strays)
            say("%zu processes and %zu objects had no record", processes, objects);
        sweep->has_said_strays = true;
        r = end_strays(sweep, &processes, &objects, &error);
    }
    if (r == 0 && processes + objects > 0)
        r = error_set(
            &error, EBUSY,
            "%zu processes don't die (see their /proc/PID/stack), %zu objects can't be removed: end the "
            "process that owns them (nft list tables)",
            processes, objects);
    if (r < 0)
        leave(sweep, "what has no record", &error);
}

static int sweep_look(struct sweep *sweep, struct error *error)
{
    int r;

    sweep->left = 0;
    sweep->next_boot_nsec = sweep->next_real_usec = DEADLINE_NONE;
    if (!sweep->is_all)
        look_for_halt(sweep);
    r = io_list(sweep->records_fd, ".", look_at_name, sweep, error);
    if (r == 0 && sweep->is_all && has_sweep)
        look_for_strays(sweep);
    forget_ended(sweep);
    return r;
}

/* Until nothing is left, or has been for so long that it was said. */
static int sweep_pass(struct sweep *sweep, struct error *error)
{
    int r;

    while ((r = sweep_look(sweep, error)) == 0 && sweep->left && !sweep->has_said)
        poll(NULL, 0, TRY_AGAIN_NSEC / NSEC_PER_MSEC);
    return r;
}

/* If the folder is not the one that we know any more, the next start makes a new one. */
static int check_folder(const struct sweep *sweep, struct error *error)
{
    struct stat ours, named;

    if (fstat(sweep->records_fd, &ours) == 0 && stat(RECORD_FOLDER, &named) == 0 &&
        ours.st_ino == named.st_ino)
        return 0;
    return error_set(error, ENOENT, "%s: was taken away", RECORD_FOLDER);
}

static int wait_for_next(const struct sweep *sweep, const struct deadline *deadline, int inotify_fd,
                         struct error *error)
{
    struct pollfd fds[] = {
        {.fd = inotify_fd, .events = POLLIN},
        {.fd = deadline->boot_fd, .events = POLLIN},
        {.fd = deadline->real_fd, .events = POLLIN},
    };
    char buffer[4096];
    int r = deadline_set(deadline, sweep->next_boot_nsec, sweep->next_real_usec, error);

    if (r < 0)
        return r;
    watchdog_tell(&sweep->watchdog);
    if (poll(fds, ARRAY_SIZE(fds), sweep->watchdog.period_msec) < 0 && errno != EINTR)
        return error_errno(error, errno, "can't wait for deadlines");
    while (read(inotify_fd, buffer, sizeof(buffer)) > 0) {
        /* Which names changed is of no interest: we look. */
    }
    return check_folder(sweep, error);
}

/* Returns only with an error. */
static int sweep_watch(struct sweep *sweep, struct error *error)
{
    const uint32_t events = IN_MOVED_TO | IN_CLOSE_WRITE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
    _cleanup_(deadline_close) struct deadline deadline = {-1, -1};
    _cleanup_close_ int inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    int r;

    if (inotify_fd < 0 || inotify_add_watch(inotify_fd, RECORD_FOLDER, events) < 0 ||
        inotify_add_watch(inotify_fd, RUN_FOLDER, IN_CREATE | IN_DELETE | IN_MOVE) < 0)
        return error_errno(error, errno, "%s: can't watch", RECORD_FOLDER);
    r = deadline_open(&deadline, error);
    while (r == 0) {
        r = sweep_look(sweep, error);
        if (r == 0)
            r = wait_for_next(sweep, &deadline, inotify_fd, error);
    }
    return r;
}

int main(int argc, char **argv)
{
    bool is_watch = argc == 2 && strcmp(argv[1], "--watch") == 0;
    _cleanup_(sweep_close) struct sweep sweep = {
        .records_fd = -1, .results_fd = -1, .is_all = !is_watch, .watchdog = {-1, -1}};
    struct error error = {0};
    int r;

    if (argc == 2 && !strcmp(argv[1], "--version"))
        return puts("grivet-sweep " GRIVET_VERSION), 0;
    if (argc > 1 && !is_watch)
        return fputs("usage: grivet-sweep [--watch | --version]\n", stderr), 2;
    /* What fails from here on is no reason to leave a fault standing. */
    if (is_watch && watchdog_open(&sweep.watchdog, &error) < 0)
        say("%s", error.text);
    if (is_watch)
        mlockall(MCL_CURRENT); /* best effort: a sweep that waits for a disk is still better than none */
    if (sandbox_enter(SANDBOX_SWEEP, &error) < 0)
        say("%s", error.text);
    r = sweep_open(&sweep, &error);
    if (r == 0)
        r = is_watch ? sweep_watch(&sweep, &error) : sweep_pass(&sweep, &error);
    if (r < 0)
        say("%s", error.text);
    return r < 0 || sweep.left > 0;
}
