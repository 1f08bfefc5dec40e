/* Questions to the person at the terminal. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "cli.h"

bool terminal_is_interactive(void)
{
    return isatty(STDIN_FILENO) && isatty(STDERR_FILENO);
}

int terminal_ask(const char *question, char *ret, size_t size, struct error *error)
{
    if (!terminal_is_interactive())
        return error_set(error, ENOTTY, "there is no terminal to ask on: %s", question);
    fprintf(stderr, "%s ", question);
    if (!fgets(ret, size, stdin))
        return error_set(error, ECANCELED, "no answer");
    ret[strcspn(ret, "\n")] = '\0';
    return 0;
}

int terminal_ask_passphrase(const char *question, char *ret, size_t size, struct error *error)
{
    struct termios before, quiet;
    int r;

    if (tcgetattr(STDIN_FILENO, &before) < 0)
        return error_set(error, ENOTTY,
                         "there is no terminal to ask for a passphrase; see --passphrase-file");
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    r = terminal_ask(question, ret, size, error);
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
    fprintf(stderr, "\n");
    return r;
}
