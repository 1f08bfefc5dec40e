/*
 * What HAProxy says, taken apart. `show stat` is CSV whose first line names the columns (management
 * guide 9.1); the address column is there only for a statistics socket of level operator or admin. Its log's
 * own times run ahead of the clock, so the time of receipt counts.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "balancer.h"

enum column {
    COLUMN_BACKEND,
    COLUMN_SERVER,
    COLUMN_STATUS,
    COLUMN_CHECK,
    COLUMN_RISE,
    COLUMN_FALL,
    COLUMN_ADDRESS,
    COLUMNS
};

static const char *const column_names[COLUMNS] = {"# pxname",   "svname",     "status", "check_status",
                                                  "check_rise", "check_fall", "addr"};

void haproxy_budget(struct balancer_budget *budget, int64_t interval_msec, int64_t timeout_msec, int64_t rise,
                    int64_t fall)
{
    /* A check that times out keeps the ones that would have started meanwhile from doing so (process_chk() in
     * HAProxy's check.c moves on by whole intervals). */
    int64_t failing_msec = interval_msec * (1 + timeout_msec / interval_msec);

    budget->out_least_msec = (fall - 1) * failing_msec + timeout_msec;
    budget->out_most_msec = budget->out_least_msec + interval_msec;
    budget->in_least_msec = (rise - 1) * interval_msec;
    budget->in_most_msec = rise * interval_msec + timeout_msec;
}

/* The next cell of a line of CSV: what holds a comma stands in quotes (RFC 4180). */
static char *next_cell(char **line)
{
    char *cell = *line, *end;

    if (!cell || *cell != '"')
        return strsep(line, ",");
    end = strstr(cell, "\",");
    *line = end ? end + 2 : NULL;
    return cell;
}

static int find_columns(char *line, int index[COLUMNS], struct error *error)
{
    char *cell;
    int n = 0;

    memset(index, -1, COLUMNS * sizeof(*index));
    while ((cell = next_cell(&line))) {
        for (int i = 0; i < COLUMNS; i++)
            if (!strcmp(cell, column_names[i]))
                index[i] = n;
        n++;
    }
    for (int i = 0; i < COLUMNS; i++)
        if (index[i] < 0)
            return error_set(error, EINVAL, "show stat has no column %s", column_names[i]);
    return 0;
}

/* "10.1.0.11:8080" or "[fd00::1]:8080" without its port. */
static void copy_address(char *ret, size_t size, const char *text)
{
    const char *end = strrchr(text, ':');
    size_t length = end ? (size_t)(end - text) : strlen(text);

    if (length >= 2 && *text == '[' && text[length - 1] == ']') {
        text++;
        length -= 2;
    }
    snprintf(ret, size, "%.*s", (int)length, text);
}

static void take_row(char *line, const int index[COLUMNS], const char *backend,
                     void (*each)(void *, const struct balancer_fact *, int64_t, int64_t), void *context)
{
    const char *cells[COLUMNS] = {"", "", "", "", "", "", ""};
    struct balancer_fact fact = {};
    char *cell;

    for (int n = 0; (cell = next_cell(&line)); n++)
        for (int i = 0; i < COLUMNS; i++)
            if (index[i] == n)
                cells[i] = cell;
    if (strcmp(cells[COLUMN_BACKEND], backend) || !strcmp(cells[COLUMN_SERVER], "BACKEND") ||
        !strcmp(cells[COLUMN_SERVER], "FRONTEND") || !*cells[COLUMN_SERVER])
        return;
    snprintf(fact.backend, sizeof(fact.backend), "%s", backend);
    snprintf(fact.server, sizeof(fact.server), "%s", cells[COLUMN_SERVER]);
    snprintf(fact.text, sizeof(fact.text), "show stat: %.80s", cells[COLUMN_CHECK]);
    /* "UP 1/2" while failing and "DOWN 1/2" while rising are still UP and DOWN */
    snprintf(fact.state, sizeof(fact.state), "%.*s", (int)strcspn(cells[COLUMN_STATUS], " "),
             cells[COLUMN_STATUS]);
    copy_address(fact.address, sizeof(fact.address), cells[COLUMN_ADDRESS]);
    each(context, &fact, strtol(cells[COLUMN_RISE], NULL, 10), strtol(cells[COLUMN_FALL], NULL, 10));
}

int haproxy_parse_stat(char *text, const char *backend,
                       void (*each)(void *context, const struct balancer_fact *fact, int64_t rise,
                                    int64_t fall),
                       void *context, struct error *error)
{
    char *line = strsep(&text, "\n");
    int index[COLUMNS], r;

    r = line ? find_columns(line, index, error) : error_set(error, EINVAL, "show stat is empty");
    if (r < 0)
        return r;
    while ((line = strsep(&text, "\n")))
        take_row(line, index, backend, each, context);
    return 0;
}

/* What follows counts sessions and queues of that moment. */
static size_t first_sentence(const char *text)
{
    const char *stop = strstr(text, ". ");
    size_t length = strcspn(text, "\n");

    return stop && (size_t)(stop - text) < length ? (size_t)(stop - text) : length;
}

bool haproxy_parse_log(const char *line, const char *backend, struct balancer_fact *ret)
{
    static const char *const markers[] = {"Server ", "Health check for server "};
    const char *at = NULL, *slash, *end;
    size_t length;

    memset(ret, 0, sizeof(*ret));
    for (size_t i = 0; !at && i < ARRAY_SIZE(markers); i++) {
        at = strstr(line, markers[i]);
        at = at ? at + strlen(markers[i]) : NULL;
    }
    length = strlen(backend);
    if (!at || strncmp(at, backend, length) || at[length] != '/')
        return false;
    slash = at + length;
    end = slash + 1 + strcspn(slash + 1, " ,\n");
    snprintf(ret->backend, sizeof(ret->backend), "%s", backend);
    snprintf(ret->server, sizeof(ret->server), "%.*s", (int)(end - slash - 1), slash + 1);
    snprintf(ret->text, sizeof(ret->text), "%.*s", (int)first_sentence(at), at);
    if (!strncmp(end, " is ", 4))
        snprintf(ret->state, sizeof(ret->state), "%.*s", (int)strcspn(end + 4, " ,.\n"), end + 4);
    else
        snprintf(ret->state, sizeof(ret->state), "check");
    return true;
}
