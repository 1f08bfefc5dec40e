/* What the parts of the coordinator share: configuration, keys, store, fleet, runs. */
#pragma once

#include "common/document.h"
#include "common/envelope.h"
#include "common/mandate.h"
#include "common/roots.h"
#include "http.h"
#include "store.h"

#define COORDINATOR_CONFIG "/etc/grivet/coordinator.yaml"
#define COORDINATOR_FOLDER "/var/lib/grivet-coordinator"

/** struct place - where the coordinator lives; @notice logs one line */
struct place {
    const char *config, *folder;
    void (*notice)(const char *text);
};

/* Subcommands, rows of the table in main.c. Each gets its own name as argv[0]. -EINVAL = wrong usage */
int serve_run(const struct place *place, int argc, char **argv, struct error *error);
int init_run(const struct place *place, int argc, char **argv, struct error *error);
int operator_run(const struct place *place, int argc, char **argv, struct error *error);

/** output_take_form() - the value of -o: text or json */
int output_take_form(const char *form, bool *ret_is_json, struct error *error);
/** output_json() - a result, to stdout; @json is taken, NULL = out of memory */
int output_json(json_t *json, struct error *error);

/** struct config - decoded coordinator.yaml; pointers belong to @document */
struct config {
    struct document *document;
    const char *environment;
    const struct node *listen;    /* list of "address:port" */
    const struct node *names;     /* list of names and addresses for the server's certificate */
    const struct node *zones;     /* map of zone id to list of CIDRs */
    const struct node *balancers; /* list, see adapters; NULL = none */
};

struct ca;
struct fleet;
struct delivery;
struct runs;
struct balancers;

/** struct coordinator - owned by serve_run(), passed to every handler */
struct coordinator {
    struct event_base *base;
    struct event *retry; /* while the store can't be written */
    bool is_read_only;   /* it could not: said once */
    struct config config;
    struct store *store;
    struct secret_key *order_key, *halt_key;
    struct roots *roots;
    char *roots_text;
    struct fleet *fleet;
    struct delivery *delivery;
    struct runs *runs;
    struct balancers *balancers;
    struct http_server *server;
    struct ca *ca;
    void (*notice)(const char *text); /* for the log */
};

/** config_take() - check coordinator.yaml, which is taken over; config_load() reads it, config_clear() frees
 */
int config_take(struct config *ret, struct document *document, struct error *error);
int config_load(struct config *ret, const char *path, struct error *error);
/** config_url() - where the coordinator says that it is: its first name, the port that it listens on */
const char *config_url(const struct config *config, char *ret, size_t size);
void config_clear(struct config *config);

/** coordinator_say() - one line for the log */
void coordinator_say(struct coordinator *coordinator, const char *format, ...) _printf_(2, 3);
/** coordinator_seal() - @payload (reference taken) as an envelope of @kind, signed by the order key, a halt
 * by the halt key */
int coordinator_seal(struct coordinator *coordinator, enum envelope_kind kind, json_t *payload,
                     struct envelope **ret, struct error *error);
