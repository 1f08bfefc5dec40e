/* The devices of a network fault that shapes: see shapers.h. */
#include "shapers.h"

#include <errno.h>
#include <net/if.h>

#include "kernel/link.h"

/* One shaper for each direction, so that a rate holds for each. */
struct way {
    char letter;
    bool is_used;
    const char *lost;
};

static void list_ways(const struct gate_spec *spec, struct way ret[2])
{
    ret[0] = (struct way){'o', spec->shape && spec->is_out, "out_lost"};
    ret[1] = (struct way){'i', spec->shape && spec->is_in, "in_lost"};
}

/* What one order has marked another would shape as well; and a name of this order's that is in use is
 * another's to take away. */
static int check_alone(struct error *error)
{
    struct if_nameindex *list = if_nameindex();
    int r = list ? 0 : error_errno(error, errno, "can't list network devices");

    for (const struct if_nameindex *link = list; r == 0 && link->if_index; link++)
        if (undo_is_link_name(link->if_name, "oi"))
            r = error_set(error, EBUSY,
                          "another network.shape is under way on this host (device %s): one at a time",
                          link->if_name);
    if_freenameindex(list);
    return r;
}

int shapers_open(struct gate_spec *spec, struct fault_run *run, struct error *error)
{
    char name[UNDO_LINK_MAX];
    struct way ways[2];
    int r = spec->shape ? check_alone(error) : 0;

    list_ways(spec, ways);
    for (size_t i = 0; i < ARRAY_SIZE(ways) && r >= 0; i++) {
        if (!ways[i].is_used)
            continue;
        undo_link_name(run->order, ways[i].letter, name);
        r = link_add_undo(run->record, run->record_fd, name, error);
        if (r == 0)
            r = shaper_open(name, spec->shape, error);
        *(i ? &spec->shaper_in : &spec->shaper_out) = r;
    }
    return r < 0 ? r : 0;
}

int shapers_close(const char *order, struct error *error)
{
    char name[UNDO_LINK_MAX];
    int r = link_remove(undo_link_name(order, 'o', name), error);
    int r_in = link_remove(undo_link_name(order, 'i', name), r < 0 ? NULL : error);

    return r < 0 ? r : r_in;
}

int shapers_verify(const struct gate_spec *spec, const char *order, struct error *error)
{
    char name[UNDO_LINK_MAX];
    struct way ways[2];
    int r = 0;

    list_ways(spec, ways);
    for (size_t i = 0; i < ARRAY_SIZE(ways) && r == 0; i++)
        if (ways[i].is_used)
            r = shaper_verify(undo_link_name(order, ways[i].letter, name), spec->shape, error);
    if (r == -FAULT_CHANGED)
        r = -FAULT_HARMS;
    return r;
}

int shapers_are_gone(const char *order, struct error *error)
{
    char name[UNDO_LINK_MAX];
    int r = 0;

    for (const char *letter = "oi"; *letter && r == 0; letter++) {
        r = link_find(undo_link_name(order, *letter, name), error);
        if (r > 0)
            r = error_set(error, EEXIST, "device %s still exists", name);
    }
    return r;
}

int shapers_measure(const struct gate_spec *spec, const char *order, json_t *effect, struct error *error)
{
    struct shaper_counters counters;
    char name[UNDO_LINK_MAX];
    struct way ways[2];
    int r = 0;

    list_ways(spec, ways);
    for (size_t i = 0; i < ARRAY_SIZE(ways) && r == 0; i++) {
        if (!ways[i].is_used)
            continue;
        r = shaper_count(undo_link_name(order, ways[i].letter, name), spec->shape, &counters, error);
        if (r == 0)
            r = json_object_set_new(effect, ways[i].lost, json_integer((json_int_t)counters.lost));
    }
    return r;
}
