/* See unfinished.h. */
#include "unfinished.h"

#include <stdio.h>
#include <string.h>

static void remove_at(struct unfinished_orders *all, size_t index)
{
    all->count--;
    memmove(&all->orders[index], &all->orders[index + 1], (all->count - index) * sizeof(*all->orders));
}

static void copy(char *ret, size_t size, const char *text)
{
    snprintf(ret, size, "%s", text ? text : "");
}

static void add(struct unfinished_orders *all, const char *order, const struct node *event,
                const struct node *body)
{
    const char *deadline = node_string(body, "deadline");
    struct unfinished *new;

    if (all->count == ARRAY_SIZE(all->orders))
        remove_at(all, 0);
    new = &all->orders[all->count++];
    *new = (struct unfinished){0};
    copy(new->order, sizeof(new->order), order);
    copy(new->run, sizeof(new->run), node_string(event, "run"));
    copy(new->step, sizeof(new->step), node_string(event, "step"));
    copy(new->fault, sizeof(new->fault), node_string(body, "fault"));
    if (deadline)
        time_parse(deadline, &new->deadline_real_usec);
}

static void end(struct unfinished_orders *all, const char *order)
{
    for (size_t i = 0; i < all->count; i++)
        if (!strcmp(all->orders[i].order, order)) {
            remove_at(all, i);
            return;
        }
}

void unfinished_read(void *context, const struct node *event)
{
    static const char *const ends[] = {"fault.reverted", "fault.ended", "fault.failed"};
    const char *kind = node_string(event, "kind"), *order = node_string(event, "order");

    if (!kind || !order)
        return;
    if (!strcmp(kind, "order.accepted"))
        add(context, order, event, node_get(event, "body"));
    for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
        if (!strcmp(kind, ends[i]))
            end(context, order);
}
