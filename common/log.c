/* Messages of a daemon in three forms: see log.h. */
#include "log.h"

#include <endian.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include "times.h"

#define LOG_TEXT_MAX 2048

struct log_message {
    enum log_level level;
    const char *text, *id, *run, *order;
};

static void log_to_terminal(const struct log_message *message);

/* Where stderr leads belongs to the whole process; set once by log_open(), before anything else runs. */
static struct {
    const char *program;
    void (*write)(const struct log_message *message);
} log_state = {"grivet", log_to_terminal};

static const char *const level_names[] = {
    [LOG_LEVEL_ERROR] = "error", [LOG_LEVEL_WARNING] = "warning", [LOG_LEVEL_NOTICE] = "notice",
    [LOG_LEVEL_INFO] = "info",   [LOG_LEVEL_DEBUG] = "debug",
};

static void log_to_terminal(const struct log_message *message)
{
    fprintf(stderr, "%s: %s%s%s\n", log_state.program,
            message->level <= LOG_LEVEL_WARNING ? level_names[message->level] : "",
            message->level <= LOG_LEVEL_WARNING ? ": " : "", message->text);
}

static void log_to_json(const struct log_message *message)
{
    char now[TIME_TEXT_MAX], *line;
    json_t *json;

    json = json_pack("{s:s, s:s, s:s, s:s, s:s*, s:s*, s:s*}", "time", time_format(time_now_usec(), now),
                     "level", level_names[message->level], "program", log_state.program, "message",
                     message->text, "message_id", message->id, "run", message->run, "order", message->order);
    line = json ? json_dumps(json, JSON_COMPACT) : NULL;
    /* Better a message in the wrong form than none. */
    if (line)
        fprintf(stderr, "%s\n", line);
    else
        log_to_terminal(message);
    free(line);
    json_decref(json);
}

/* systemd.io/JOURNAL_NATIVE_PROTOCOL, in the few lines of it that a program needs: libsystemd brings five
 * other libraries. A text may have line breaks, and so goes with its length. */
static void log_to_journal(const struct log_message *message)
{
    static const struct sockaddr_un journal = {AF_UNIX, "/run/systemd/journal/socket"};
    _cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    uint64_t length = htole64(strlen(message->text));
    char fields[512];
    int used = snprintf(fields, sizeof(fields), "\nPRIORITY=%d\nSYSLOG_IDENTIFIER=%s\n", message->level,
                        log_state.program);
    struct iovec parts[] = {{"MESSAGE\n", strlen("MESSAGE\n")},
                            {&length, sizeof(length)},
                            {(void *)message->text, strlen(message->text)},
                            {fields, used}};
    const struct msghdr datagram = {
        .msg_name = (void *)&journal, .msg_namelen = sizeof(journal), .msg_iov = parts, .msg_iovlen = 4};

    if (message->id)
        parts[3].iov_len +=
            snprintf(fields + used, sizeof(fields) - used, "MESSAGE_ID=%s\nGRIVET_RUN=%s\nGRIVET_ORDER=%s\n",
                     message->id, message->run, message->order);
    sendmsg(fd, &datagram, MSG_NOSIGNAL | MSG_DONTWAIT); /* a line that is lost is better than a late undo */
}

/* systemd.exec(5): JOURNAL_STREAM names device and inode of the stream; stderr may have been redirected
 * since. */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long device, inode;
    struct stat stat_is;

    return stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
           fstat(STDERR_FILENO, &stat_is) == 0 && stat_is.st_dev == device && stat_is.st_ino == inode;
}

void log_open(const char *program)
{
    log_state.program = program;
    if (stderr_is_journal())
        log_state.write = log_to_journal;
    else
        log_state.write = isatty(STDERR_FILENO) ? log_to_terminal : log_to_json;
}

static void log_vprint(struct log_message message, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));
static void log_vprint(struct log_message message, const char *format, va_list arguments)
{
    char text[LOG_TEXT_MAX];

    vsnprintf(text, sizeof(text), format, arguments);
    message.text = text;
    log_state.write(&message);
}

void log_print(enum log_level level, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_vprint((struct log_message){.level = level}, format, arguments);
    va_end(arguments);
}

void log_fault(const char *id, const char *run, const char *order, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    log_vprint((struct log_message){LOG_LEVEL_NOTICE, NULL, id, run, order}, format, arguments);
    va_end(arguments);
}
