/* The hosts: who has joined, what they say of themselves, when they were last seen, how far their events have
 * come. */
#pragma once

#include "coordinator.h"

#define FLEET_CONTACT_USEC                                                                                   \
    (40 * USEC_PER_SEC) /* seen within this = in contact: a poll is held 25 s at most */

/** struct fleet_host - owned by the fleet; stays until the host ages out */
struct fleet_host {
    char id[64];
    json_t *labels;   /* as the join said: for choosing; the host's own policy decides again */
    char address[64]; /* "" = none */
    struct public_key key;
    int64_t joined_usec, last_seen_usec;
    bool has_clock;
    int64_t clock_offset_usec, clock_bound_usec; /* host minus coordinator */
    int64_t sequence;                            /* last event in the store */
    char hash[HASH_TEXT_MAX];                    /* of that event */
    int64_t head_sequence,   /* proved: up to here a head that the host signed fits the chain; stored */
        head_usec;           /* when the last such head came */
    bool is_disputed;        /* a signed head speaks against what came after that: it may be replaced */
    int64_t head_nonce_usec; /* when the nonce that it answers was given out: it hides nothing from before */
    bool is_suspect;    /* its chain contradicts itself or a head: someone withheld, forged or lost events */
    int64_t saved_usec; /* last_seen_usec as the store has it */
    struct mailbox *mailbox; /* delivery.c's */
};

#define FLEET_AGE_USEC (30 * 24 * 3600 * USEC_PER_SEC)

struct fleet_host *fleet_find(struct coordinator *coordinator, const char *id);
/** fleet_each() - in order of id, until @each returns other than 0, which is returned */
int fleet_each(struct coordinator *coordinator, int (*each)(void *context, struct fleet_host *host),
               void *context);
bool fleet_is_in_contact(const struct fleet_host *host);

int fleet_open(struct coordinator *coordinator, struct error *error);
void fleet_close(struct coordinator *coordinator);
/** fleet_join() - remember a host, or that it joined again; -EEXIST when the name belongs to another key */
int fleet_join(struct coordinator *coordinator, const struct fleet_host *joining, struct error *error);
/** fleet_saw() - the host has just spoken to us */
int fleet_saw(struct coordinator *coordinator, struct fleet_host *host, struct error *error);
/** fleet_suspect() - mark @host, durably, and say why */
void fleet_suspect(struct coordinator *coordinator, struct fleet_host *host, const char *why);
/** fleet_age() - forget who was not seen for 30 days */
void fleet_age(struct coordinator *coordinator);
void fleet_handle_hosts(void *context, struct http_request *request);

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
