/* Logging into a pipe: one JSON object a line, whatever the message holds. */
#include "unit.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>

#include "common/log.h"

/* What @write prints to stderr, as the JSON of its only line. */
static json_t *capture(void (*write)(void))
{
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    char text[4096];
    ssize_t length;

    ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
    dup2(pipe_fds[1], STDERR_FILENO);
    log_open("tester");
    write();
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(pipe_fds[1]);
    length = read(pipe_fds[0], text, sizeof(text) - 1);
    close(pipe_fds[0]);
    ck_assert_int_gt(length, 0);
    text[length] = '\0';
    ck_assert_ptr_eq(strchr(text, '\n'), text + length - 1);
    return json_loads(text, 0, NULL);
}

static void assert_field(const json_t *json, const char *key, const char *value)
{
    ck_assert_pstr_eq(json_string_value(json_object_get(json, key)), value);
}

static void write_message(void)
{
    log_warning("two\nlines, \"%d\"", 7);
}

static void write_fault(void)
{
    log_fault("0123456789abcdef0123456789abcdef", "r", "o", "begins");
}

START_TEST(json_lines)
{
    json_t *json = capture(write_message);

    assert_field(json, "level", "warning");
    assert_field(json, "program", "tester");
    assert_field(json, "message", "two\nlines, \"7\"");
    assert_field(json, "run", NULL);
    json_decref(json);
    json = capture(write_fault);
    assert_field(json, "message_id", "0123456789abcdef0123456789abcdef");
    assert_field(json, "run", "r");
    assert_field(json, "order", "o");
    json_decref(json);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {json_lines, NULL};

    return unit_run("log", tests);
}
