/* Events into the store: a chain that a courier forges, reorders, withholds or repeats; and the heads that
 * tell. */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdio.h>

#include "coordinator/agents.h"
#include "unit.h"

#define LINES_MAX 8

static char folder[64], lines[LINES_MAX][600];
static struct coordinator coordinator;
static struct secret_key *key;
static struct fleet_host *host;
static int events_seen, heads_seen;
static char said[512];

/* The runs' side, which only counts here. */
void runs_on_event(struct coordinator *c, const struct host_event *event)
{
    events_seen++;
}
void runs_on_head(struct coordinator *c)
{
    heads_seen++;
}

static void on_notice(const char *text)
{
    snprintf(said, sizeof(said), "%s", text);
}

static void make_lines(void)
{
    char previous[HASH_TEXT_MAX];

    memset(previous, '0', 64);
    previous[64] = '\0';
    for (int i = 0; i < LINES_MAX; i++) {
        snprintf(lines[i], sizeof(lines[i]),
                 "{\"schema\":\"grivet.event/"
                 "1\",\"host\":\"web-1\",\"boot\":\"b\",\"sequence\":%d,\"previous\":\"%s\","
                 "\"at\":\"2026-01-01T00:00:00.000000Z\",\"boot_nsec\":5,\"clock\":null,\"kind\":\"agent."
                 "ready\",\"body\":{}}",
                 i + 1, previous);
        hash_text(lines[i], strlen(lines[i]), previous);
    }
}

static void open_all(void)
{
    char path[80];

    coordinator.base = event_base_new();
    snprintf(path, sizeof(path), "%s/store.db", folder);
    ck_assert_int_eq(store_open(&coordinator.store, path, coordinator.base, NULL), 0);
    ck_assert_int_eq(fleet_open(&coordinator, NULL), 0);
}

static void close_all(void)
{
    fleet_close(&coordinator);
    coordinator.store = store_close(coordinator.store);
    event_base_free(coordinator.base);
}

static void setup(void)
{
    struct fleet_host joining = {.id = "web-1"};

    strcpy(folder, "/tmp/grivet-ingest-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
    coordinator = (struct coordinator){.notice = on_notice};
    events_seen = heads_seen = 0;
    said[0] = '\0';
    make_lines();
    open_all();
    ck_assert_int_eq(secret_key_generate(&key, NULL), 0);
    joining.key = secret_key_public(key);
    joining.labels = json_pack("{s:s}", "group", "web");
    joining.joined_usec = joining.last_seen_usec = time_now_usec();
    ck_assert_int_eq(fleet_join(&coordinator, &joining, NULL), 0);
    json_decref(joining.labels);
    host = fleet_find(&coordinator, "web-1");
    ck_assert_ptr_nonnull(host);
}

static void teardown(void)
{
    char command[128];

    close_all();
    key = secret_key_free(key);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    ck_assert_int_eq(system(command), 0);
}

/* Lines @from to @to (counted from 1) as one body. */
static int ingest(int from, int to, int64_t *wanted, struct error *error)
{
    char body[LINES_MAX * 600] = "";

    for (int i = from; i <= to; i++) {
        strcat(body, lines[i - 1]);
        strcat(body, "\n");
    }
    return journal_ingest(host, body, strlen(body), wanted, error);
}

static int ingest_text(const char *text, struct error *error)
{
    int64_t wanted;

    return journal_ingest(host, text, strlen(text), &wanted, error);
}

START_TEST(test_repeated)
{
    struct error error;
    int64_t wanted;

    ck_assert_int_eq(ingest(1, 3, &wanted, &error), 0);
    ck_assert_int_eq(ingest(2, 5, &wanted, &error), 0);
    ck_assert_int_eq(ingest(1, 5, &wanted, &error), 0);
    ck_assert_int_eq(events_seen, 5);
    ck_assert_int_eq(wanted, 6);
    close_all(); /* and after a restart */
    open_all();
    host = fleet_find(&coordinator, "web-1");
    ck_assert_int_eq(host->sequence, 5);
    ck_assert_int_eq(ingest(4, 6, &wanted, &error), 0);
    ck_assert_int_eq(events_seen, 6);
    ck_assert(!host->is_suspect);
}
END_TEST

START_TEST(test_withheld_and_reordered)
{
    struct error error;
    int64_t wanted;
    char swapped[1300];

    ck_assert_int_eq(ingest(1, 2, &wanted, &error), 0);
    ck_assert_int_eq(ingest(4, 5, &wanted, &error), -EPROTO);
    ck_assert_int_eq(wanted, 3);
    ck_assert_str_eq(error.text, "host web-1: event 4 came before event 3");
    snprintf(swapped, sizeof(swapped), "%s\n%s\n", lines[3], lines[2]);
    ck_assert_int_eq(ingest_text(swapped, &error), -EPROTO);
    ck_assert_int_eq(events_seen, 2);
    ck_assert(!host->is_suspect); /* it may just have been lost: asked for again */
    ck_assert_int_eq(ingest(3, 5, &wanted, &error), 0);
    ck_assert_int_eq(events_seen, 5);
}
END_TEST

START_TEST(test_forged)
{
    struct error error;
    int64_t wanted;
    char forged[600];

    ck_assert_int_eq(ingest(1, 2, &wanted, &error), 0);
    strcpy(forged, lines[1]);
    *strstr(forged, "agent.ready") = 'b';
    ck_assert_int_eq(ingest_text(forged, &error), -EPROTO);
    ck_assert_str_eq(error.text, "host web-1: event 2: differs from the one in the store");
    ck_assert(host->is_suspect);
    ck_assert_ptr_nonnull(strstr(said, "web-1 is suspect"));
    strcpy(forged, lines[2]);
    memset(strstr(forged, "\"previous\":\"") + 12, 'a', 64);
    ck_assert_int_eq(ingest_text(forged, &error), -EPROTO);
    ck_assert_ptr_nonnull(strstr(error.text, "does not follow"));
    ck_assert_int_eq(events_seen, 2);
    close_all();
    open_all();
    host = fleet_find(&coordinator, "web-1");
    ck_assert(host->is_suspect);
}
END_TEST

START_TEST(test_unreadable)
{
    struct error error;
    char text[700];

    ck_assert_int_eq(ingest_text("nonsense\n", &error), -EINVAL);
    ck_assert_int_eq(ingest_text("\n", &error), -EINVAL);
    strcpy(text, lines[0]);
    memcpy(strstr(text, "web-1"), "web-2", 5);
    ck_assert_int_eq(ingest_text(text, &error), -EINVAL);
    ck_assert_str_eq(error.text, "an event of host web-2 from host web-1");
    snprintf(text, sizeof(text), "{\"new\":1,%.600s", lines[0] + 1);
    ck_assert_int_eq(ingest_text(text, &error), -EINVAL);
    ck_assert_ptr_nonnull(strstr(error.text, "event:1:"));
    ck_assert_int_eq(events_seen, 0);
}
END_TEST

static int head(const char *nonce, int sequence, const char *hash, const struct secret_key *signer,
                struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    char payload[500];

    snprintf(
        payload, sizeof(payload),
        "{\"schema\":\"grivet.head/1\",\"host\":\"web-1\",\"boot\":\"b\",\"nonce\":\"%s\",\"sequence\":%d,"
        "\"hash\":\"%s\",\"at\":\"2026-01-01T00:00:00.000000Z\"}",
        nonce, sequence, hash);
    ck_assert_int_eq(envelope_new(&envelope, ENVELOPE_HEAD, payload, strlen(payload), NULL), 0);
    ck_assert_int_eq(envelope_sign(envelope, signer, NULL), 0);
    return journal_take_head(host, envelope, error);
}

START_TEST(test_heads)
{
    _cleanup_(secret_key_freep) struct secret_key *other = NULL;
    char hash[HASH_TEXT_MAX], nonce[DELIVERY_NONCE_TEXT];
    struct error error;
    int64_t wanted;

    strcpy(nonce, delivery_new_nonce(host));
    ck_assert_int_eq(ingest(1, 3, &wanted, &error), 0);
    hash_text(lines[2], strlen(lines[2]), hash);
    ck_assert_int_eq(secret_key_generate(&other, NULL), 0);
    ck_assert_int_eq(head(nonce, 3, hash, other, &error), -EKEYREJECTED);
    ck_assert_int_eq(head("00", 3, hash, key, &error), 0); /* an old nonce proves nothing */
    ck_assert_int_eq(heads_seen, 0);
    ck_assert_int_eq(head(nonce, 3, hash, key, &error), 0);
    ck_assert_int_eq(heads_seen, 1);
    ck_assert_int_eq(host->head_sequence, 3);
    hash_text(lines[4], strlen(lines[4]), hash); /* ahead: judged when the events are here */
    ck_assert_int_eq(head(nonce, 5, hash, key, &error), 0);
    ck_assert_int_eq(heads_seen, 1);
    ck_assert_int_eq(ingest(4, 4, &wanted, &error), 0);
    ck_assert_int_eq(heads_seen, 1);
    ck_assert_int_eq(ingest(5, 5, &wanted, &error), 0);
    ck_assert_int_eq(heads_seen, 2);
    ck_assert_int_eq(host->head_sequence, 5);
    ck_assert_int_eq(head(nonce, 4, hash, key, &error), -EPROTO);
    ck_assert_ptr_nonnull(strstr(error.text, "the host signed another one"));
    ck_assert(host->is_suspect);
}
END_TEST

/* An event that was slipped in at the end, before the host said anything else. */
START_TEST(test_head_behind_the_store)
{
    char hash[HASH_TEXT_MAX], nonce[DELIVERY_NONCE_TEXT];
    struct error error;
    int64_t wanted;

    ck_assert_int_eq(ingest(1, 2, &wanted, &error), 0);
    strcpy(nonce, delivery_new_nonce(host));
    ck_assert_int_eq(ingest(3, 3, &wanted, &error), 0);
    hash_text(lines[1], strlen(lines[1]), hash);
    ck_assert_int_eq(head(nonce, 2, hash, key, &error), 0); /* signed before the third came */
    ck_assert(!host->is_suspect);
    ck_assert_int_eq(head(delivery_new_nonce(host), 2, hash, key, &error), -EPROTO);
    ck_assert_str_eq(error.text, "host web-1: event 3: came, but the host's chain ends before it");
    ck_assert(host->is_suspect);
}
END_TEST

static int64_t count(const char *sql)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(coordinator.store, NULL, sql, "");

    ck_assert_int_eq(store_next(row, NULL), 1);
    return store_integer(row, 0);
}

/* A line that fits at @sequence, of somebody's own making. */
static void forge(int sequence, char ret[600])
{
    strcpy(ret, lines[sequence - 1]);
    *strstr(ret, "agent.ready") = 'b';
}

/* What a head contradicts gives way to the truth, also after a restart; what is proved does not. */
START_TEST(test_truth_replaces_what_was_slipped_in)
{
    char forged[600], hash[HASH_TEXT_MAX];
    struct error error;
    int64_t wanted;

    ck_assert_int_eq(ingest(1, 2, &wanted, &error), 0);
    hash_text(lines[1], strlen(lines[1]), hash);
    ck_assert_int_eq(head(delivery_new_nonce(host), 2, hash, key, &error), 0);
    ck_assert_int_eq(ingest(3, 3, &wanted, &error), 0); /* true, not proved, and forgotten by the host */
    forge(4, forged);
    ck_assert_int_eq(ingest_text(forged, &error), 0);
    ck_assert_int_eq(ingest(4, 5, &wanted, &error), -EPROTO); /* whoever is right: nothing is proved yet */
    ck_assert_int_eq(host->sequence, 4);
    close_all();
    open_all();
    host = fleet_find(&coordinator, "web-1");
    hash_text(lines[3], strlen(lines[3]), hash);
    ck_assert_int_eq(head(delivery_new_nonce(host), 4, hash, key, &error), -EPROTO);
    ck_assert_ptr_nonnull(strstr(error.text, "the host signed another one than came"));
    ck_assert_int_eq(ingest(5, 5, &wanted, &error), -EPROTO);
    ck_assert_int_eq(wanted, 3); /* after the last proof */
    forge(2, forged);
    ck_assert_int_eq(ingest_text(forged, &error), -EPROTO); /* what is proved stays */
    ck_assert_int_eq(ingest(4, 6, &wanted, &error), 0);
    ck_assert_int_eq(host->sequence, 6);
    ck_assert_int_eq(head(delivery_new_nonce(host), 4, hash, key, &error),
                     -EPROTO); /* an old word: no proof */
    hash_text(lines[5], strlen(lines[5]), hash);
    ck_assert_int_eq(head(delivery_new_nonce(host), 6, hash, key, &error), 0);
    ck_assert_int_eq(host->head_sequence, 6);
    ck_assert(host->is_suspect && !host->is_disputed); /* what was believed in between stays in doubt */
    ck_assert_int_eq(count("SELECT count(*) FROM disputed WHERE sequence = 4 AND line LIKE '%bgent%'"), 1);
    ck_assert_int_eq(count("SELECT count(*) FROM events WHERE line LIKE '%bgent%'"), 0);
    ck_assert_int_eq(count("SELECT count(*) FROM events"), 6);
}
END_TEST

/* After the last line that the host ever said. */
START_TEST(test_truth_replaces_an_invented_end)
{
    char forged[600], hash[HASH_TEXT_MAX];
    struct error error;
    int64_t wanted;

    ck_assert_int_eq(ingest(1, 3, &wanted, &error), 0);
    forge(4, forged);
    ck_assert_int_eq(ingest_text(forged, &error), 0);
    hash_text(lines[2], strlen(lines[2]), hash);
    ck_assert_int_eq(head(delivery_new_nonce(host), 3, hash, key, &error), -EPROTO);
    ck_assert_int_eq(host->head_sequence, 3);
    ck_assert_int_eq(ingest(5, 5, &wanted, &error), -EPROTO);
    ck_assert_int_eq(wanted, 4);
    ck_assert_int_eq(ingest(4, 5, &wanted, &error), 0);
    hash_text(lines[4], strlen(lines[4]), hash);
    ck_assert_int_eq(head(delivery_new_nonce(host), 5, hash, key, &error), 0);
    ck_assert_int_eq(host->head_sequence, 5);
}
END_TEST

START_TEST(test_names_belong_to_keys)
{
    _cleanup_(secret_key_freep) struct secret_key *other = NULL;
    struct fleet_host joining = *host;
    struct error error;

    ck_assert_int_eq(fleet_join(&coordinator, &joining, &error), 0);
    ck_assert_ptr_eq(fleet_find(&coordinator, "web-1"), host);
    ck_assert_int_eq(secret_key_generate(&other, NULL), 0);
    joining.key = secret_key_public(other);
    ck_assert_int_eq(fleet_join(&coordinator, &joining, &error), -EEXIST);
    ck_assert_ptr_null(fleet_find(&coordinator, "web-2"));
    ck_assert(fleet_is_in_contact(host));
    host->last_seen_usec -= 3600 * USEC_PER_SEC;
    fleet_age(&coordinator); /* written down: */
    close_all();
    open_all();
    host = fleet_find(&coordinator, "web-1");
    ck_assert_int_lt(host->last_seen_usec, time_now_usec() - 3599 * USEC_PER_SEC);
    host->last_seen_usec -= FLEET_AGE_USEC + 1;
    ck_assert(!fleet_is_in_contact(host));
    fleet_age(&coordinator);
    ck_assert_ptr_null(fleet_find(&coordinator, "web-1"));
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {test_repeated,
                                  test_withheld_and_reordered,
                                  test_forged,
                                  test_unreadable,
                                  test_heads,
                                  test_head_behind_the_store,
                                  test_truth_replaces_what_was_slipped_in,
                                  test_truth_replaces_an_invented_end,
                                  test_names_belong_to_keys,
                                  NULL};

    return unit_run_within("ingest", tests, setup, teardown);
}
