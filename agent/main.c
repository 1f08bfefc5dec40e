/* grivetd: the executor of a host, and, re-executed with --holder, one fault. The only file of it that logs.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "executor.h"
#include "holder.h"
#include "journal.h"
#include "policy.h"
#include "replay.h"

/* MESSAGE_ID of a fault's start and end in the journal: `journalctl MESSAGE_ID=...` */
#define ID_FAULT_ARMED "6f2f4a7b0d5c4f6e9a3c1b8e7d2a5f10"
#define ID_FAULT_OVER  "c1d3e58f24a94b0fb7e69d0a3f7b6c22"

static const struct {
    const char *kind, *id;
} fault_messages[] = {
    {"fault.armed", ID_FAULT_ARMED},
    {"fault.reverted", ID_FAULT_OVER},
    {"fault.ended", ID_FAULT_OVER},
    {"fault.failed", ID_FAULT_OVER},
};

static void say(int level, const char *text)
{
    log_print((enum log_level)level, "%s", text);
}

static void say_fault(const char *kind, const char *run, const char *order, const char *fault)
{
    for (size_t i = 0; i < ARRAY_SIZE(fault_messages); i++)
        if (!strcmp(fault_messages[i].kind, kind))
            log_fault(fault_messages[i].id, run ? run : "", order ? order : "", "%s: %s", kind, fault);
}

static const struct executor_config config = {
    .policy = POLICY_PATH,
    .roots = "/etc/grivet/roots.json",
    .key = "/var/lib/grivet/host.key",
    .replay = REPLAY_PATH,
    .events = JOURNAL_FOLDER,
    .run = "/run/grivet",
    .say = say,
    .say_fault = say_fault,
};

int main(int argc, char **argv)
{
    _cleanup_(executor_freep) struct executor *executor = NULL;
    struct error error = {0};

    if (argc == 2 && !strcmp(argv[1], "--holder"))
        return holder_main();
    log_open("grivetd");
    if (argc == 2 && !strcmp(argv[1], "--version")) {
        puts("grivetd " GRIVET_VERSION);
        return EXIT_SUCCESS;
    }
    if (argc > 1) {
        log_error("usage: grivetd (no arguments; it is configured by " POLICY_PATH ")");
        return 2;
    }
    if (sodium_init() < 0) {
        log_error("libsodium can't start");
        return EXIT_FAILURE;
    }
    if (executor_new(&executor, &config, &error) < 0 || executor_run(executor, &error) < 0) {
        log_error("%s", error.text);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
