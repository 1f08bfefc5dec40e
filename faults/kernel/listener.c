/* Sockets by port, from /proc/net (proc(5)): see listener.h. */
#include "listener.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

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

static int read_table(struct listeners *listeners, const struct table *table, FILE *file, uint16_t port)
{
    _cleanup_free_ char *line = NULL;
    unsigned int line_port, state;
    unsigned long inode;
    size_t size = 0;
    int r = 0;

    while (r == 0 && getline(&line, &size, file) > 0) {
        if (sscanf(line, " %*u: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu", &line_port,
                   &state, &inode) != 3)
            continue; /* the heading */
        if (state != table->state && table->comes_first)
            break;
        if (state == table->state && line_port == port && inode)
            r = add(listeners, inode);
    }
    return r;
}

int listeners_find(struct listeners *ret, uint16_t port, struct error *error)
{
    _cleanup_(listeners_clear) struct listeners found = {0};

    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        FILE *file = fopen(tables[i].path, "re");
        int r = file ? read_table(&found, &tables[i], file, port) : -errno;

        if (file)
            fclose(file);
        if (r < 0 && r != -ENOENT) /* a kernel without IPv6 */
            return error_errno(error, -r, "can't tell who listens: %s", tables[i].path);
    }
    *ret = found;
    found = (struct listeners){0};
    return 0;
}

static bool has_inode(const struct listeners *listeners, unsigned long inode)
{
    for (size_t i = 0; i < listeners->count; i++)
        if (listeners->inodes[i] == inode)
            return true;
    return false;
}

int listeners_are_of(const struct listeners *listeners, pid_t pid)
{
    char path[64], text[64];
    struct dirent *entry;
    unsigned long inode;
    ssize_t length;
    DIR *folder;
    int r = 0;

    if (!listeners->count)
        return 0;
    snprintf(path, sizeof(path), "/proc/%d/fd", pid);
    folder = opendir(path);
    if (!folder)
        return -errno;
    while (r == 0 && (entry = readdir(folder))) {
        length = readlinkat(dirfd(folder), entry->d_name, text, sizeof(text) - 1);
        text[length < 0 ? 0 : length] = '\0';
        r = sscanf(text, "socket:[%lu]", &inode) == 1 && has_inode(listeners, inode);
    }
    closedir(folder);
    return r;
}
