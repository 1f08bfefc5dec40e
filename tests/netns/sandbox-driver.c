/*
 * Tries agent/sandbox.c, for tests/crash/test_sandbox.py. Without arguments: the table as JSON, a row is
 * [call, [part...], spare]. `sandbox-driver NAME CALL [ARGUMENT...]` takes on the bounds of a part, or of a
 * fault's holder, and makes one call; an argument is a number or, with a slash in front, a path. It exits
 * with the call's errno, or 0, if it lives to do so.
 */
#include <errno.h>
#include <jansson.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/privileges.h"
#include "agent/sandbox.h"
#include "common/cleanup.h"
#include "common/record.h"
#include "faults/fault.h"

static const struct {
    const char *name;
    unsigned int part;
} parts[] = {
    {"grivet-sweep", SANDBOX_SWEEP}, {"grivet-prober", SANDBOX_PROBER}, {"grivet-courier", SANDBOX_COURIER},
    {"grivetd", SANDBOX_EXECUTOR},   {"syncer", SANDBOX_SYNCER},        {"start of a holder", SANDBOX_START},
    {"holder", SANDBOX_HOLDER},      {"answer", SANDBOX_ANSWER},        {"netlink", MECHANISM_NETLINK},
    {"process", MECHANISM_PROCESS},  {"burner", MECHANISM_BURNER},
};

static json_t *names_of(unsigned int bits)
{
    json_t *names = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (bits & parts[i].part)
            json_array_append_new(names, json_string(parts[i].name));
    return names;
}

static int print_table(void)
{
    size_t count;
    const struct sandbox_row *rows = sandbox_rows(&count);
    json_t *list = json_array();

    for (size_t i = 0; i < count; i++) {
        char *call = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, rows[i].call);

        json_array_append_new(
            list, json_pack("[s o s?]", call ? call : "", names_of(rows[i].parts), rows[i].spare));
        free(call);
    }
    json_dumpf(list, stdout, 0);
    json_decref(list);
    return 0;
}

/* As main() of each program, and holder_confine(). */
static int confine(const char *name, struct error *error)
{
    struct account account = {0};
    const struct fault *fault = fault_find(name);
    unsigned int bits = fault ? SANDBOX_HOLDER | fault->mechanisms : 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!strcmp(name, parts[i].name))
            bits = parts[i].part;
    if (!bits)
        return error_set(error, EINVAL, "unknown part");
    if (fault && privileges_find("grivet-holder", &account, error) < 0 && error->code != ESRCH)
        return -error->code; /* outside of a lab's hosts there is none, and root stays root */
    if (fault && privileges_drop(&account, fault->capabilities, error) < 0)
        return -error->code;
    if (fault && sandbox_limit_files(RECORD_BYTES_MAX, error) < 0)
        return -error->code;
    return sandbox_enter(bits, error);
}

static int make_call(const char *name, char **words, int n_words)
{
    int call = seccomp_syscall_resolve_name(words[0]);
    struct error error = {0};
    long a[6] = {0};

    for (int i = 1; i < n_words && i <= 6; i++)
        a[i - 1] = words[i][0] == '/' ? (long)words[i] : strtol(words[i], NULL, 0);
    if (call == __NR_SCMP_ERROR || confine(name, &error) < 0) {
        fprintf(stderr, "sandbox-driver: %s\n", error.code ? error.text : "unknown call");
        return 255;
    }
    _exit(syscall(call, a[0], a[1], a[2], a[3], a[4], a[5]) < 0 ? errno : 0);
}

int main(int argc, char **argv)
{
    return argc > 2 ? make_call(argv[1], argv + 2, argc - 2) : print_table();
}
