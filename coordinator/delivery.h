/* Mailboxes: what waits for a host, the poll that it holds, and the nonces that it was given. Private to the
 * agent's side. */
#pragma once

#include "fleet.h"

#define DELIVERY_HOLD_SECONDS 25
#define DELIVERY_ITEMS_MAX    16
#define DELIVERY_KEEP_USEC    (900 * USEC_PER_SEC) /* whatever is sent has expired by then */
#define DELIVERY_HALTS_MAX    8
#define DELIVERY_NONCES       4
#define DELIVERY_NONCE_TEXT   33

/** struct nonce - @sequence: the last event in the store when it was given out */
struct nonce {
    char text[DELIVERY_NONCE_TEXT];
    int64_t at_usec, sequence;
};

/** struct pending_head - a signed head to be judged once the events that it speaks of have come; @hash "" =
 * none */
struct pending_head {
    int64_t sequence, at_usec, nonce_usec;
    char hash[HASH_TEXT_MAX];
};
struct pending_head *delivery_head(struct fleet_host *host);

struct mailbox *delivery_mailbox(struct coordinator *coordinator, struct fleet_host *host);
/** delivery_drop() - free the mailbox of @host; a held poll is answered with an error */
void delivery_drop(struct fleet_host *host);
/** delivery_hold() - answer @request when something waits, at once if @is_urgent, else after 25 s with
 * nothing */
void delivery_hold(struct fleet_host *host, struct http_request *request, bool is_urgent);
/** delivery_received() - @host has the item @id */
int delivery_received(struct coordinator *coordinator, const struct fleet_host *host, const char *id,
                      struct error *error);
/** delivery_new_nonce() - for the next answer to @host; borrowed; NULL = no randomness */
const char *delivery_new_nonce(struct fleet_host *host);
/** delivery_find_nonce() - as it was given to @host; NULL = it is none of the last few */
const struct nonce *delivery_find_nonce(const struct fleet_host *host, const char *text);
/** delivery_store_halts() - those that nobody has fetched, whatever became of the store since they came */
void delivery_store_halts(struct coordinator *coordinator);
/** delivery_age() - drop what nobody fetched in time */
void delivery_age(struct coordinator *coordinator);
