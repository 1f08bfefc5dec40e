/*
 * Tries agent/sandbox.c, for tests/crash/test_sandbox.py. Without arguments the table as JSON: a row is
 * [call, [part...], spare]. `sandbox-driver PART CALL [ARGUMENT...]` enters the filter of one part and makes
 * one call; an argument is a number or, with a slash in front, a path. It says what came back, if it lives to
 * say it.
 */
#include <errno.h>
#include <jansson.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/sandbox.h"
#include "common/cleanup.h"

static const struct {
    const char *name;
    unsigned int part;
} parts[] = {
    {"grivet-sweep", SANDBOX_SWEEP},
    {"grivet-prober", SANDBOX_PROBER},
    {"grivet-courier", SANDBOX_COURIER},
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

static int make_call(const char *part, char **words, int n_words)
{
    int call = seccomp_syscall_resolve_name(words[0]);
    struct error error = {0};
    unsigned int bits = 0;
    const char *answer;
    long arguments[6] = {0}, r;

    for (int i = 1; i < n_words && i <= 6; i++)
        arguments[i - 1] = words[i][0] == '/' ? (long)words[i] : strtol(words[i], NULL, 0);
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (!strcmp(part, parts[i].name))
            bits = parts[i].part;
    if (!bits || call < 0 || sandbox_enter(bits, &error) < 0) {
        fprintf(stderr, "sandbox-driver: %s\n", error.code ? error.text : "unknown part or call");
        return 2;
    }
    r = syscall(call, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
    answer = r < 0 ? strerrorname_np(errno) : "done";
    _exit(write(STDOUT_FILENO, answer, strlen(answer)) < 0);
}

int main(int argc, char **argv)
{
    return argc > 2 ? make_call(argv[1], argv + 2, argc - 2) : print_table();
}
