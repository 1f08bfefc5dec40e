/*
 * Runs with a real store, fleet and journal: a coordinator that is killed at any point goes on where the
 * store says. The hosts are made up, their answers and chained events are real.
 */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "coordinator/agents.h"
#include "coordinator/runs.h"
#include "unit.h"

#define RUN_ID "01900000-0000-7000-8000-00000000000a"

static char folder[] = "/tmp/grivet-test-runs-XXXXXX";
static struct coordinator coordinator;
static const char *const hosts[] = {"a1", "b1"};

static void open_coordinator(void)
{
    struct error error = {};
    char path[100];

    snprintf(path, sizeof(path), "%s/store.db", folder);
    coordinator.base = event_base_new();
    coordinator.config.environment = "lab";
    if (!coordinator.order_key) {
        ck_assert_int_eq(secret_key_generate(&coordinator.order_key, &error), 0);
        ck_assert_int_eq(secret_key_generate(&coordinator.halt_key, &error), 0);
    }
    ck_assert_msg(store_open(&coordinator.store, path, coordinator.base, &error) == 0, "%s", error.text);
    ck_assert_msg(fleet_open(&coordinator, &error) == 0, "%s", error.text);
    ck_assert_msg(runs_open(&coordinator, &error) == 0, "%s", error.text);
}

static void close_coordinator(void)
{
    event_base_loop(coordinator.base, EVLOOP_NONBLOCK); /* the commit at the end of a turn */
    runs_close(&coordinator);
    fleet_close(&coordinator);
    coordinator.store = store_close(coordinator.store);
    event_base_free(coordinator.base);
}

static void restart(void)
{
    close_coordinator();
    open_coordinator();
}

static void join(const char *id)
{
    struct fleet_host host = {.joined_usec = time_now_usec(), .last_seen_usec = time_now_usec()};
    struct error error = {};
    uint8_t byte = (uint8_t)id[0];

    snprintf(host.id, sizeof(host.id), "%s", id);
    snprintf(host.address, sizeof(host.address), "10.0.0.%d", id[1]);
    memset(host.key.bytes, byte, sizeof(host.key.bytes));
    host.labels = json_pack("{s:s}", "group", "web");
    ck_assert_msg(fleet_join(&coordinator, &host, &error) == 0, "%s", error.text);
    json_decref(host.labels);
}

static void start_run(void)
{
    char text[2000], from[TIME_TEXT_MAX], until[TIME_TEXT_MAX];
    int64_t now_usec = time_now_usec();
    struct envelope *envelope;
    struct mandate *mandate;
    struct error error = {};
    struct run *run;
    int n = snprintf(
        text, sizeof(text),
        "{\"schema\": \"grivet.mandate/1\", \"id\": \"01900000-0000-7000-8000-000000000001\","
        " \"experiment\": \"zone-outage\", \"environment\": \"lab\", \"created_at\": \"%s\", \"not_before\": "
        "\"%s\","
        " \"not_after\": \"%s\", \"max_runs\": 1, \"require_percent\": 100, \"warmup_ms\": 0, \"settle_ms\": "
        "0,"
        " \"expect\": {\"hosts\": 2}, \"zones\": {\"z\": [\"10.1.0.0/24\"]},"
        " \"steps\": [{\"name\": \"lose\", \"fault\": \"zone.block\", \"parameters\": {\"zone\": \"z\"},"
        "   \"duration_ms\": 60000, \"hosts\": [\"a1\", \"b1\"], \"late_joiners\": true}],"
        " \"late_joiners\": {\"labels\": {\"group\": \"web\"}, \"max\": 2}}",
        time_format(now_usec, from), from, time_format(now_usec + 3600 * USEC_PER_SEC, until));

    ck_assert_msg(mandate_parse(&mandate, text, (size_t)n, &error) == 0, "%s", error.text);
    ck_assert_int_eq(envelope_new(&envelope, ENVELOPE_MANDATE, text, (size_t)n, &error), 0);
    ck_assert_int_eq(envelope_sign(envelope, coordinator.order_key, &error), 0);
    ck_assert_int_eq(run_new(&run, RUN_ID, mandate, now_usec, &coordinator, &error), 0);
    runs_add(coordinator.runs, run);
    run_look(run);
    ck_assert_int_eq(runs_store_mandate(&coordinator, envelope, &error), 0);
    ck_assert_msg(runs_store_insert(run, &error) == 0, "%s", error.text);
    run_begin(run, now_usec);
    envelope_free(envelope);
}

static struct run *the_run(void)
{
    struct run *run = runs_find(coordinator.runs, RUN_ID);

    ck_assert_ptr_nonnull(run);
    return run;
}

static void answer_all(void)
{
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        struct document *document;
        char text[300];
        int n = snprintf(text, sizeof(text), "{\"ask\": \"%s\", \"is_accepted\": true, \"steps\": []}",
                         run_host(the_run(), hosts[i])->ask);

        ck_assert_int_eq(document_parse_json(&document, "answer", text, (size_t)n, NULL), 0);
        runs_on_answer(&coordinator, fleet_find(&coordinator, hosts[i]), document);
        document_free(document);
    }
}

static void says(const char *id, const char *kind, const char *body)
{
    struct fleet_host *host = fleet_find(&coordinator, id);
    const struct run_fault *fault = run_fault_of(the_run(), id, "lose");
    char line[2000], at[TIME_TEXT_MAX];
    struct error error = {};
    int64_t wanted;
    int n =
        snprintf(line, sizeof(line),
                 "{\"schema\": \"grivet.event/1\", \"host\": \"%s\", \"boot\": \"b\", \"sequence\": %lld,"
                 " \"previous\": \"%s\", \"at\": \"%s\", \"boot_nsec\": 1,"
                 " \"clock\": {\"offset_usec\": 0, \"bound_usec\": 500}, \"kind\": \"%s\", \"run\": \"%s\","
                 " \"order\": \"%s\", \"step\": \"lose\", \"body\": %s}\n",
                 id, (long long)host->sequence + 1, host->hash, time_format(time_now_usec(), at), kind,
                 RUN_ID, fault->order, body);

    ck_assert_msg(journal_ingest(host, line, (size_t)n, &wanted, &error) == 0, "%s", error.text);
}

static int64_t count(const char *sql)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(coordinator.store, NULL, sql, "");

    ck_assert_int_eq(store_next(row, NULL), 1);
    return store_integer(row, 0);
}

static void check_state(const char *state)
{
    ck_assert_str_eq(run_state_names[the_run()->state], state);
}

static void check_report(void)
{
    ck_assert_ptr_null(coordinator.runs->first);
    ck_assert_int_eq(
        count("SELECT count(*) FROM runs WHERE is_over AND is_started AND status ->> 'state' = 'done'"
              " AND status ->> 'verdict' = 'unknown'"
              " AND status ->> 'reason' = 'zone.block on a1: it ended early'"),
        1);
    ck_assert_int_eq(count("SELECT json_array_length(report, '$.faults') FROM runs"), 3);
}

START_TEST(test_killed_everywhere)
{
    json_t *lines;
    int64_t t0_usec;

    open_coordinator();
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
        join(hosts[i]);
    start_run();
    restart();
    check_state("checking"); /* asks again */
    ck_assert_int_eq(count("SELECT count(*) FROM items WHERE kind = 'ask'"), 4);
    answer_all();
    check_state("starting");
    restart();
    check_state("starting");
    ck_assert_int_eq(count("SELECT count(*) FROM items WHERE kind = 'order'"), 2); /* not twice */
    ck_assert_uint_eq(the_run()->n_faults, 2);
    says("a1", "fault.armed", "{\"fault\": \"zone.block\"}");
    restart();
    ck_assert(run_fault_of(the_run(), "a1", "lose")->armed_usec > 0);
    says("b1", "fault.armed", "{\"fault\": \"zone.block\"}");
    check_state("running");
    t0_usec = the_run()->t0_usec;
    join("c1");
    runs_on_first_poll(&coordinator, fleet_find(&coordinator, "c1"));
    ck_assert_int_eq(count("SELECT count(*) FROM items WHERE kind = 'order'"), 3);
    lines = json_incref(the_run()->lines);
    restart();
    check_state("running");
    ck_assert(json_equal(the_run()->lines, lines)); /* a client that counts them misses none */
    json_decref(lines);
    ck_assert_int_eq(the_run()->t0_usec, t0_usec);
    ck_assert(run_host(the_run(), "c1")->is_replacement);
    runs_on_first_poll(&coordinator, fleet_find(&coordinator, "c1"));
    ck_assert_int_eq(count("SELECT count(*) FROM items WHERE kind = 'order'"), 3);
    for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
        says(hosts[i], "fault.exercised", "{\"fault\": \"zone.block\", \"effect\": {\"view\": \"outside\"}}");
        says(hosts[i], "fault.reverted",
             "{\"fault\": \"zone.block\", \"revert_error_ms\": 1.5, \"ended_by\": \"deadline\"}");
    }
    check_state("running");
    says("c1", "fault.reverted",
         "{\"fault\": \"zone.block\", \"revert_error_ms\": 1.5, \"ended_by\": \"deadline\"}");
    check_state("settling");
    restart();
    check_state("settling");
    for (size_t i = 0; i < the_run()->n_hosts; i++)
        fleet_find(&coordinator, the_run()->hosts[i].id)->head_nonce_usec = time_now_usec();
    runs_on_head(&coordinator);
    ck_assert_ptr_null(runs_find(coordinator.runs, RUN_ID));
    restart();
    check_report();
    close_coordinator();
}
END_TEST

static size_t store_signed_by(const struct secret_key *key, size_t times)
{
    struct error error = {};
    struct envelope *envelope;
    size_t count;

    ck_assert_int_eq(envelope_new(&envelope, ENVELOPE_MANDATE, "{}", 2, &error), 0);
    if (key)
        ck_assert_int_eq(envelope_sign(envelope, key, &error), 0);
    for (size_t i = 1; key && i < times; i++)
        memcpy(envelope->signatures[envelope->n_signatures++], envelope->signatures[0], KEY_SIGNATURE_BYTES);
    ck_assert_msg(runs_store_mandate(&coordinator, envelope, &error) == 0, "%s", error.text);
    count = envelope->n_signatures;
    envelope_free(envelope);
    return count;
}

/* Whatever file came first: nobody's signature gets lost, and none stands in another's way. */
START_TEST(test_signatures_add_up)
{
    _cleanup_(store_row_freep) struct store_row *row = NULL;
    struct envelope *stored;
    struct error error = {};

    open_coordinator();
    ck_assert_uint_eq(store_signed_by(coordinator.order_key, ENVELOPE_SIGNATURES_MAX),
                      ENVELOPE_SIGNATURES_MAX);
    store_signed_by(coordinator.halt_key, 1);
    store_signed_by(NULL, 0);
    row = store_select(coordinator.store, &error, "SELECT envelope FROM mandates", "");
    ck_assert_int_eq(store_next(row, &error), 1);
    ck_assert_int_eq(envelope_parse(&stored, "stored", ENVELOPE_MANDATE, store_text(row, 0),
                                    strlen(store_text(row, 0)), &error),
                     0);
    ck_assert_uint_eq(stored->n_signatures, 2);
    envelope_free(stored);
    row = store_row_free(row);
    close_coordinator();
}
END_TEST

static void clean_up(void)
{
    static const char *const names[] = {"store.db", "store.db-wal", "store.db-shm"};
    char path[100];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
    coordinator.order_key = secret_key_free(coordinator.order_key);
    coordinator.halt_key = secret_key_free(coordinator.halt_key);
}

int main(void)
{
    const TTest *const tests[] = {test_signatures_add_up, test_killed_everywhere, NULL};
    int r = mkdtemp(folder) ? unit_run("runs", tests) : EXIT_FAILURE;

    clean_up();
    return r;
}
