/* What the executor tells and is told besides orders: events, their receipts, the chain's head, the clock,
 * status. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "executor-state.h"

#define FETCH_BYTES (512 * 1024)

static struct executor *executor_of(void *context)
{
    return ((struct peer *)context)->executor;
}

static int read_body(const struct message *message, const struct field *fields, void *ret,
                     struct document **ret_document, struct error *error)
{
    int r = document_parse_json(ret_document, "message", message->body, message->length, error);

    return r < 0 ? r : node_decode(*ret_document, document_root(*ret_document), fields, ret, error);
}

int executor_on_fetch(void *context, struct message *message, struct error *error)
{
    static const struct field fields[] = {{"after", FIELD_INTEGER, 0, true, 0, INT64_MAX - 1}, {}};
    struct executor *executor = executor_of(context);
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *lines = NULL;
    struct error why = {0};
    int64_t after = 0;
    size_t length = 0;
    int r = read_body(message, fields, &after, &document, error);

    if (r < 0)
        return r;
    if (executor->journal && journal_fetch(executor->journal, after, FETCH_BYTES, &lines, &length, &why) < 0)
        executor_say(executor, LOG_LEVEL_ERROR, "%s", why.text);
    peer_send_large(context, CHANNEL_EVENTS, lines ? lines : "", length);
    return 0;
}

static int take_ack(struct executor *executor, int fd, struct error *error)
{
    static const enum envelope_kind kinds[] = {ENVELOPE_ACK};
    _cleanup_(bundle_clear) struct bundle bundle = {0};
    _cleanup_(ack_freep) struct ack *ack = NULL;
    int r = bundle_from_memfd(&bundle, fd, kinds, ARRAY_SIZE(kinds), error);

    if (r == 0)
        r = roots_require(executor->roots, bundle.documents[0], ROOTS_ORDER, 1, time_now_usec(), error);
    if (r == 0)
        r = ack_parse(&ack, bundle.documents[0]->payload, bundle.documents[0]->payload_length, error);
    if (r < 0)
        return r;
    if (strcmp(ack->host, executor->policy->host))
        return error_set(error, EKEYREJECTED, "ack: host: meant for '%s'", ack->host);
    if (!executor->journal)
        return error_set(error, EIO, "ack: the journal is damaged; nothing is deleted");
    return journal_acknowledge(executor->journal, ack->sequence, ack->hash, error);
}

int executor_on_ack(void *context, struct message *message, struct error *error)
{
    struct error why = {0};

    if (take_ack(executor_of(context), message->fd, &why) < 0)
        executor_say(executor_of(context), LOG_LEVEL_WARNING, "acknowledgement refused: %s", why.text);
    return 0;
}

static char *make_head(struct executor *executor, const char *nonce)
{
    char hash[HASH_TEXT_MAX], at[TIME_TEXT_MAX], boot[BOOT_ID_MAX];
    int64_t sequence = journal_last(executor->journal, hash);
    json_t *json = json_pack("{s:s s:s s:s s:s s:I s:s s:s}", "schema", "grivet.head/1", "host",
                             executor->policy->host, "boot", time_boot_id(boot), "nonce", nonce, "sequence",
                             (json_int_t)sequence, "hash", hash, "at", time_format(time_now_usec(), at));
    _cleanup_free_ char *payload = json ? json_dumps(json, JSON_COMPACT) : NULL;
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;

    json_decref(json);
    if (!payload || envelope_new(&envelope, ENVELOPE_HEAD, payload, strlen(payload), NULL) < 0 ||
        envelope_sign(envelope, executor->key, NULL) < 0)
        return NULL;
    return envelope_format(envelope);
}

int executor_on_nonce(void *context, struct message *message, struct error *error)
{
    static const struct field fields[] = {{"nonce", FIELD_STRING, 0, true, 1, 128}, {}};
    struct executor *executor = executor_of(context);
    _cleanup_(document_freep) struct document *document = NULL;
    _cleanup_free_ char *head = NULL;
    const char *nonce = NULL;
    int r = read_body(message, fields, &nonce, &document, error);

    if (r < 0)
        return r;
    head = executor->journal ? make_head(executor, nonce) : NULL;
    if (head)
        peer_send_large(context, CHANNEL_HEAD, head, strlen(head));
    return 0;
}

struct clock_body {
    int64_t offset_usec, bound_usec;
};

int executor_on_clock(void *context, struct message *message, struct error *error)
{
    static const struct field fields[] = {
        {"offset_usec", FIELD_INTEGER, offsetof(struct clock_body, offset_usec), true},
        {"bound_usec", FIELD_INTEGER, offsetof(struct clock_body, bound_usec), true, 0, INT64_MAX},
        {},
    };
    struct executor *executor = executor_of(context);
    _cleanup_(document_freep) struct document *document = NULL;
    struct clock_body clock = {0};
    int r = read_body(message, fields, &clock, &document, error);

    if (r < 0)
        return r;
    json_decref(executor->clock);
    executor->clock = json_pack("{s:I s:I}", "offset_usec", (json_int_t)clock.offset_usec, "bound_usec",
                                (json_int_t)clock.bound_usec);
    return 0;
}

int executor_on_contact(void *context, struct message *message, struct error *error)
{
    static const struct field fields[] = {{"coordinator", FIELD_STRING, 0, false, 1, ENDPOINT_TEXT_MAX - 1},
                                          {}};
    struct executor *executor = executor_of(context);
    _cleanup_(document_freep) struct document *document = NULL;
    const char *coordinator = NULL;
    int r = read_body(message, fields, &coordinator, &document, error);

    if (r == 0 && coordinator)
        r = lifeline_report(&executor->reported, executor->policy, coordinator, error);
    if (r < 0)
        return r;
    snprintf(executor->contact, sizeof(executor->contact), "%s", coordinator ? coordinator : "");
    executor->contact_usec = time_now_usec();
    executor->heard_boot_nsec = time_boot_nsec();
    readiness_check(executor);
    return 0;
}

static json_t *faults_to_json(const struct executor *executor)
{
    json_t *list = json_array();
    struct supervised fault;
    char text[TIME_TEXT_MAX];

    for (size_t i = 0; supervisor_get(executor->supervisor, i, &fault); i++)
        json_array_append_new(
            list, json_pack("{s:s s:s s:s s:s s:s s:s s:f}", "order", fault.order, "run", fault.run, "step",
                            fault.step, "fault", fault.fault, "state", fault.state, "deadline",
                            time_format(fault.deadline_real_usec, text), "seconds_left",
                            (double)(fault.deadline_boot_nsec - time_boot_nsec()) / (double)NSEC_PER_SEC));
    for (size_t i = 0; i < EXECUTOR_WATCHES_MAX; i++) {
        const struct watch *watch = &executor->watches[i];

        if (watch->is_used)
            json_array_append_new(
                list, json_pack("{s:s s:s s:s s:s s:s s:s s:f}", "order", watch->order, "run", watch->run,
                                "step", MANDATE_OBSERVE, "fault", MANDATE_OBSERVE, "state", "watching",
                                "deadline", time_format(watch->until_usec, text), "seconds_left",
                                (double)(watch->until_usec - time_now_usec()) / (double)USEC_PER_SEC));
    }
    return list;
}

static json_t *journal_to_json(const struct executor *executor)
{
    if (!executor->journal)
        return json_null();
    return json_pack("{s:I s:I}", "last", (json_int_t)journal_last(executor->journal, NULL), "acknowledged",
                     (json_int_t)journal_acknowledged(executor->journal));
}

int executor_on_status(void *context, struct message *message, struct error *error)
{
    struct executor *executor = executor_of(context);
    char boot[BOOT_ID_MAX], text[TIME_TEXT_MAX];
    bool is_quarantined = executor->replay && time_now_usec() < replay_quarantine_usec(executor->replay);
    json_t *json =
        json_pack("{s:s s:s s:s s:s? s:s? s:o s:o s:b s:b s:s? s:O?}", "host", executor->policy->host,
                  "environment", executor->policy->environment, "boot", time_boot_id(boot), "coordinator",
                  *executor->contact ? executor->contact : NULL, "coordinator_last_contact",
                  executor->contact_usec ? time_format(executor->contact_usec, text) : NULL, "faults",
                  faults_to_json(executor), "journal", journal_to_json(executor), "is_quarantined",
                  is_quarantined, "is_halted", executor->is_halted, "broken",
                  *executor->broken ? executor->broken : NULL, "clock", executor->clock);
    _cleanup_free_ char *status = json ? json_dumps(json, JSON_COMPACT) : NULL;

    json_decref(json);
    if (!status)
        return error_oom(error);
    peer_send_large(context, CHANNEL_STATUS_IS, status, strlen(status));
    return 0;
}
