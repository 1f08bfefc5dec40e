/* Runs in the store: a row each. What happened to them are events, see run-actions.c. */
#include <stdio.h>
#include <string.h>

#include "plan.h"
#include "runs.h"

static const char schema[] = "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, mandate TEXT NOT NULL,"
                             " is_started INTEGER NOT NULL DEFAULT 0, is_over INTEGER NOT NULL DEFAULT 0,"
                             " status TEXT, lines TEXT, report TEXT)"; /* the last three when it is over */

/* Of two envelopes around the same payload the longer one carries more signatures: a draft never replaces
 * what was signed. */
int runs_store_mandate(struct coordinator *coordinator, const struct envelope *envelope, struct error *error)
{
    _cleanup_free_ char *text = envelope_format(envelope);
    char hash[HASH_TEXT_MAX];
    int r;

    if (!text)
        return error_oom(error);
    hash_text(envelope->payload, envelope->payload_length, hash);
    r = store_write(
        coordinator->store, error,
        "INSERT INTO mandates (hash, envelope, received) VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE"
        " SET envelope = excluded.envelope WHERE length(excluded.envelope) > length(mandates.envelope)",
        "ssi", hash, text, time_now_usec());
    return r < 0 ? r : 0;
}

int runs_store_insert(const struct run *run, struct error *error)
{
    int r = store_write(run->coordinator->store, error, "INSERT INTO runs (id, mandate) VALUES (?, ?)", "ss",
                        run->id, run->mandate->hash);

    return r < 0 ? r : 0;
}

/* While rows are read nothing is written: taking an event never does. */
struct loading {
    struct runs *runs;
    struct run *run;
    struct error error;
};

static int load_event(void *context, const struct store_row *row)
{
    struct loading *loading = context;

    loading->run->n_events = store_integer(row, 1) ?: loading->run->n_events;
    return run_take_line(loading->run, store_text(row, 0), &loading->error);
}

static int load_run(void *context, const struct store_row *row)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    struct loading *loading = context;
    const char *text = store_text(row, 1);
    struct mandate *mandate;
    struct run *run;
    int r;

    r = envelope_parse(&envelope, "stored mandate", ENVELOPE_MANDATE, text, strlen(text), &loading->error);
    if (r == 0)
        r = mandate_parse(&mandate, envelope->payload, envelope->payload_length, &loading->error);
    if (r == 0)
        r = run_new(&run, store_text(row, 0), mandate, time_now_usec() + RUN_RETURN_USEC,
                    loading->runs->coordinator, &loading->error);
    return r < 0 ? r : runs_add(loading->runs, run, &loading->error);
}

/* Hosts' events that name no run (a halt, a boot) count from the run's own first one on. */
static const char run_events[] =
    "SELECT line, CASE host WHEN ?1 THEN sequence END FROM events WHERE rowid >="
    " (SELECT min(rowid) FROM events WHERE host = ?1) AND (run = ?2 OR run IS NULL) ORDER BY rowid";

int runs_store_load(struct runs *runs, struct error *error)
{
    struct loading loading = {.runs = runs};
    char place[UUID_TEXT_MAX + 4];
    int r = store_write(runs->coordinator->store, error, schema, "");

    if (r < 0)
        return r;
    r = store_query(runs->coordinator->store, load_run, &loading, &loading.error,
                    "SELECT r.id, m.envelope FROM runs r JOIN mandates m ON m.hash = r.mandate"
                    " WHERE NOT r.is_over ORDER BY r.id",
                    "");
    for (size_t i = 0; i < runs->count && r == 0; i++) {
        loading.run = runs->items[i];
        runs_fill_hosts(loading.run);
        snprintf(place, sizeof(place), "run/%s", loading.run->id);
        r = store_query(runs->coordinator->store, load_event, &loading, &loading.error, run_events, "ss",
                        place, loading.run->id);
    }
    if (r < 0)
        *error = loading.error;
    return r;
}
