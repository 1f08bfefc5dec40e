/* See passwd.h. */
#include "passwd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "io.h"

#define PASSWD_PATH "/etc/passwd"

/* "name:password:user:group:..." of @name */
static bool read_line(const char *line, const char *name, uid_t *ret_user, gid_t *ret_group)
{
    size_t length = strlen(name);
    const char *numbers;

    if (strncmp(line, name, length) != 0 || line[length] != ':')
        return false;
    numbers = strchr(line + length + 1, ':');
    return numbers && sscanf(numbers, ":%u:%u:", ret_user, ret_group) == 2;
}

int passwd_find(const char *name, uid_t *ret_user, gid_t *ret_group, struct error *error)
{
    _cleanup_close_ int fd = open(PASSWD_PATH, O_RDONLY | O_CLOEXEC);
    struct io_lines lines = {.fd = fd};
    int r = fd < 0 ? -errno : 1;
    uid_t user;
    gid_t group;
    char *line;

    while (r > 0 && (r = io_next_line(&lines, &line)) > 0) {
        if (!read_line(line, name, &user, &group))
            continue;
        *ret_user = user;
        *ret_group = group;
        return 0;
    }
    if (r < 0)
        return error_errno(error, -r, "can't read " PASSWD_PATH);
    return error_set(error, ESRCH, PASSWD_PATH " has no '%s', and no other source of names is asked", name);
}
