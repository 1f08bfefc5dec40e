/* Looking through the records: which are due, which can't be read, what has none. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "common/hands.h"
#include "common/io.h"
#include "deadline.h"
#include "faults/kernel/undo.h"
#include "sweep-result.h"
#include "sweep.h"

#define GRACE_USEC (RECORD_GRACE_NSEC / NSEC_PER_USEC)
#define RETRY_NSEC NSEC_PER_SEC
/* Objects are named after the last 12 digits of an order: fault_object_name(), which links more than we may.
 */
#define ORDER_DIGITS_AT (UUID_TEXT_MAX - 1 - 12)

struct look {
    const struct sweep *sweep;
    bool is_all;
    size_t left;
    struct sweep_next next;
};

static int open_folder(const char *path, int *ret, struct error *error)
{
    int r = io_mkdir(path, 0755, error);

    if (r < 0)
        return r;
    *ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return *ret < 0 ? error_errno(error, errno, "%s: can't open", path) : 0;
}

int sweep_open(struct sweep *sweep, struct error *error)
{
    int r = io_mkdir("/run/grivet", 0755, error);

    if (r == 0)
        r = open_folder(RECORD_FOLDER, &sweep->records_fd, error);
    if (r == 0)
        r = open_folder(SWEEP_RESULT_FOLDER, &sweep->results_fd, error);
    return r;
}

void sweep_close(struct sweep *sweep)
{
    cleanup_close(&sweep->records_fd);
    cleanup_close(&sweep->results_fd);
}

static void look_again(struct look *look, int64_t boot_nsec, int64_t real_usec)
{
    if (boot_nsec < look->next.boot_nsec)
        look->next.boot_nsec = boot_nsec;
    if (real_usec < look->next.real_usec)
        look->next.real_usec = real_usec;
}

static void say_left(struct look *look, const char *name, const struct error *error)
{
    char line[ERROR_TEXT_MAX + 128];

    snprintf(line, sizeof(line), "%.64s: %s", name, error->text);
    look->sweep->say(line);
    look->left++;
    look_again(look, time_boot_nsec() + RETRY_NSEC, DEADLINE_NONE);
}

/* Records of an earlier boot have no time to wait for: their clock is gone. */
static bool is_due(const struct record *record)
{
    char boot[BOOT_ID_MAX];

    return strcmp(record->boot, time_boot_id(boot)) != 0 ||
           deadline_is_past(record->deadline_boot_nsec + RECORD_GRACE_NSEC,
                            record->deadline_real_usec + GRACE_USEC);
}

static void look_at_record(struct look *look, const struct record *record)
{
    struct error error = {0};

    if (!look->is_all && !is_due(record)) {
        look_again(look, record->deadline_boot_nsec + RECORD_GRACE_NSEC,
                   record->deadline_real_usec + GRACE_USEC);
        return;
    }
    if (sweep_end(look->sweep, record, look->is_all ? "swept" : "deadline and grace were past", &error) < 0)
        say_left(look, record->order, &error);
}

/* What a record can't tell any more, its name still does: the order, and with it our names in the kernel. */
static void look_at_unreadable(struct look *look, const char *name, struct error *error)
{
    static const char *const families[] = {"inet", "netdev"};
    struct record record = {.fault = "unknown"};
    char argument[64], reason[160];

    snprintf(reason, sizeof(reason), "undone by name, its record is unreadable: %.100s", error->text);
    snprintf(record.order, sizeof(record.order), "%s", name);
    for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
        snprintf(argument, sizeof(argument), "%s %s%s", families[i], UNDO_NAME_PREFIX,
                 name + ORDER_DIGITS_AT);
        record_add_undo(&record, "nft-table", argument, NULL);
    }
    if (sweep_end(look->sweep, &record, reason, error) < 0)
        say_left(look, name, error);
}

/* A name with a dot in front is half a record, whose writer died before it had made anything. */
static void look_at_name(struct look *look, const char *name)
{
    struct record record;
    struct error error = {0};
    int r;

    if (name[0] == '.') {
        if (look->is_all && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
            unlinkat(look->sweep->records_fd, name, 0);
        return;
    }
    r = record_read(&record, look->sweep->records_fd, name, &error);
    if (r == 0) {
        look_at_record(look, &record);
    } else if (r != -ENOENT && uuid_is_valid(name)) {
        look_at_unreadable(look, name, &error);
    } else if (r != -ENOENT) {
        error_set(&error, EINVAL, "is not named after an order: look into it, and remove it");
        say_left(look, name, &error);
    }
}

static int look_at_names(struct look *look, struct error *error)
{
    int fd = openat(look->sweep->records_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (!folder) {
        cleanup_close(&fd);
        return error_errno(error, errno, "%s: can't list", RECORD_FOLDER);
    }
    for (struct dirent *entry; (entry = readdir(folder));)
        look_at_name(look, entry->d_name);
    closedir(folder);
    return 0;
}

/* What is still there after it was removed is held by a process that no record names. */
static void look_for_strays(struct look *look)
{
    struct error error = {0};
    size_t count = 0, left = 0;
    char line[96];
    int r = undo_find_strays(look->sweep->records_fd, &count, &error);

    if (r == 0 && count > 0) {
        snprintf(line, sizeof(line), "%zu objects named " UNDO_NAME_PREFIX "* had no record", count);
        look->sweep->say(line);
        r = undo_find_strays(look->sweep->records_fd, &left, &error);
    }
    if (r == 0 && left > 0)
        r = error_set(&error, EBUSY, "%zu can't be removed: end the process that owns them (nft list tables)",
                      left);
    if (r < 0)
        say_left(look, "objects without a record", &error);
}

int sweep_look(const struct sweep *sweep, bool is_all, size_t *ret_left, struct sweep_next *ret_next,
               struct error *error)
{
    struct look look = {.sweep = sweep, .is_all = is_all, .next = {DEADLINE_NONE, DEADLINE_NONE}};
    int r = look_at_names(&look, error);

    if (r < 0)
        return r;
    if (is_all && has_sweep)
        look_for_strays(&look);
    *ret_left = look.left;
    *ret_next = look.next;
    return 0;
}
