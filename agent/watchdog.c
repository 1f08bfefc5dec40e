/* See watchdog.h. */
#include "watchdog.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/times.h"

#define TELLS_PER_LIMIT 3

static int64_t number_of(const char *variable)
{
    const char *text = getenv(variable);

    return text ? strtoll(text, NULL, 10) : 0;
}

int watchdog_open(struct watchdog *ret, struct error *error)
{
    const char *path = getenv("NOTIFY_SOCKET");
    int64_t limit_usec = number_of("WATCHDOG_USEC"), pid = number_of("WATCHDOG_PID");

    *ret = (struct watchdog){.fd = -1, .period_msec = -1, .address.sun_family = AF_UNIX};
    if (!path || limit_usec <= 0 || (pid && pid != getpid()))
        return 0;
    if (strlen(path) >= sizeof(ret->address.sun_path))
        return error_set(error, EINVAL, "NOTIFY_SOCKET: too long");
    memcpy(ret->address.sun_path, path, strlen(path));
    ret->address_length = offsetof(struct sockaddr_un, sun_path) + strlen(path);
    if (*path == '@')
        ret->address.sun_path[0] = '\0'; /* an abstract one (unix(7)) */
    ret->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (ret->fd < 0)
        return error_errno(error, errno, "no socket towards the service manager");
    ret->period_msec = (int)(limit_usec / TELLS_PER_LIMIT / 1000);
    return 0;
}

void watchdog_tell(const struct watchdog *watchdog)
{
    static const char words[] = "WATCHDOG=1";

    if (watchdog->fd >= 0)
        sendto(watchdog->fd, words, sizeof(words) - 1, MSG_DONTWAIT | MSG_NOSIGNAL,
               (const struct sockaddr *)&watchdog->address, watchdog->address_length);
}

void watchdog_close(struct watchdog *watchdog)
{
    cleanup_close(&watchdog->fd);
}
