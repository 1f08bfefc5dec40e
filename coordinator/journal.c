/*
 * Events: the raw bytes of each line are hashed and chained, so nothing can be slipped in, left out or moved
 * around without the next line, or the next head, giving it away. The courier that brings them is not
 * believed. When the host's signed head contradicts what came, the lines after the last proof may be replaced
 * by others that follow: so what was slipped in can't keep out for good what is true.
 */
#include "agents.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One line as it is decoded; what is not needed here is still checked. */
struct line {
    struct host_event event;
    const char *previous, *boot, *step;
    int64_t sequence, boot_nsec;
    const struct node *clock, *body;
    char hash[HASH_TEXT_MAX];
    const char *text;
    size_t length;
};

static const struct field line_fields[] = {
    FIELD_SCHEMA_IS("grivet.event/1"),
    {"host", FIELD_NAME, offsetof(struct line, event.host), true},
    {"boot", FIELD_STRING, offsetof(struct line, boot), true, 1, 64},
    {"sequence", FIELD_INTEGER, offsetof(struct line, sequence), true, 1, INT64_MAX},
    {"previous", FIELD_HASH, offsetof(struct line, previous), true},
    {"at", FIELD_TIME, offsetof(struct line, event.at_usec), true},
    {"boot_nsec", FIELD_INTEGER, offsetof(struct line, boot_nsec), true, 0, INT64_MAX},
    {"clock", FIELD_NODE, offsetof(struct line, clock), true},
    {"kind", FIELD_NAME, offsetof(struct line, event.kind), true},
    {"run", FIELD_UUID, offsetof(struct line, event.run), false},
    {"order", FIELD_UUID, offsetof(struct line, event.order), false},
    {"step", FIELD_NAME, offsetof(struct line, step), false},
    {"body", FIELD_MAP, offsetof(struct line, body), true, 0, DOCUMENT_NODES_MAX},
    {NULL},
};

/* Is what the store holds at @sequence of @host's chain the line with @hash? Return: 1 yes, 0 no, -errno */
static int chain_holds(const struct fleet_host *host, int64_t sequence, const char *hash, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = NULL;

    if (sequence == 0)
        return strspn(hash, "0") == strlen(hash);
    row = store_select(host->coordinator->store, error,
                       "SELECT 1 FROM events WHERE host = ? AND sequence = ? AND hash = ?", "sis", host->id,
                       sequence, hash);
    return store_next(row, error);
}

static int chain_broken(struct fleet_host *host, int64_t sequence, const char *what, struct error *error)
{
    int r = error_set(error, EPROTO, "host %s: event %" PRId64 ": %s", host->id, sequence, what);

    fleet_suspect(host, error->text);
    return r;
}

static int insert_line(struct fleet_host *host, struct line *line, struct error *error)
{
    _cleanup_free_ char *text = strndup(line->text, line->length);
    int r;

    if (!text)
        return error_oom(error);
    r = store_write(
        host->coordinator->store, error,
        "INSERT INTO events (host, sequence, hash, line, run, kind, at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        "sissssi", host->id, line->sequence, line->hash, text, line->event.run, line->event.kind,
        line->event.at_usec);
    if (r < 0)
        return r;
    host->sequence = line->sequence;
    memcpy(host->hash, line->hash, sizeof(host->hash));
    runs_on_event(host->coordinator, &line->event);
    return 0;
}

/* Takes what is stored from @line on out of the chain. What is disputed is kept: it shows who said what. */
static int cut_chain(struct fleet_host *host, const struct line *line, struct error *error)
{
    int r = store_write(host->coordinator->store, error,
                        "INSERT INTO disputed (host, sequence, hash, line, since)"
                        " SELECT host, sequence, hash, line, ? FROM events WHERE host = ? AND sequence >= ?",
                        "isi", time_now_usec(), host->id, line->sequence);

    if (r == 0)
        r = store_write(host->coordinator->store, error,
                        "DELETE FROM events WHERE host = ? AND sequence >= ?", "si", host->id,
                        line->sequence);
    if (r < 0)
        return r;
    host->sequence = line->sequence - 1;
    strcpy(host->hash, line->previous);
    return 0;
}

/* A line where there is one already. Return: 0 = to be inserted now, 1 = it came before (delivery repeats,
 * effects don't), -errno */
static int meet_stored(struct fleet_host *host, const struct line *line, struct error *error)
{
    int64_t sequence = line->sequence;
    int r = chain_holds(host, sequence, line->hash, error);

    if (r != 0)
        return r;
    if (!host->is_disputed || sequence <= host->head_sequence)
        return chain_broken(host, sequence, "differs from the one in the store", error);
    r = chain_holds(host, sequence - 1, line->previous, error);
    if (r == 0)
        return chain_broken(host, sequence, "does not follow the one in the store", error);
    return r < 0 ? r : cut_chain(host, line, error);
}

static int take_line(struct fleet_host *host, struct line *line, struct error *error)
{
    int r;

    if (strcmp(line->event.host, host->id) != 0)
        return error_set(error, EINVAL, "an event of host %s from host %s", line->event.host, host->id);
    if (line->sequence <= host->sequence) {
        r = meet_stored(host, line, error);
        if (r != 0)
            return r < 0 ? r : 0;
    }
    if (line->sequence > host->sequence + 1)
        return error_set(error, EPROTO, "host %s: event %" PRId64 " came before event %" PRId64, host->id,
                         line->sequence, host->sequence + 1);
    if (strcmp(line->previous, host->hash) != 0)
        return chain_broken(host, line->sequence, "does not follow the one in the store", error);
    return insert_line(host, line, error);
}

static int parse_line(struct fleet_host *host, const char *text, size_t length, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct line line = {.text = text, .length = length};
    int r;

    if (memchr(text, '\0', length))
        return error_set(error, EINVAL, "event: a NUL byte");
    hash_text(text, length, line.hash);
    r = document_decode(&document, "event", text, length, line_fields, &line, error);
    if (r < 0)
        return r;
    line.event.body = line.body->json;
    line.event.clock = line.clock->json;
    return take_line(host, &line, error);
}

/* Up to @sequence the chain is the host's own word, and stays. */
static int prove_chain(struct fleet_host *host, int64_t sequence, struct error *error)
{
    host->is_disputed = false;
    if (sequence <= host->head_sequence)
        return 0;
    host->head_sequence = sequence;
    return store_write(host->coordinator->store, error, "UPDATE hosts SET proved = ? WHERE id = ?", "is",
                       sequence, host->id);
}

/* A host's own signature speaks against what came in its name after the last proof. */
static int dispute_chain(struct fleet_host *host, int64_t sequence, const char *what, struct error *error)
{
    host->is_disputed = true;
    return chain_broken(host, sequence, what, error);
}

/* A head that was ahead of what had come, and now is not. */
static int judge_head(struct fleet_host *host, struct error *error)
{
    struct pending_head *head = &host->head;
    int r;

    if (!head->hash[0] || head->sequence > host->sequence || store_failure(host->coordinator->store))
        return 0;
    r = chain_holds(host, head->sequence, head->hash, error);
    if (r > 0)
        r = prove_chain(host, head->sequence, error);
    else if (r == 0)
        r = dispute_chain(host, head->sequence, "the host signed another one than came", error);
    if (r < 0 && r != -EPROTO)
        return r; /* judged again when the store answers */
    head->hash[0] = '\0';
    if (r == 0) {
        host->head_nonce_usec = head->nonce_usec;
        runs_on_head(host->coordinator);
    }
    return r;
}

int journal_ingest(struct fleet_host *host, const char *lines, size_t length, int64_t *ret_wanted,
                   struct error *error)
{
    const char *end = lines + length;
    int r = 0;

    while (r == 0 && lines < end) {
        const char *newline = memchr(lines, '\n', (size_t)(end - lines));
        const char *stop = newline ? newline : end;

        r = parse_line(host, lines, (size_t)(stop - lines), error);
        lines = newline ? newline + 1 : end;
    }
    if (r == 0)
        r = judge_head(host, error);
    *ret_wanted = (r < 0 && host->is_disputed ? host->head_sequence : host->sequence) + 1;
    return r;
}

struct head {
    const char *host, *boot, *nonce, *hash;
    int64_t sequence, at_usec;
};

static const struct field head_fields[] = {
    FIELD_SCHEMA_IS("grivet.head/1"),
    {"host", FIELD_NAME, offsetof(struct head, host), true},
    {"boot", FIELD_STRING, offsetof(struct head, boot), true, 1, 64},
    {"nonce", FIELD_STRING, offsetof(struct head, nonce), true, 1, 64},
    {"sequence", FIELD_INTEGER, offsetof(struct head, sequence), true, 0, INT64_MAX},
    {"hash", FIELD_HASH, offsetof(struct head, hash), true},
    {"at", FIELD_TIME, offsetof(struct head, at_usec), true},
    {NULL},
};

static const struct nonce *find_nonce(const struct fleet_host *host, const char *text)
{
    for (size_t i = 0; i < DELIVERY_NONCES; i++)
        if (strcmp(host->mailbox.nonces[i].text, text) == 0)
            return &host->mailbox.nonces[i];
    return NULL;
}

int journal_take_head(struct fleet_host *host, const struct envelope *envelope, struct error *error)
{
    _cleanup_(document_freep) struct document *document = NULL;
    struct head head = {NULL};
    const struct nonce *nonce;
    int r;

    if (!envelope_is_signed_by(envelope, &host->key))
        return error_set(error, EKEYREJECTED, "head: not signed by the key of host %s", host->id);
    r = document_decode(&document, "head", envelope->payload, envelope->payload_length, head_fields, &head,
                        error);
    if (r < 0)
        return r;
    if (strcmp(head.host, host->id) != 0)
        return error_set(error, EINVAL, "head: of host %s, from host %s", head.host, host->id);
    nonce = find_nonce(host, head.nonce);
    if (!nonce)
        return 0; /* given out before a restart, or replayed: proves nothing, means nothing */
    if (head.sequence < nonce->sequence) {
        r = chain_holds(host, head.sequence, head.hash, error);
        if (r > 0)
            r = prove_chain(host, head.sequence, error);
        return r < 0
                   ? r
                   : dispute_chain(host, nonce->sequence, "came, but the host's chain ends before it", error);
    }
    host->head = (struct pending_head){.sequence = head.sequence, .nonce_usec = nonce->at_usec};
    memcpy(host->head.hash, head.hash, HASH_TEXT_MAX);
    return judge_head(host, error);
}

static int make_ack(const struct fleet_host *host, char **ret, struct error *error)
{
    _cleanup_(envelope_freep) struct envelope *envelope = NULL;
    _cleanup_free_ char *text = NULL;
    json_t *payload =
        json_pack("{s:s, s:s, s:I, s:s, s:o}", "schema", "grivet.ack/1", "host", host->id, "sequence",
                  (json_int_t)host->sequence, "hash", host->hash, "at", json_time(time_now_usec()));
    int r = coordinator_seal(host->coordinator, ENVELOPE_ACK, payload, &envelope, error);

    if (r < 0)
        return r;
    text = envelope_format(envelope);
    return text && asprintf(ret, "{\"ack\": %s}", text) >= 0 ? 0 : error_oom(error);
}

int journal_handle_events(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    struct fleet_host *host = fleet_require(coordinator, request, error);
    _cleanup_free_ char *ack = NULL;
    int64_t wanted = 0;
    int r;

    if (!host)
        return -error->code;
    r = journal_ingest(host, request->body, request->length, &wanted, error);
    if (r == 0)
        r = make_ack(host, &ack, error);
    if (r == 0) { /* sent when what it says is true */
        http_reply_text(request, ack);
    } else if (r == -EPROTO) {
        http_reply_json(request, 409,
                        json_pack("{s:s, s:I}", "error", error->text, "sequence", (json_int_t)wanted));
        r = 0;
    }
    return r;
}
