/* Runs in the store: a row each. What happened to them are events, see run-actions.c. */
#include <stdio.h>
#include <string.h>

#include "runs.h"

static bool has_signature(const struct envelope *envelope, const uint8_t *signature)
{
    for (size_t i = 0; i < envelope->n_signatures; i++)
        if (!memcmp(envelope->signatures[i], signature, KEY_SIGNATURE_BYTES))
            return true;
    return false;
}

/* What is already known of a mandate, as far as there is room: a draft never replaces what was signed, and
 * neither does a file that lacks somebody's signature, or has one twice. */
static int add_known_signatures(struct coordinator *coordinator, const char *hash, struct envelope *envelope,
                                struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row =
        store_select(coordinator->store, error, "SELECT envelope FROM mandates WHERE hash = ?", "s", hash);
    _cleanup_(envelope_freep) struct envelope *known = NULL;
    int r = store_next(row, error);

    if (r > 0)
        r = envelope_parse(&known, "mandate", ENVELOPE_MANDATE, store_text(row, 0),
                           strlen(store_text(row, 0)), error);
    for (size_t i = 0; known && i < known->n_signatures; i++)
        if (!has_signature(envelope, known->signatures[i]) &&
            envelope->n_signatures < ENVELOPE_SIGNATURES_MAX)
            memcpy(envelope->signatures[envelope->n_signatures++], known->signatures[i], KEY_SIGNATURE_BYTES);
    return r < 0 ? r : 0;
}

int runs_store_mandate(struct coordinator *coordinator, struct envelope *envelope, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    char hash[HASH_TEXT_MAX];
    int r;

    hash_text(envelope->payload, envelope->payload_length, hash);
    r = add_known_signatures(coordinator, hash, envelope, error);
    if (r < 0)
        return r;
    text = envelope_format(envelope);
    if (!text)
        return error_oom(error);
    return store_write(
        coordinator->store, error,
        "INSERT INTO mandates (hash, envelope, received) VALUES (?, ?, ?) ON CONFLICT (hash) DO UPDATE"
        " SET envelope = excluded.envelope",
        "ssi", hash, text, time_now_usec());
}

int runs_store_insert(const struct run *run, struct error *error)
{
    return store_write(run->coordinator->store, error, "INSERT INTO runs (id, mandate) VALUES (?, ?)", "ss",
                       run->id, run->mandate->hash);
}

/* A host's line as it came, or (without @order and clock) what the run recorded. */
static void load_event(struct run *run, const struct store_row *row)
{
    json_t *line = json_loads(store_text(row, 4), 0, NULL);

    if (strncmp(store_text(row, 0), "run/", 4)) {
        run_take_event(run, &(struct host_event){
                                .host = store_text(row, 0),
                                .kind = store_text(row, 1),
                                .order = json_string_value(json_object_get(line, "order")),
                                .at_usec = store_integer(row, 2),
                                .body = json_object_get(line, "body"),
                                .clock = json_object_get(line, "clock"),
                            });
    } else {
        run->n_records = store_integer(row, 3);
        run_take_record(run, store_integer(row, 2), store_text(row, 1), line);
    }
    json_decref(line);
}

/* All in the order in which it came. Hosts' events that name no run (a halt, a boot) count from the run's own
 * first one on. Taking an event writes nothing, so rows may be read meanwhile. */
static int load_events(struct run *run, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = NULL;
    char place[sizeof(run->id) + 4];
    int r;

    snprintf(place, sizeof(place), "run/%s", run->id);
    row = store_select(run->coordinator->store, error,
                       "SELECT host, kind, at, sequence, line FROM events WHERE rowid >="
                       " (SELECT min(rowid) FROM events WHERE host = ?1) AND (run = ?2 OR run IS NULL)"
                       " ORDER BY rowid",
                       "ss", place, run->id);
    while ((r = store_next(row, error)) > 0)
        load_event(run, row);
    return r;
}

static int load_run(struct runs *runs, const struct store_row *row, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    const char *text = store_text(row, 1);
    struct mandate *mandate;
    struct run *run;
    int r;

    r = envelope_parse(&envelope, "stored mandate", ENVELOPE_MANDATE, text, strlen(text), error);
    if (r == 0)
        r = mandate_parse(&mandate, envelope->payload, envelope->payload_length, error);
    if (r == 0)
        r = run_new(&run, store_text(row, 0), mandate, time_now_usec() + RUN_RETURN_USEC, runs->coordinator,
                    error);
    if (r < 0)
        return r;
    runs_add(runs, run);
    run_look(run); /* for their addresses */
    return load_events(run, error);
}

int runs_store_load(struct runs *runs, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = NULL;
    int r;

    row = store_select(runs->coordinator->store, error,
                       "SELECT r.id, m.envelope FROM runs r JOIN mandates m ON m.hash = r.mandate"
                       " WHERE NOT r.is_over ORDER BY r.id",
                       "");
    while ((r = store_next(row, error)) > 0) {
        r = load_run(runs, row, error);
        if (r < 0)
            break;
    }
    return r;
}
