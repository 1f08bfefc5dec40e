/* grivet: the operator's command line. The table of commands, and what happens to errors. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#define LABEL_OPTION(help)                                                                                   \
    {                                                                                                        \
        "label", 'l', "KEY=VALUE[,...]", help                                                                \
    }
#define PASS_OPTION                                                                                          \
    {                                                                                                        \
        "passphrase-file", 0, "FILE", "read the passphrase from FILE instead of the terminal"                \
    }

static const struct option_row key_options[] = {
    {"folder", 'd', "FOLDER", "where to write NAME.key and NAME.pub (default: here)"},
    {"no-passphrase", 0, NULL, "do not seal the key: for machines and halt keys"},
    PASS_OPTION,
    {}};
static const struct option_row plan_options[] = {{"file", 'f', "FILE", "write the mandate here"}, {}};
static const struct option_row sign_options[] = {
    {"key", 'k', "FILE", "key to sign with (grivet key new makes one)", .is_required = true},
    {"hosts", 0, "N", "how many hosts may be hit: answers the question in scripts", .min = 1,
     .max = INT32_MAX},
    PASS_OPTION,
    {}};
static const struct option_row verify_options[] = {
    {"roots", 'r', "FILE", "whom to believe (default: /etc/grivet/roots.json)"},
    {"people", 'n', "N", "how many people must have signed (default: 1)", false, 1, 16, 1},
    {}};
static const struct option_row run_options[] = {
    {"detach", 0, NULL, "start and leave it to itself"},
    {"key", 'k', "FILE", "halt key for Ctrl-C (default: halt.key beside config.yaml)"},
    {}};
static const struct option_row status_options[] = {{"local", 'l', NULL, "ask the executor of this host"}, {}};
static const struct option_row halt_options[] = {
    {"run", 0, "ID", "end this run"},
    {"experiment", 0, "NAME", "end every run of this experiment"},
    {"host", 0, "HOST", "end all faults of this host"},
    {"fleet", 0, NULL, "end all faults of all hosts"},
    {"key", 'k', "FILE",
     "halt key (default: halt.key beside config.yaml); as root on a host, none is needed"},
    {}};
static const struct option_row token_options[] = {
    LABEL_OPTION("new: labels that a host has to bear to use the token"),
    {"expires-in-s", 0, "S", "new: how long it is good (default: 3600)", false, 1, 365 * 86400, 3600},
    {"max-uses", 0, "N", "new: how many hosts may use it (default: 1)", false, 1, 100000, 1},
    {}};
static const struct option_row join_options[] = {
    {"token", 't', "T", "from grivet token new", .is_required = true},
    {"ca", 0, "sha256:HEX", "SHA-256 of the coordinator's CA certificate", .is_required = true},
    {"roots", 'r', "sha256:HEX", "SHA-256 of roots.json", .is_required = true},
    {"name", 'n', "HOST", "what this host is called from now on", .is_required = true},
    {"address", 'a', "ADDRESS", "where others reach it"},
    {"environment", 'e', "NAME", "such as staging; must be that of an agent.yaml that is there"},
    LABEL_OPTION("zone, group...; as often as needed"),
    {}};
static const struct option_row wait_options[] = {
    {"timeout-s", 0, "S", "how long at most (default: 15)", false, 1, 3600, 15}, {}};

const struct command commands[] = {
    {"init", "EXPERIMENT.yaml", "write a sample experiment with comments", 1, 1, NULL, command_init},
    {"key", "new NAME | show FILE", "make a signing key, or show a public one", 2, 2, key_options,
     command_key},
    {"plan", "EXPERIMENT.yaml", "what would happen on which host; makes a mandate to sign", 1, 1,
     plan_options, command_plan},
    {"sign", "MANDATE.json", "show what is signed, and sign it", 1, 1, sign_options, command_sign},
    {"verify", "MANDATE.json", "who has signed it", 1, 1, verify_options, command_verify},
    {"run", "MANDATE.json", "start a signed mandate and watch it to its report", 1, 1, run_options,
     command_run},
    {"status", "[RUN]", "runs, one run, or what this host does", 0, 1, status_options, command_status},
    {"halt", "--run ID | --experiment NAME | --host HOST | --fleet",
     "end faults at once; as root on a host, without options: there", 0, 0, halt_options, command_halt},
    {"report", "[RUN|REPORT.json]", "what a run showed (exits 0 when shown); without a word: the newest", 0,
     1, NULL, command_report},
    {"hosts", "", "who has joined, and who is in contact", 0, 0, NULL, command_hosts},
    {"token", "new | list | revoke ID", "tokens for `grivet join`", 1, 2, token_options, command_token},
    {"join", "URL", "make this host a member", 1, 1, join_options, command_join},
    {"faults", "[NAME]", "the faults of this build and their parameters", 0, 1, NULL, command_faults},
    {"doctor", "", "is this host fit for an agent? Changes nothing", 0, 0, NULL, command_doctor},
    {"wait-ready", "", "wait until a running fault for this host is in force (at boot)", 0, 0, wait_options,
     command_wait_ready},
    {"completion", "bash", "print a completion script for the shell", 1, 1, NULL, command_completion},
    {},
};

static const struct command *find_command(const char *name)
{
    for (const struct command *command = commands; command->name; command++)
        if (strcmp(command->name, name) == 0)
            return command;
    return NULL;
}

static int run_command(const struct command *command, int argc, char **argv)
{
    struct error error = {.text = "something failed that said nothing of itself"};
    struct call call;
    int r;

    r = call_parse(&call, command, argc, argv, &error);
    if (r > 0)
        return EXIT_MET;
    if (r == 0)
        r = command->run(&call, &error);
    if (r >= 0 && fflush(stdout) != 0)
        r = error_errno(&error, errno, "can't write to standard output");
    if (r >= 0)
        return r;
    fprintf(stderr, "grivet: %s\n", error.text);
    return r == -EKEYREJECTED ? EXIT_REFUSED : r == -EBADRQC ? EXIT_USAGE : EXIT_ERROR;
}

int main(int argc, char **argv)
{
    const struct command *command;

    /* Before the command as well as after it, as people are used to. */
    if (argc > 2 && (strcmp(argv[1], "--config") == 0 || strcmp(argv[1], "-c") == 0)) {
        setenv("GRIVET_CONFIG", argv[2], 1);
        argv += 2;
        argc -= 2;
    }
    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        usage_print(argc > 2 ? find_command(argv[2]) : NULL);
        return argc < 2 ? EXIT_USAGE : EXIT_MET;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("grivet %s\n", GRIVET_VERSION);
        return EXIT_MET;
    }
    command = find_command(argv[1]);
    if (!command) {
        fprintf(stderr, "grivet: unknown command '%s'; see grivet --help\n", argv[1]);
        return EXIT_USAGE;
    }
    return run_command(command, argc - 1, argv + 1);
}
