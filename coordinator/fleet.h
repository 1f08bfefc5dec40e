/* The hosts: who has joined, what they say of themselves, how far their events have come, and what waits for
 * them. */
#pragma once

#include "coordinator.h"

/* seen within this = in contact: a poll is held 25 s at most */
#define FLEET_CONTACT_USEC    (40 * USEC_PER_SEC)
#define FLEET_AGE_USEC        (30 * 24 * 3600 * USEC_PER_SEC)
#define DELIVERY_HOLD_SECONDS 25
#define DELIVERY_HALTS_MAX    8
#define DELIVERY_NONCES       4
#define DELIVERY_NONCE_TEXT   33

/** struct nonce - @sequence: the last event in the store when it was given out */
struct nonce {
    char text[DELIVERY_NONCE_TEXT];
    int64_t at_usec, sequence;
};

/** struct halt_item - @id "" = none */
struct halt_item {
    char id[UUID_TEXT_MAX];
    char *envelope;
    int64_t created_usec;
};

/** struct mailbox - delivery.c's: what a host's poll is answered with, beside the items in the store */
struct mailbox {
    struct http_request *held;
    struct event *due;
    bool is_urgent;
    struct nonce nonces[DELIVERY_NONCES];
    size_t next_nonce;
    struct halt_item halts[DELIVERY_HALTS_MAX]; /* not received yet; the oldest gives way */
    size_t next_halt;
};

/** struct pending_head - journal.c's: a signed head, to be judged once the events that it speaks of have
 * come; @hash "" = none */
struct pending_head {
    int64_t sequence, nonce_usec;
    char hash[HASH_TEXT_MAX];
};

/**
 * struct fleet_host - owned by the fleet; stays until the host ages out
 * @labels: as the join said: for choosing; the host's own policy decides again
 * @address: "" = none
 * @saved_usec: @last_seen_usec as the store has it
 * @clock_offset_usec: host minus coordinator
 * @sequence: of the last event in the store, @hash of it
 * @head_sequence: proved: up to here a head that the host signed fits the chain; stored
 * @head_nonce_usec: when the nonce that it answers was given out: it hides nothing from before
 * @is_disputed: a signed head speaks against what came after that: it may be replaced
 * @is_suspect: its chain contradicts itself or a head: someone withheld, forged or lost events
 */
struct fleet_host {
    struct coordinator *coordinator;
    char id[64];
    json_t *labels;
    char address[64];
    struct public_key key;
    int64_t joined_usec, last_seen_usec, saved_usec;
    bool has_clock;
    int64_t clock_offset_usec, clock_bound_usec;
    int64_t sequence;
    char hash[HASH_TEXT_MAX];
    int64_t head_sequence, head_nonce_usec;
    bool is_disputed, is_suspect;
    struct pending_head head;
    struct mailbox mailbox;
};

struct fleet_host *fleet_find(struct coordinator *coordinator, const char *id);
/** fleet_require() - whose certificate asks, and is seen by it; NULL = it aged out, as @error says */
struct fleet_host *fleet_require(struct coordinator *coordinator, const struct http_request *request,
                                 struct error *error);
/** fleet_at() - in order of id; NULL = there are not so many */
struct fleet_host *fleet_at(struct coordinator *coordinator, size_t index);
bool fleet_is_in_contact(const struct fleet_host *host);

int fleet_open(struct coordinator *coordinator, struct error *error);
void fleet_close(struct coordinator *coordinator);
/** fleet_join() - remember a host, or that it joined again; -EEXIST when the name belongs to another key */
int fleet_join(struct coordinator *coordinator, const struct fleet_host *joining, struct error *error);
/** fleet_suspect() - mark @host, durably, and say why */
void fleet_suspect(struct fleet_host *host, const char *why);
/** fleet_age() - once a minute: write down who was seen, forget who was not for 30 days */
void fleet_age(struct coordinator *coordinator);
int fleet_handle_hosts(struct coordinator *coordinator, struct http_request *request, struct error *error);

int delivery_open(struct fleet_host *host);
/** delivery_close() - a held poll is answered with an error */
void delivery_close(struct fleet_host *host);
/**
 * delivery_send() - queue @envelope for @host, durably, and answer its held poll; a halt goes out at once,
 * and into the store if that works
 * @mandate_hash: what the host has to fetch with it, NULL = nothing
 */
int delivery_send(struct coordinator *coordinator, const char *host, const struct envelope *envelope,
                  const char *mandate_hash, struct error *error);
/** delivery_nudge() - answer the held poll of @host, or its next one, at once, with what waits or nothing: a
 * poll with a newer head follows */
void delivery_nudge(struct coordinator *coordinator, const char *host);
/** delivery_hold() - answer @request when something waits, at once if @is_urgent, else after 25 s with
 * nothing */
void delivery_hold(struct fleet_host *host, struct http_request *request, bool is_urgent);
/** delivery_received() - @host has the item @id */
int delivery_received(struct fleet_host *host, const char *id, struct error *error);
/** delivery_new_nonce() - for the next answer to @host; borrowed */
const char *delivery_new_nonce(struct fleet_host *host);
/** delivery_store_halts() - those that nobody has fetched, whatever became of the store since they came */
void delivery_store_halts(struct coordinator *coordinator);
/** delivery_age() - drop what nobody fetched in time */
void delivery_age(struct coordinator *coordinator);
