/* grivet-coordinator: the table of its subcommands. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "coordinator.h"

static const struct {
    const char *name, *usage;
    int (*run)(const struct place *place, int argc, char **argv, struct error *error);
} commands[] = {
    {"serve", "serve", serve_run},
    {"init",
     "init --person FILE.pub [--person FILE.pub ...] [--name HOST-OR-ADDRESS ...] [--environment NAME]\n"
     "       [--zone ID=CIDR[,CIDR...] ...] [--listen ADDRESS:PORT ...] [-o text|json]",
     init_run},
    {"operator", "operator add NAME --out FOLDER [--coordinator URL] [-o text|json]", operator_run},
};

static void notice(const char *text)
{
    log_notice("%s", text);
}

static void print_usage(FILE *to)
{
    fprintf(to, "Usage: grivet-coordinator [--config FILE] [--folder FOLDER] COMMAND\n\n");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        fprintf(to, "  %s\n", commands[i].usage);
    fprintf(to, "\nFILE: " COORDINATOR_CONFIG ", FOLDER: " COORDINATOR_FOLDER " unless told otherwise.\n");
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

int output_take_form(const char *form, bool *ret_is_json, struct error *error)
{
    *ret_is_json = strcmp(form, "json") == 0;
    if (!*ret_is_json && strcmp(form, "text") != 0)
        return error_set(error, EINVAL, "-o %s: expected text or json", form);
    return 0;
}

int output_json(json_t *json, struct error *error)
{
    if (!json)
        return error_oom(error);
    json_dumpf(json, stdout, JSON_INDENT(2));
    json_decref(json);
    puts("");
    return 0;
}

/* Only the daemon speaks to a log; the other commands speak to whoever typed them. */
static int run_command(const struct place *place, int argc, char **argv)
{
    struct error error = {.text = ""};

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        int r;

        if (strcmp(argv[0], commands[i].name) != 0)
            continue;
        if (asks_for_help(argc, argv))
            return printf("Usage: grivet-coordinator %s\n", commands[i].usage), 0;
        r = commands[i].run(place, argc, argv, &error);
        if (r == 0 && fflush(stdout) != 0)
            r = error_errno(&error, errno, "can't write to standard output");
        if (r < 0 && commands[i].run == serve_run)
            log_error("%s", error.text);
        else if (r < 0)
            fprintf(stderr, "grivet-coordinator: %s\n", error.text);
        return r == 0 ? 0 : r == -EINVAL ? 2 : 1;
    }
    fprintf(stderr, "grivet-coordinator: %s: no such command; see --help\n", argv[0]);
    return 2;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"folder", required_argument, NULL, 'f'},
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'v'},
        {NULL},
    };
    struct place place = {COORDINATOR_CONFIG, COORDINATOR_FOLDER, notice};
    int option;

    log_open("grivet-coordinator");
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (option == 'c')
            place.config = optarg;
        else if (option == 'f')
            place.folder = optarg;
        else if (option == 'h')
            return print_usage(stdout), 0;
        else if (option == 'v')
            return puts(GRIVET_VERSION), 0;
        else
            return 2;
    }
    if (optind == argc)
        return print_usage(stderr), 2;
    return run_command(&place, argc - optind, argv + optind);
}
