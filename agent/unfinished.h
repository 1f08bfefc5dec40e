/* Which orders were accepted and never ended, by what the journal says at the start. */
#pragma once

#include "journal.h"
#include "supervisor.h"

/** struct unfinished_orders - @orders: the last ones, should there be more than fit */
struct unfinished_orders {
    size_t count;
    struct unfinished orders[2 * SUPERVISOR_FAULTS_MAX];
};

/** unfinished_read() - a journal_reader's function; @context: struct unfinished_orders */
void unfinished_read(void *context, const struct node *event);
