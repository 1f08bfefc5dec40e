/* See shaper.h. netem at the root of the device where there is something to delay or lose, tbf below it (or
 * at the root) where there is a rate. Undone by removing the device. */
#include "shaper.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netlink/errno.h>
#include <netlink/route/link.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/netem.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/tc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "faults/fault.h"
#include "link.h"

#define QUEUE_PACKETS  20000 /* of netem; its default of 1000 would lose packets of a fast, long line */
#define BURST_LEAST    3100  /* two full frames, or tbf would pass nothing (tc-tbf(8)) */
#define BURSTS_PER_SEC 100
#define QUEUES_PER_SEC 4 /* what waits at most: a quarter of a second's worth */
#define QUEUE_LEAST    30000
#define NETEM_HANDLE   TC_HANDLE(1, 0)
#define TBF_HANDLE     TC_HANDLE(0x10, 0)
#define MODULES_MAX    (4 * 1024 * 1024)

static void free_socket(struct nl_sock **socket)
{
    nl_socket_free(*socket);
}

static void put_qdisc(struct rtnl_qdisc **qdisc)
{
    rtnl_qdisc_put(*qdisc);
}

static void free_cache(struct nl_cache **cache)
{
    nl_cache_free(*cache);
}

static bool has_netem(const struct shaper_spec *spec)
{
    return spec->delay_usec || spec->jitter_usec || spec->loss_ppm || spec->duplicate_ppm ||
           spec->corrupt_ppm || spec->reorder_ppm;
}

/* A probability as netem wants it: a share of 2^32 - 1 (struct tc_netem_qopt in linux/pkt_sched.h). */
static int to_netem(uint32_t ppm)
{
    return (int)(uint32_t)((uint64_t)ppm * UINT32_MAX / 1000000);
}

/* netem's numbers, for setting and for comparing what is read back. */
static const struct {
    size_t offset;
    bool is_probability;
    void (*set)(struct rtnl_qdisc *, int);
    int (*get)(struct rtnl_qdisc *);
} numbers[] = {
    {offsetof(struct shaper_spec, delay_usec), false, rtnl_netem_set_delay, rtnl_netem_get_delay},
    {offsetof(struct shaper_spec, jitter_usec), false, rtnl_netem_set_jitter, rtnl_netem_get_jitter},
    {offsetof(struct shaper_spec, loss_ppm), true, rtnl_netem_set_loss, rtnl_netem_get_loss},
    {offsetof(struct shaper_spec, duplicate_ppm), true, rtnl_netem_set_duplicate, rtnl_netem_get_duplicate},
    {offsetof(struct shaper_spec, corrupt_ppm), true, rtnl_netem_set_corruption_probability,
     rtnl_netem_get_corruption_probability},
    {offsetof(struct shaper_spec, reorder_ppm), true, rtnl_netem_set_reorder_probability,
     rtnl_netem_get_reorder_probability},
};

static int number_of(const struct shaper_spec *spec, size_t i)
{
    uint32_t value;

    memcpy(&value, (const char *)spec + numbers[i].offset, sizeof(value));
    return numbers[i].is_probability ? to_netem(value) : (int)value;
}

static struct rtnl_qdisc *make_qdisc(const char *kind, int index, uint32_t parent, uint32_t handle)
{
    struct rtnl_qdisc *qdisc = rtnl_qdisc_alloc();

    if (!qdisc)
        return NULL;
    rtnl_tc_set_ifindex(TC_CAST(qdisc), index);
    rtnl_tc_set_parent(TC_CAST(qdisc), parent);
    rtnl_tc_set_handle(TC_CAST(qdisc), handle);
    if (rtnl_tc_set_kind(TC_CAST(qdisc), kind) == 0)
        return qdisc;
    rtnl_qdisc_put(qdisc);
    return NULL;
}

/* A discipline whose module is missing is "object not found" (rtnl_qdisc_add() returns -NLE_OBJ_NOTFOUND). */
static int add_qdisc(struct nl_sock *socket, struct rtnl_qdisc *qdisc, const char *kind, struct error *error)
{
    int r = rtnl_qdisc_add(socket, qdisc, NLM_F_CREATE | NLM_F_EXCL);

    if (r == -NLE_OBJ_NOTFOUND)
        return error_set(error, EOPNOTSUPP, "this kernel has no %s (module sch_%s)", kind, kind);
    return r < 0 ? error_set(error, EIO, "can't add %s: %s", kind, nl_geterror(r)) : 0;
}

static int add_netem(struct nl_sock *socket, int index, const struct shaper_spec *spec, struct error *error)
{
    _cleanup_(put_qdisc) struct rtnl_qdisc *qdisc = make_qdisc("netem", index, TC_H_ROOT, NETEM_HANDLE);

    if (!qdisc)
        return error_oom(error);
    rtnl_netem_set_limit(qdisc, QUEUE_PACKETS);
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
        numbers[i].set(qdisc, number_of(spec, i));
    return add_qdisc(socket, qdisc, "netem", error);
}

static int at_least(uint64_t value, int least)
{
    return value > INT32_MAX ? INT32_MAX : (int)value > least ? (int)value : least;
}

static int add_tbf(struct nl_sock *socket, int index, uint32_t parent, const struct shaper_spec *spec,
                   struct error *error)
{
    _cleanup_(put_qdisc) struct rtnl_qdisc *qdisc = make_qdisc("tbf", index, parent, TBF_HANDLE);
    uint64_t rate = spec->rate_bytes_per_sec;

    if (!qdisc)
        return error_oom(error);
    rtnl_qdisc_tbf_set_rate(qdisc, (int)rate, at_least(rate / BURSTS_PER_SEC, BURST_LEAST), 0);
    rtnl_qdisc_tbf_set_limit(qdisc, at_least(rate / QUEUES_PER_SEC, QUEUE_LEAST));
    return add_qdisc(socket, qdisc, "tbf", error);
}

static int add_disciplines(int index, const struct shaper_spec *spec, struct error *error)
{
    _cleanup_(free_socket) struct nl_sock *socket = nl_socket_alloc();
    int r;

    if (!socket || nl_connect(socket, NETLINK_ROUTE) < 0)
        return error_set(error, EIO, "no route socket");
    r = has_netem(spec) ? add_netem(socket, index, spec, error) : 0;
    if (r == 0 && spec->rate_bytes_per_sec)
        r = add_tbf(socket, index, has_netem(spec) ? NETEM_HANDLE | 1 : TC_H_ROOT, spec, error);
    return r;
}

int shaper_open(const char *name, const struct shaper_spec *spec, struct error *error)
{
    int index = link_add_ifb(name, error);
    int r = index < 0 ? index : add_disciplines(index, spec, error);

    if (r < 0 && index > 0)
        link_remove(name, NULL);
    return r < 0 ? r : index;
}

static void put_link(struct rtnl_link **link)
{
    rtnl_link_put(*link);
}

/* What is sent to a device that is down is lost, whatever its disciplines. Return: its index, or -errno */
static int find_device(struct nl_sock *socket, const char *name, struct error *error)
{
    _cleanup_(put_link) struct rtnl_link *link = NULL;
    int r;

    if (!socket || nl_connect(socket, NETLINK_ROUTE) < 0)
        return error_set(error, EIO, "no route socket");
    r = rtnl_link_get_kernel(socket, 0, name, &link);
    if (r == -NLE_NODEV || r == -NLE_OBJ_NOTFOUND)
        return error_set(error, FAULT_CHANGED, "the device %s is gone", name);
    if (r < 0)
        return error_set(error, EIO, "can't look for the device %s: %s", name, nl_geterror(r));
    if (!(rtnl_link_get_flags(link) & IFF_UP))
        return error_set(error, FAULT_CHANGED, "the device %s is down", name);
    return rtnl_link_get_ifindex(link);
}

/* @ret: the discipline at @parent of the device @name, to be put by the caller */
static int read_qdisc(const char *name, uint32_t parent, const char *kind, struct rtnl_qdisc **ret,
                      struct error *error)
{
    _cleanup_(free_socket) struct nl_sock *socket = nl_socket_alloc();
    _cleanup_(free_cache) struct nl_cache *cache = NULL;
    _cleanup_(put_qdisc) struct rtnl_qdisc *qdisc = NULL;
    int index = find_device(socket, name, error);

    if (index < 0)
        return index;
    if (rtnl_qdisc_alloc_cache(socket, &cache) < 0)
        return error_set(error, EIO, "can't list queueing disciplines");
    qdisc = rtnl_qdisc_get_by_parent(cache, index, parent);
    if (!qdisc || strcmp(rtnl_tc_get_kind(TC_CAST(qdisc)), kind) != 0)
        return error_set(error, FAULT_CHANGED, "the device %s has no %s any more", name, kind);
    *ret = TAKE_PTR(qdisc);
    return 0;
}

static int verify_netem(const char *name, const struct shaper_spec *spec, struct error *error)
{
    _cleanup_(put_qdisc) struct rtnl_qdisc *qdisc = NULL;
    int r = read_qdisc(name, TC_H_ROOT, "netem", &qdisc, error);

    for (size_t i = 0; r == 0 && i < ARRAY_SIZE(numbers); i++)
        if (number_of(spec, i) && numbers[i].get(qdisc) != number_of(spec, i))
            r = error_set(error, FAULT_CHANGED, "netem of %s has other values than were set", name);
    return r;
}

static int verify_tbf(const char *name, const struct shaper_spec *spec, struct error *error)
{
    uint32_t parent = has_netem(spec) ? NETEM_HANDLE | 1 : TC_H_ROOT;
    _cleanup_(put_qdisc) struct rtnl_qdisc *qdisc = NULL;
    int r = read_qdisc(name, parent, "tbf", &qdisc, error);

    if (r == 0 && rtnl_qdisc_tbf_get_rate(qdisc) != (int)spec->rate_bytes_per_sec)
        r = error_set(error, FAULT_CHANGED, "tbf of %s has another rate than was set", name);
    return r;
}

int shaper_verify(const char *name, const struct shaper_spec *spec, struct error *error)
{
    int r = has_netem(spec) ? verify_netem(name, spec, error) : 0;

    return r == 0 && spec->rate_bytes_per_sec ? verify_tbf(name, spec, error) : r;
}

int shaper_count(const char *name, const struct shaper_spec *spec, struct shaper_counters *ret,
                 struct error *error)
{
    _cleanup_(put_qdisc) struct rtnl_qdisc *qdisc = NULL;
    int r = read_qdisc(name, TC_H_ROOT, has_netem(spec) ? "netem" : "tbf", &qdisc, error);

    if (r < 0)
        return r;
    *ret = (struct shaper_counters){
        .packets = rtnl_tc_get_stat(TC_CAST(qdisc), RTNL_TC_PACKETS),
        .lost = rtnl_tc_get_stat(TC_CAST(qdisc), RTNL_TC_DROPS),
    };
    return 0;
}

/* ---- what the kernel has: loaded, built in, or in the folder of modules */

static bool file_has(const char *path, const char *word)
{
    _cleanup_free_ char *text = NULL;

    return io_read_file(path, MODULES_MAX, &text, NULL, NULL) == 0 && strstr(text, word);
}

struct part {
    const char *module, *symbol;
    bool is_missing;
};

/* Of a kernel without modules. In one pass, for the kernel takes 0.1 s to write all of it. */
static void find_symbols(struct part *parts, size_t count)
{
    _cleanup_close_ int fd = open("/proc/kallsyms", O_RDONLY | O_CLOEXEC);
    struct io_lines lines = {.fd = fd};
    char *line, *space;

    while (fd >= 0 && io_next_line(&lines, &line) > 0)
        for (size_t i = 0; (space = strrchr(line, ' ')) && i < count; i++)
            parts[i].is_missing &= strcmp(space + 1, parts[i].symbol) != 0;
}

/* systemd's ProtectKernelModules= hides the folder of modules from us, but not from the kernel, which loads
 * what is needed: then the benefit of the doubt is given, and making the shaper tells. */
static bool has_module(const char *module)
{
    char path[160], file[40];
    struct utsname kernel;

    snprintf(path, sizeof(path), "/sys/module/%s", module);
    if (access(path, F_OK) == 0)
        return true;
    uname(&kernel);
    snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", kernel.release);
    if (access(path, R_OK) < 0 && access("/proc/modules", F_OK) == 0)
        return true;
    snprintf(file, sizeof(file), "/%s.ko", module);
    if (file_has(path, file))
        return true;
    snprintf(path, sizeof(path), "/lib/modules/%s/modules.builtin", kernel.release);
    return file_has(path, file);
}

int shaper_supported(const struct shaper_spec *spec, struct error *error)
{
    struct part parts[] = {
        {"ifb", "ifb_xmit", true},
        {"sch_netem", "netem_enqueue", has_netem(spec)},
        {"sch_tbf", "tbf_enqueue", spec->rate_bytes_per_sec > 0},
    };
    bool is_missing = false;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        is_missing |= parts[i].is_missing = parts[i].is_missing && !has_module(parts[i].module);
    if (is_missing)
        find_symbols(parts, ARRAY_SIZE(parts));
    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (parts[i].is_missing)
            return error_set(error, EOPNOTSUPP, "this kernel has no module %s", parts[i].module);
    return 0;
}
