/* Runs in the store: a row each, its orders, lines and balancer facts; hosts' events are there already. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "plan.h"
#include "runs.h"

static const char *const schema[] = {
    "CREATE TABLE IF NOT EXISTS runs (id TEXT PRIMARY KEY, mandate TEXT NOT NULL, experiment TEXT NOT NULL,"
    " state TEXT NOT NULL, reason TEXT, created INTEGER NOT NULL, since INTEGER NOT NULL, started INTEGER,"
    " t0 INTEGER, skew INTEGER, over INTEGER, verdict TEXT, report TEXT)",
    "CREATE TABLE IF NOT EXISTS run_orders (id TEXT PRIMARY KEY, run TEXT NOT NULL, host TEXT NOT NULL,"
    " step TEXT NOT NULL, started INTEGER NOT NULL, deadline INTEGER NOT NULL)",
    "CREATE TABLE IF NOT EXISTS run_lines (run TEXT NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL,"
    " text TEXT NOT NULL, PRIMARY KEY (run, n))",
    "CREATE TABLE IF NOT EXISTS run_facts (run TEXT NOT NULL, at INTEGER NOT NULL, balancer TEXT NOT NULL,"
    " backend TEXT NOT NULL, server TEXT NOT NULL, address TEXT NOT NULL, state TEXT NOT NULL, text TEXT NOT "
    "NULL)",
    "CREATE INDEX IF NOT EXISTS run_orders_by_run ON run_orders (run)",
    "CREATE INDEX IF NOT EXISTS run_facts_by_run ON run_facts (run)",
};

int runs_store_open(struct coordinator *coordinator, struct error *error)
{
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(schema) && r >= 0; i++)
        r = store_write(coordinator->store, error, schema[i], "");
    return r < 0 ? r : 0;
}

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
    int r = store_write(
        run->coordinator->store, error,
        "INSERT INTO runs (id, mandate, experiment, state, created, since) VALUES (?, ?, ?, ?, ?, ?)",
        "ssssii", run->id, run->mandate->hash, run->mandate->experiment, run_state_name(run->state),
        run->created_usec, run->since_usec);

    return r < 0 ? r : 0;
}

int runs_store_save(const struct run *run, struct error *error)
{
    int r = store_write(
        run->coordinator->store, error,
        "UPDATE runs SET state = ?, reason = ?, since = ?, started = ?, t0 = ?, skew = ?, over = ?"
        " WHERE id = ?",
        "ssiiiiis", run_state_name(run->state), run->reason, run->since_usec, run->started_usec, run->t0_usec,
        run->start_skew_usec, run->over_usec, run->id);

    return r < 0 ? r : 0;
}

int runs_store_report(const struct run *run, const char *report, struct error *error)
{
    int r =
        store_write(run->coordinator->store, error, "UPDATE runs SET verdict = ?, report = ? WHERE id = ?",
                    "sss", verdict_name(run->verdict), report, run->id);

    return r < 0 ? r : 0;
}

int runs_store_order(const struct run *run, const struct run_fault *fault, struct error *error)
{
    int r = store_write(
        run->coordinator->store, error,
        "INSERT INTO run_orders (id, run, host, step, started, deadline) VALUES (?, ?, ?, ?, ?, ?)", "ssssii",
        fault->order, run->id, fault->host, fault->step ? fault->step->name : MANDATE_OBSERVE,
        fault->started_usec, fault->deadline_usec);

    return r < 0 ? r : 0;
}

int runs_store_fact(const struct run *run, const struct balancer_fact *fact, struct error *error)
{
    int r = store_write(run->coordinator->store, error,
                        "INSERT INTO run_facts (run, at, balancer, backend, server, address, state, text)"
                        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                        "sissssss", run->id, fact->at_usec, fact->balancer, fact->backend, fact->server,
                        fact->address, fact->state, fact->text);

    return r < 0 ? r : 0;
}

int runs_store_line(struct run *run, int64_t at_usec, const char *text, struct error *error)
{
    int r = store_write(run->coordinator->store, error,
                        "INSERT INTO run_lines (run, n, at, text) VALUES (?, ?, ?, ?)", "siis", run->id,
                        (int64_t)++run->n_lines, at_usec, text);

    return r < 0 ? r : 0;
}

/* A list of rows kept while the store is not asked anything else: `each` must not write. */
struct loading {
    struct runs *runs;
    struct run *run;
    struct error error;
};

static int load_order(void *context, const struct store_row *row)
{
    struct loading *loading = context;
    const char *name = store_text(row, 2);
    const struct step *step =
        strcmp(name, MANDATE_OBSERVE) ? mandate_step(loading->run->mandate, name) : NULL;

    if (!run_add_fault(loading->run, store_text(row, 0), store_text(row, 1), step, store_integer(row, 3),
                       store_integer(row, 4)))
        return error_oom(&loading->error);
    return 0;
}

static int load_fact(void *context, const struct store_row *row)
{
    struct loading *loading = context;
    struct balancer_fact fact = {.at_usec = store_integer(row, 0)};

    snprintf(fact.balancer, sizeof(fact.balancer), "%s", store_text(row, 1));
    snprintf(fact.backend, sizeof(fact.backend), "%s", store_text(row, 2));
    snprintf(fact.server, sizeof(fact.server), "%s", store_text(row, 3));
    snprintf(fact.address, sizeof(fact.address), "%s", store_text(row, 4));
    snprintf(fact.state, sizeof(fact.state), "%s", store_text(row, 5));
    snprintf(fact.text, sizeof(fact.text), "%s", store_text(row, 6));
    run_add_fact(loading->run, &fact);
    return 0;
}

static int load_event(void *context, const struct store_row *row)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct loading *loading = context;
    const char *line = store_text(row, 0), *at;
    struct host_event event = {};

    if (document_parse_json(&document, "event", line, strlen(line), &loading->error) < 0)
        return -loading->error.code;
    event.document = document;
    event.root = document_root(document);
    event.body = node_get(event.root, "body");
    event.host = node_string(event.root, "host");
    event.kind = node_string(event.root, "kind");
    event.run = node_string(event.root, "run");
    event.order = node_string(event.root, "order");
    event.step = node_string(event.root, "step");
    at = node_string(event.root, "at");
    if (event.host && event.kind && at && time_parse(at, &event.at_usec) == 0)
        run_take_event(loading->run, &event);
    return 0;
}

static int load_newborn(void *context, struct fleet_host *host)
{
    run_note_newborn(context, host->id, plan_label(host->labels, "group"), host->address, host->joined_usec);
    return 0;
}

static int load_line_count(void *context, const struct store_row *row)
{
    ((struct loading *)context)->run->n_lines = (size_t)store_integer(row, 0);
    return 0;
}

static int load_parts(struct loading *loading)
{
    struct run *run = loading->run;
    struct coordinator *coordinator = loading->runs->coordinator;
    int r;

    runs_fill_hosts(run);
    r = store_query(coordinator->store, load_line_count, loading, &loading->error,
                    "SELECT coalesce(max(n), 0) FROM run_lines WHERE run = ?", "s", run->id);
    if (r == 0)
        r = store_query(
            coordinator->store, load_order, loading, &loading->error,
            "SELECT id, host, step, started, deadline FROM run_orders WHERE run = ? ORDER BY rowid", "s",
            run->id);
    fleet_each(coordinator, load_newborn, run);
    if (r == 0)
        r = store_query(coordinator->store, load_event, loading, &loading->error,
                        "SELECT line FROM events WHERE run = ? ORDER BY rowid", "s", run->id);
    for (size_t i = 0; i < run->n_hosts && r == 0; i++)
        if (run->hosts[i].is_replacement)
            r = store_query(
                coordinator->store, load_event, loading, &loading->error,
                "SELECT line FROM events WHERE host = ? AND kind = 'agent.ready' ORDER BY sequence", "s",
                run->hosts[i].id);
    if (r == 0)
        r = store_query(
            coordinator->store, load_fact, loading, &loading->error,
            "SELECT at, balancer, backend, server, address, state, text FROM run_facts WHERE run = ?"
            " ORDER BY rowid",
            "s", run->id);
    return r;
}

static int load_run(void *context, const struct store_row *row)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    struct loading *loading = context;
    const char *text = store_text(row, 1);
    struct mandate *mandate;
    struct run *run;
    int state, r;

    r = envelope_parse(&envelope, "stored mandate", ENVELOPE_MANDATE, text, strlen(text), &loading->error);
    if (r == 0)
        r = mandate_parse(&mandate, envelope->payload, envelope->payload_length, &loading->error);
    if (r == 0)
        r = run_new(&run, store_text(row, 0), mandate, time_now_usec(), &runs_actions,
                    loading->runs->coordinator, &loading->error);
    if (r < 0)
        return r;
    state = run_state_find(store_text(row, 2));
    run->loaded_usec += RUN_RETURN_USEC;
    run->state = state < 0 ? RUN_FAILED : (enum run_state)state;
    snprintf(run->reason, sizeof(run->reason), "%s", store_text(row, 3));
    run->created_usec = store_integer(row, 4);
    run->since_usec = store_integer(row, 5);
    run->started_usec = store_integer(row, 6);
    run->t0_usec = store_integer(row, 7);
    run->start_skew_usec = store_integer(row, 8);
    run->is_replaying = true;
    return runs_add(loading->runs, run, &loading->error);
}

int runs_store_load(struct runs *runs, struct error *error)
{
    struct loading loading = {.runs = runs};
    int r;

    r = store_query(
        runs->coordinator->store, load_run, &loading, &loading.error,
        "SELECT r.id, m.envelope, r.state, r.reason, r.created, r.since, r.started, r.t0, r.skew"
        " FROM runs r JOIN mandates m ON m.hash = r.mandate WHERE coalesce(r.over, 0) = 0 ORDER BY r.id",
        "");
    for (size_t i = 0; i < runs->count && r == 0; i++) {
        loading.run = runs->items[i];
        r = load_parts(&loading);
        loading.run->is_replaying = false;
    }
    if (r < 0 && error)
        *error = loading.error;
    return r;
}
