/* Sockets by port, from /proc/net; who has them, from /proc/PID/fdinfo (proc(5)): see listener.h. */
#include "listener.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"

#define TCP_LISTEN 0x0a /* net/tcp_states.h */
#define TCP_CLOSE  0x07 /* what UDP without a peer is in */

/* @comes_first: the table lists those in @state before all others
 * (Documentation/networking/proc_net_tcp.rst), so that the connections of a busy host needn't be read */
static const struct table {
    const char *path;
    unsigned int state;
    bool comes_first;
} tables[] = {
    {"/proc/net/tcp", TCP_LISTEN, true},
    {"/proc/net/tcp6", TCP_LISTEN, true},
    {"/proc/net/udp", TCP_CLOSE, false},
    {"/proc/net/udp6", TCP_CLOSE, false},
};

void listeners_clear(struct listeners *listeners)
{
    free(listeners->inodes);
    *listeners = (struct listeners){0};
}

static int add(struct listeners *listeners, unsigned long inode)
{
    if (listeners->count == listeners->size) {
        size_t size = listeners->size ? 2 * listeners->size : 16;
        unsigned long *grown = reallocarray(listeners->inodes, size, sizeof(*grown));

        if (!grown)
            return -ENOMEM;
        listeners->inodes = grown;
        listeners->size = size;
    }
    listeners->inodes[listeners->count++] = inode;
    return 0;
}

static int read_table(struct listeners *listeners, const struct table *table, uint16_t port)
{
    _cleanup_close_ int fd = open(table->path, O_RDONLY | O_CLOEXEC);
    struct io_lines lines = {.fd = fd};
    unsigned int line_port, state;
    unsigned long inode;
    char *line;
    int r = fd < 0 ? -errno : 0;

    while (r == 0 && (r = io_next_line(&lines, &line)) > 0) {
        r = 0;
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &line_port,
                   &state, &inode) != 3)
            continue; /* the heading */
        if (state != table->state && table->comes_first)
            break;
        if (state == table->state && line_port == port && inode)
            r = add(listeners, inode);
    }
    return r == -ENOENT ? 0 : r; /* a kernel without IPv6 */
}

static bool has_inode(const struct listeners *listeners, unsigned long inode)
{
    for (size_t i = 0; i < listeners->count; i++)
        if (listeners->inodes[i] == inode)
            return true;
    return false;
}

/* What the kernel says of a descriptor's file. The folder of links beside it (fd/) would need
 * CAP_DAC_READ_SEARCH, the key to every file of the host. Return: 1, 0 when it says less, or -errno */
static int read_fdinfo(int folder_fd, const char *name, int *ret_mount, unsigned long *ret_inode)
{
    _cleanup_close_ int fd = openat(folder_fd, name, O_RDONLY | O_CLOEXEC);
    char text[160]; /* the head is the same for all kinds of files */
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (length < 0)
        return -errno;
    text[length] = '\0';
    return sscanf(text, "pos: %*d flags: %*o mnt_id: %d ino: %lu", ret_mount, ret_inode) == 2;
}

/* All sockets are files of one mount that nobody sees; an inode's number alone may be that of another file,
 * too. */
static int find_mount(int *ret, struct error *error)
{
    _cleanup_close_ int one = -1, other = -1;
    unsigned long inode;
    char path[64];
    int pair[2], r;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return error_errno(error, errno, "can't tell who listens: no socket to compare with");
    one = pair[0];
    other = pair[1];
    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", one);
    r = read_fdinfo(AT_FDCWD, path, ret, &inode);
    return r > 0 ? 0 : error_errno(error, r < 0 ? -r : EOPNOTSUPP, "can't tell who listens: %s", path);
}

int listeners_find(struct listeners *ret, uint16_t port, struct error *error)
{
    _cleanup_(listeners_clear) struct listeners found = {0};
    int r = find_mount(&found.mount_id, error);

    if (r < 0)
        return r;
    for (size_t i = 0; i < ARRAY_SIZE(tables) && r == 0; i++) {
        r = read_table(&found, &tables[i], port);
        if (r < 0)
            return error_errno(error, -r, "can't tell who listens: %s", tables[i].path);
    }
    *ret = found;
    found = (struct listeners){0};
    return 0;
}

int listeners_are_of(const struct listeners *listeners, pid_t pid)
{
    struct dirent *entry;
    unsigned long inode;
    char path[64];
    int mount_id, r = 0;
    bool is_found = false;
    DIR *folder;

    if (!listeners->count)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/fdinfo", pid);
    folder = opendir(path);
    if (!folder)
        return -errno;
    for (size_t i = 0; i < LISTENER_FDS_MAX && !is_found && (r = io_next_entry(folder, &entry)) > 0; i++)
        is_found = read_fdinfo(dirfd(folder), entry->d_name, &mount_id, &inode) > 0 &&
                   mount_id == listeners->mount_id && has_inode(listeners, inode);
    closedir(folder);
    return r < 0 ? r : is_found;
}

int listeners_supported(struct error *error)
{
    struct stat status;

    if (stat("/proc/self/fdinfo", &status) < 0 || !(status.st_mode & S_IROTH))
        return error_set(error, EOPNOTSUPP, "listens_on needs a kernel that tells who has a socket (5.14)");
    return 0;
}
