/* Mandates, and orders that leave them in each possible way. */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "common/mandate.h"

#define ID  "0190abcd-0000-7000-8000-000000000001"
#define RUN "0190abcd-0000-7000-8000-000000000002"
#define T0  "2026-01-31T12:00:00.000000Z"
#define HEAD                                                                                                 \
    "\"schema\": \"grivet.mandate/1\", \"id\": \"" ID                                                        \
    "\", \"experiment\": \"zone-outage\", \"environment\": \"lab\", "
#define TIMES                                                                                                \
    "\"created_at\": \"" T0 "\", \"not_before\": \"" T0 "\", \"not_after\": \"2026-01-31T13:00:00Z\", "
#define COUNTS                                                                                               \
    "\"max_runs\": 1, \"require_percent\": 100, \"warmup_ms\": 3000, \"settle_ms\": 15000, "                 \
    "\"expect\": {\"hosts\": 2, \"max_share_of_group_percent\": 34}, "
#define ZONES "\"zones\": {\"apse2-az1\": [\"10.1.0.0/24\", \"fd00:1::/64\"]}, "
#define STEP                                                                                                 \
    "{\"name\": \"lose-az1\", \"fault\": \"zone.block\", \"parameters\": {\"zone\": \"apse2-az1\"}, "        \
    "\"duration_ms\": 20000, \"hosts\": [\"a\", \"b\"], \"late_joiners\": true}"
#define SECOND                                                                                               \
    "{\"name\": \"second\", \"fault\": \"zone.block\", \"parameters\": {}, \"duration_ms\": 1000, "          \
    "\"hosts\": [\"a\"], \"late_joiners\": false}"
#define LATE "\"late_joiners\": {\"labels\": {\"group\": \"web\"}, \"max\": 4}, "
#define REST "\"observers\": [\"o\"], \"probes\": [], \"objectives\": []"
#define WATCH                                                                                                \
    "{" HEAD TIMES COUNTS ZONES "\"duration_ms\": 30000, \"steps\": [], "                                    \
    "\"observers\": [\"o\", \"p\"], \"probes\": [{}]}"
#define GOOD "{" HEAD TIMES COUNTS ZONES "\"steps\": [" STEP ", " SECOND "], " LATE REST "}"

static struct mandate *parse_good(void)
{
    struct mandate *mandate = NULL;
    struct error error;

    ck_assert_msg(mandate_parse(&mandate, GOOD, strlen(GOOD), &error) == 0, "%s", error.text);
    return mandate;
}

START_TEST(parses)
{
    _cleanup_(mandate_freep) struct mandate *mandate = parse_good();
    char hash[HASH_TEXT_MAX];

    ck_assert_str_eq(mandate->hash, hash_text(GOOD, strlen(GOOD), hash));
    ck_assert_uint_eq(mandate->n_steps, 2);
    ck_assert_int_eq(mandate_step(mandate, "lose-az1")->duration_msec, 20000);
    ck_assert_ptr_null(mandate_step(mandate, "observe"));
    ck_assert_uint_eq(mandate_zone(mandate, "apse2-az1")->n_cidrs, 2);
    ck_assert_ptr_null(mandate_zone(mandate, "apse2-az2"));
    ck_assert(mandate_step_has_host(mandate, "second", "a"));
    ck_assert(!mandate_step_has_host(mandate, "second", "b"));
    ck_assert(mandate_step_has_host(mandate, "observe", "o"));
    ck_assert(!mandate_step_has_host(mandate, "observe", "a"));
    ck_assert(!mandate_step_has_host(mandate, "none", "a"));
    ck_assert_int_eq(mandate_step_length_usec(mandate, "second"), USEC_PER_SEC);
    ck_assert_int_eq(mandate_step_length_usec(mandate, "observe"), (3 + 20 + 15 + 60) * USEC_PER_SEC);
    ck_assert_int_eq(mandate_step_length_usec(mandate, "none"), 0);
}
END_TEST

/* The good text with the first @old replaced. */
static char *change(const char *text, const char *old, const char *new)
{
    const char *at = strstr(text, old);
    char *changed;

    ck_assert_msg(at != NULL, "%s", old);
    ck_assert_int_gt(asprintf(&changed, "%.*s%s%s", (int)(at - text), text, new, at + strlen(old)), 0);
    return changed;
}

static const struct {
    const char *old, *new, *part;
} bad_mandates[] = {
    {"grivet.mandate/1", "grivet.mandate/2", "expected grivet.mandate/1"},
    {ID, "1", "id: '1' is not a UUID"},
    {"\"zone-outage\"", "\"Zone\"", "experiment: 'Zone' is not a name"},
    {"\"environment\": \"lab\", ", "", "'environment' is missing"},
    {"\"environment\"", "\"bogus\": 1, \"environment\"", "bogus: unknown field"},
    {"\"environment\"", "\"id\": \"" ID "\", \"environment\"", "duplicate"},
    {"2026-01-31T13", "2026-01-31T11", "not_after: must come after not_before"},
    {"\"max_runs\": 1", "\"max_runs\": 0", "max_runs: 0 is out of range"},
    {"\"max_runs\": 1", "\"max_runs\": 18446744073709551616", "too big integer"},
    {"\"require_percent\": 100", "\"require_percent\": 101", "require_percent: 101 is out of range"},
    {"\"warmup_ms\": 3000", "\"warmup_ms\": -1", "warmup_ms: -1 is out of range"},
    {"{\"hosts\": 2,", "{\"hosts\": 1,", "expect.hosts: 2 hosts are named, 1 were expected"},
    {"_percent\": 34", "_percent\": 0", "max_share_of_group_percent: 0 is out of range"},
    {"10.1.0.0/24", "10.1.0.1/24", "zones.apse2-az1[0]: '10.1.0.1/24' has host bits set"},
    {"\"10.1.0.0/24\"", "7", "zones.apse2-az1[0]: expected a string"},
    {"[\"10.1.0.0/24\", \"fd00:1::/64\"]", "[]", "zones.apse2-az1: expected a list of 1"},
    {"{\"apse2-az1\": [", "{\"A Z\": [", "a zone id must be a name"},
    {"20000", "0", "steps[0].duration_ms: 0 is out of range"},
    {"20000", "-5", "out of range"},
    {"20000", "86400001", "out of range"},
    {"20000", "20000.0", "expected an integer, got a real"},
    {"\"lose-az1\"", "\"observe\"", "'observe' is reserved"},
    {"\"second\"", "\"lose-az1\"", "steps[1].name: 'lose-az1' is given twice"},
    {"[\"a\", \"b\"]", "[\"a\", \"a\"]", "steps[0].hosts[1]: 'a' is given twice"},
    {"[\"a\", \"b\"]", "[\"a\", 7]", "steps[0].hosts[1]: expected a name"},
    {"[\"a\", \"b\"]", "[]", "at least 1"},
    {"\"fault\": \"zone.block\", ", "", "steps[0]: 'fault' is missing"},
    {"{\"zone\": \"apse2-az1\"}", "[]", "steps[0].parameters: expected a map"},
    {LATE, "", "steps[0].late_joiners: the mandate does not say who may join late"},
    {"{\"group\": \"web\"}", "{}", "late_joiners.labels: 0 entries"},
    {"{\"group\": \"web\"}", "{\"group\": 7}", "late_joiners.labels.group: expected a string"},
    {"\"max\": 4", "\"max\": 10001", "late_joiners.max: 10001 is out of range"},
    {"[\"a\"], \"late", "[\"a\"], \"after\": [\"third\"], \"late",
     "steps[1].after[0]: 'third' is no step that stands above"},
    {"[\"a\"], \"late", "[\"a\"], \"after\": [\"second\"], \"late", "steps[1].after[0]: 'second' is no step"},
    {"[\"a\", \"b\"]", "[\"a\", \"b\"], \"after\": [\"second\"]", "steps[0].after[0]: 'second' is no step"},
    {"[\"a\"], \"late", "[\"a\"], \"after\": [], \"late", "steps[1].after: 0 entries"},
    {"[\"a\"], \"late", "[\"a\"], \"after\": \"lose-az1\", \"late", "steps[1].after: expected a list"},
    {"[\"o\"]", "[\"o\", \"o\"]", "observers[1]: 'o' is given twice"},
    {"\"objectives\": []}", "\"objectives\": []", "mandate:1:"},
    {"\"steps\"", "\"duration_ms\": 30000, \"steps\"", "duration_ms: is for an observation, without steps"},
};

static const char *const bad_observations[][3] = {
    {"\"duration_ms\": 30000, ", "", "steps: there are none, and an observation takes 'duration_ms'"},
    {"[\"o\", \"p\"]", "[]", "steps: there are none, and"},
    {"[{}]", "[]", "steps: there are none, and"},
    {"30000", "99", "duration_ms: 99 is out of range"},
    {"{\"hosts\": 2,", "{\"hosts\": 1,", "expect.hosts: 2 hosts are named, 1 were expected"},
};

static void check_refused(const char *good, const char *old, const char *new, const char *part)
{
    _cleanup_free_ char *text = change(good, old, new);
    struct mandate *mandate = NULL;
    struct error error = {0};

    ck_assert_msg(mandate_parse(&mandate, text, strlen(text), &error) == -EINVAL, "%s: %s", new, error.text);
    ck_assert_ptr_null(mandate);
    assert_error(error, part);
    assert_error(error, "mandate:1:");
}

START_TEST(refuses_bad_mandates)
{
    for (size_t i = 0; i < ARRAY_SIZE(bad_mandates); i++)
        check_refused(GOOD, bad_mandates[i].old, bad_mandates[i].new, bad_mandates[i].part);
    for (size_t i = 0; i < ARRAY_SIZE(bad_observations); i++)
        check_refused(WATCH, bad_observations[i][0], bad_observations[i][1], bad_observations[i][2]);
}
END_TEST

START_TEST(without_steps)
{
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    struct error error;
    int64_t hosts;

    ck_assert_msg(mandate_parse(&mandate, WATCH, strlen(WATCH), &error) == 0, "%s", error.text);
    ck_assert_uint_eq(mandate->n_steps, 0);
    ck_assert_int_eq(mandate_step_length_usec(mandate, "observe"), (3 + 30 + 15 + 60) * USEC_PER_SEC);
    ck_assert_int_eq(mandate_count_hosts(mandate, &hosts, &error), 0);
    ck_assert_int_eq(hosts, 2);
}
END_TEST

#define AFTER(name, which)                                                                                   \
    ", {\"name\": \"" name "\", \"fault\": \"zone.block\", \"parameters\": {}, \"duration_ms\": 1000, "      \
    "\"hosts\": [\"a\"], \"after\": [" which "], \"late_joiners\": false}"

/* lose-az1 (20 s) beside second (1 s) and then third (1 s); fourth (1 s) after lose-az1 and third. */
START_TEST(steps_in_order)
{
    const char *text =
        "{" HEAD TIMES COUNTS ZONES "\"steps\": [" STEP ", " SECOND AFTER("third", "\"second\"")
            AFTER("fourth", "\"lose-az1\", \"third\"") "], " LATE REST "}";
    _cleanup_(mandate_freep) struct mandate *mandate = NULL;
    const struct step *steps;
    struct error error;

    ck_assert_msg(mandate_parse(&mandate, text, strlen(text), &error) == 0, "%s", error.text);
    steps = mandate->steps;
    ck_assert(mandate_step_follows(mandate, &steps[2], &steps[1]));
    ck_assert(mandate_step_follows(mandate, &steps[3], &steps[1])); /* by way of third */
    ck_assert(mandate_step_follows(mandate, &steps[3], &steps[0]));
    ck_assert(!mandate_step_follows(mandate, &steps[2], &steps[0]));
    ck_assert(!mandate_step_follows(mandate, &steps[1], &steps[2]));
    ck_assert(!mandate_step_follows(mandate, &steps[1], &steps[1]));
    ck_assert_int_eq(mandate_way_usec(mandate, &steps[2], 0), 2 * USEC_PER_SEC);
    ck_assert_int_eq(mandate_way_usec(mandate, &steps[3], 0), 21 * USEC_PER_SEC);
    ck_assert_int_eq(mandate_way_usec(mandate, &steps[3], 10 * USEC_PER_SEC), 41 * USEC_PER_SEC);
    ck_assert_int_eq(mandate_way_usec(mandate, NULL, 30 * USEC_PER_SEC), 93 * USEC_PER_SEC);
    ck_assert_int_eq(mandate_step_length_usec(mandate, "observe"), (3 + 3 * 75 + 3) * USEC_PER_SEC);
}
END_TEST

START_TEST(refuses_too_many_steps)
{
    _cleanup_free_ char *steps = calloc(1, 65 * 300), *text = NULL;
    struct mandate *mandate = NULL;
    struct error error;

    for (int i = 0; i < 65; i++)
        sprintf(steps + strlen(steps), "%s%s", i ? ", " : "", SECOND);
    ck_assert_int_gt(asprintf(&text, "{" HEAD TIMES COUNTS ZONES LATE "\"steps\": [%s]}", steps), 0);
    ck_assert_int_eq(mandate_parse(&mandate, text, strlen(text), &error), -EINVAL);
    assert_error(error, "65 entries; expected at most 64");
}
END_TEST

/* struct: what one order says; the defaults keep inside of the mandate */
struct sketch {
    const char *hash, *step, *host, *start, *before, *end;
};

static const struct sketch good_order = {
    NULL, "lose-az1", "a", T0, "2026-01-31T12:05:00Z", "2026-01-31T12:00:20Z",
};

static struct order *make_order(const struct mandate *mandate, const struct sketch *sketch)
{
    const struct sketch *good = &good_order;
    struct order *order = NULL;
    struct error error;
    char text[1024];

    snprintf(text, sizeof(text),
             "{\"schema\": \"grivet.order/1\", \"id\": \"" ID "\", \"mandate\": \"%s\", \"step\": \"%s\", "
             "\"run\": \"" RUN "\", \"host\": \"%s\", \"step_started_at\": \"%s\", \"start_before\": \"%s\", "
             "\"end_at\": \"%s\"}",
             sketch->hash ? sketch->hash : mandate->hash, sketch->step ? sketch->step : good->step,
             sketch->host ? sketch->host : good->host, sketch->start ? sketch->start : good->start,
             sketch->before ? sketch->before : good->before, sketch->end ? sketch->end : good->end);
    ck_assert_msg(order_parse(&order, text, strlen(text), &error) == 0, "%s", error.text);
    return order;
}

static const struct {
    struct sketch order;
    const char *part;
} outside[] = {
    {{.hash = "0000000000000000000000000000000000000000000000000000000000000000"},
     "mandate: is the hash of another"},
    {{.host = "b"}, "host: is for another host"},
    {{.step = "second", .host = "z", .end = "2026-01-31T12:00:01Z"}, "host: is for another host"},
    {{.step = "third"}, "step: is no step of the mandate"},
    {{.step = "observe"}, "host: is not among the hosts"},
    {{.end = "2026-01-31T12:00:20.000001Z"}, "end_at: is later than the duration that was signed"},
    {{.end = T0}, "end_at: must come after"},
    {{.end = "2026-01-31T11:59:59Z"}, "end_at: must come after"},
    {{.before = "2026-01-31T12:05:00.000001Z"}, "start_before: must come after step_started_at, by 300 s"},
    {{.before = "2026-01-31T11:59:59Z"}, "start_before: must come after"},
    {{.start = "2026-01-31T11:59:59.999999Z"}, "step_started_at: is outside"},
    {{.start = "2026-01-31T13:00:00.000001Z",
      .before = "2026-01-31T13:01:00Z",
      .end = "2026-01-31T13:00:20Z"},
     "step_started_at: is outside"},
    {{.step = "second"}, "end_at: is later"},
};

START_TEST(orders_keep_inside)
{
    _cleanup_(mandate_freep) struct mandate *mandate = parse_good();
    _cleanup_(order_freep) struct order *good = make_order(mandate, &good_order);
    struct error error;

    ck_assert_msg(order_check(good, mandate, "a", NULL, &error) == 0, "%s", error.text);
    for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
        _cleanup_(order_freep) struct order *order = make_order(mandate, &outside[i].order);

        ck_assert_int_eq(order_check(order, mandate, "a", NULL, &error), -EINVAL);
        assert_error(error, outside[i].part);
    }
}
END_TEST

static int check_late(const struct mandate *mandate, const char *step, const char *labels,
                      struct error *error)
{
    struct sketch sketch = {.step = step, .host = "late", .end = "2026-01-31T12:00:01Z"};
    _cleanup_(order_freep) struct order *order = make_order(mandate, &sketch);
    _cleanup_(document_freep) struct document *document = NULL;

    ck_assert_int_eq(document_parse_json(&document, "labels", labels, strlen(labels), NULL), 0);
    return order_check(order, mandate, "late", document_root(document), error);
}

START_TEST(late_joiners_by_their_own_labels)
{
    _cleanup_(mandate_freep) struct mandate *mandate = parse_good();
    struct error error;

    ck_assert_int_eq(check_late(mandate, "lose-az1", "{\"zone\": \"apse2-az2\", \"group\": \"web\"}", &error),
                     0);
    ck_assert_int_eq(check_late(mandate, "lose-az1", "{\"group\": \"database\"}", &error), -EINVAL);
    assert_error(error, "its labels are not those of a late joiner");
    ck_assert_int_eq(check_late(mandate, "lose-az1", "{}", &error), -EINVAL);
    ck_assert_int_eq(check_late(mandate, "second", "{\"group\": \"web\"}", &error), -EINVAL);
    assert_error(error, "not among the hosts");
}
END_TEST

#define WITHIN "\"issued_at\": \"" T0 "\", \"expires_at\": \"2026-01-31T12:10:00Z\"}"
#define BEYOND "\"issued_at\": \"" T0 "\", \"expires_at\": \"2026-01-31T12:10:00.000001Z\"}"
#define NEVER  "\"issued_at\": \"" T0 "\", \"expires_at\": \"" T0 "\"}"
#define HALT   "{\"schema\": \"grivet.halt/1\", \"id\": \"" ID "\", \"scope\": "

static int parse_halt(const char *text, struct error *error)
{
    _cleanup_(halt_freep) struct halt *halt = NULL;

    return halt_parse(&halt, text, strlen(text), error);
}

START_TEST(halts)
{
    struct error error;

    ck_assert_int_eq(parse_halt(HALT "\"fleet\", " WITHIN, &error), 0);
    ck_assert_int_eq(parse_halt(HALT "\"run\", \"run\": \"" RUN "\", " WITHIN, &error), 0);
    ck_assert_int_eq(parse_halt(HALT "\"host\", \"host\": \"a\", " WITHIN, &error), 0);
    ck_assert_int_eq(parse_halt(HALT "\"fleet\", " BEYOND, &error), -EINVAL);
    assert_error(error, "expires_at: must come after issued_at, by 10 minutes");
    ck_assert_int_eq(parse_halt(HALT "\"fleet\", " NEVER, &error), -EINVAL);
    ck_assert_int_eq(parse_halt(HALT "\"world\", " WITHIN, &error), -EINVAL);
    assert_error(error, "scope: expected one of fleet, run, host");
    ck_assert_int_eq(parse_halt(HALT "\"run\", " WITHIN, &error), -EINVAL);
    ck_assert_int_eq(parse_halt(HALT "\"fleet\", \"host\": \"a\", " WITHIN, &error), -EINVAL);
    ck_assert_int_eq(parse_halt(HALT "\"run\", \"run\": \"" RUN "\", \"host\": \"a\", " WITHIN, &error),
                     -EINVAL);
}
END_TEST

#define ASK                                                                                                  \
    "{\"schema\": \"grivet.ask/1\", \"id\": \"" ID "\", \"mandate\": "                                       \
    "\"0000000000000000000000000000000000000000000000000000000000000000\", \"host\": \"a\", \"purpose\": "

START_TEST(asks_and_acks)
{
    const char *start = ASK "\"start\", " WITHIN, *plan = ASK "\"plan\", " WITHIN,
               *bad = ASK "\"do\", " WITHIN, *old = ASK "\"plan\", " BEYOND;
    const char *ack_text =
        "{\"schema\": \"grivet.ack/1\", \"host\": \"a\", \"sequence\": 7, \"hash\": "
        "\"0000000000000000000000000000000000000000000000000000000000000000\", \"at\": \"" T0 "\"}";
    _cleanup_free_ char *zeroth = change(ack_text, "7", "0");
    _cleanup_(ask_freep) struct ask *ask = NULL, *other = NULL;
    _cleanup_(ack_freep) struct ack *ack = NULL;
    struct error error;

    ck_assert_int_eq(ask_parse(&ask, start, strlen(start), &error), 0);
    ck_assert(ask->is_start);
    ask = ask_free(ask);
    ck_assert_int_eq(ask_parse(&ask, plan, strlen(plan), &error), 0);
    ck_assert(!ask->is_start);
    ck_assert_int_eq(ask_parse(&other, bad, strlen(bad), &error), -EINVAL);
    assert_error(error, "purpose: expected one of plan, start");
    ck_assert_int_eq(ask_parse(&other, old, strlen(old), &error), -EINVAL);
    ck_assert_int_eq(ack_parse(&ack, ack_text, strlen(ack_text), &error), 0);
    ck_assert_int_eq(ack->sequence, 7);
    ack = ack_free(ack);
    ck_assert_int_eq(ack_parse(&ack, zeroth, strlen(zeroth), &error), -EINVAL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {parses,
                                  refuses_bad_mandates,
                                  without_steps,
                                  refuses_too_many_steps,
                                  steps_in_order,
                                  orders_keep_inside,
                                  late_joiners_by_their_own_labels,
                                  halts,
                                  asks_and_acks,
                                  NULL};

    return unit_run("mandate", tests);
}
