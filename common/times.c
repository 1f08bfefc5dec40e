/* Clocks, their text, and ids that sort by time: see times.h. */
#include "times.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock-hook.h"

int64_t time_now_usec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * USEC_PER_SEC + now.tv_nsec / NSEC_PER_USEC + clock_hook_offset_usec();
}

int64_t time_boot_nsec(void)
{
    struct timespec now;

    clock_gettime(CLOCK_BOOTTIME, &now);
    return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

const char *time_boot_id(char ret[BOOT_ID_MAX])
{
    const char *replaced = clock_hook_boot_id();
    _cleanup_close_ int fd = -1;
    ssize_t length;

    if (replaced) {
        snprintf(ret, BOOT_ID_MAX, "%s", replaced);
        return ret;
    }
    /* Procfs answers this small file in one read. */
    fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    length = fd < 0 ? 0 : read(fd, ret, BOOT_ID_MAX - 1);
    ret[length < 0 ? 0 : length] = '\0';
    return ret;
}

int time_is_synchronised(void)
{
    struct timex timex = {0};
    int state = adjtimex(&timex);

    if (state < 0)
        return -errno;
    return state != TIME_ERROR && !(timex.status & STA_UNSYNC);
}

const char *time_format(int64_t usec, char ret[TIME_TEXT_MAX])
{
    int64_t fraction = usec % USEC_PER_SEC;
    time_t seconds = usec / USEC_PER_SEC;
    char date[24];
    struct tm tm;

    if (fraction < 0) {
        fraction += USEC_PER_SEC;
        seconds--;
    }
    gmtime_r(&seconds, &tm);
    strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(ret, TIME_TEXT_MAX, "%.19s.%06uZ", date, (unsigned int)fraction % 1000000);
    return ret;
}

int time_parse(const char *text, int64_t *ret_usec)
{
    char again[TIME_TEXT_MAX];
    struct tm tm = {0};
    int64_t usec = 0, unit = USEC_PER_SEC;
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (!rest)
        return -EINVAL;
    usec = timegm(&tm) * USEC_PER_SEC;
    /* Both calls are lenient, about signs, blanks and 31 February: only the one right spelling comes back. */
    if (strncmp(time_format(usec, again), text, rest - text) != 0 || again[rest - text] != '.')
        return -EINVAL;
    if (*rest == '.') {
        if (!isdigit((unsigned char)*++rest))
            return -EINVAL;
        for (; isdigit((unsigned char)*rest) && unit > 1; rest++)
            usec += (*rest - '0') * (unit /= 10);
    }
    if (strcmp(rest, "Z") != 0)
        return -EINVAL;
    *ret_usec = usec;
    return 0;
}

/* The 12 bits after the version hold the fraction of the millisecond (RFC 9562 section 6.2, method 3). */
const char *uuid_new(char ret[UUID_TEXT_MAX])
{
    int64_t now = time_now_usec();
    uint64_t msec = now / USEC_PER_MSEC, fraction = now % USEC_PER_MSEC * 4096 / USEC_PER_MSEC;
    uint8_t tail[8];

    while (getrandom(tail, sizeof(tail), 0) != sizeof(tail))
        ;
    tail[0] = 0x80 | (tail[0] & 0x3f);
    snprintf(ret, UUID_TEXT_MAX, "%08x-%04x-7%03x-%02x%02x-%02x%02x%02x%02x%02x%02x",
             (unsigned int)(msec >> 16 & 0xffffffff), (unsigned int)(msec & 0xffff),
             (unsigned int)fraction & 0xfff, tail[0], tail[1], tail[2], tail[3], tail[4], tail[5], tail[6],
             tail[7]);
    return ret;
}

bool uuid_is_valid(const char *text)
{
    const char *shape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

    for (; *shape; shape++, text++)
        if (*shape == 'x' ? !*text || !strchr("0123456789abcdef", *text) : *text != *shape)
            return false;
    return !*text;
}
