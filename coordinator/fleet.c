/* The hosts in memory, as the store has them: an array in order of id. */
#include "fleet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "delivery.h"

#define SAVE_SEEN_USEC (60 * USEC_PER_SEC) /* last_seen reaches the store so often at most */

struct fleet {
    size_t count;
    struct fleet_host **hosts;
};

static const char no_hash[] = "0000000000000000000000000000000000000000000000000000000000000000";

static struct fleet_host *host_free(struct fleet_host *host)
{
    if (!host)
        return NULL;
    delivery_drop(host);
    json_decref(host->labels);
    free(host);
    return NULL;
}
DEFINE_CLEANUP(struct fleet_host *, host_free)

/* Where @id is, or would be. */
static size_t fleet_place(const struct fleet *fleet, const char *id)
{
    size_t low = 0, high = fleet->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (strcmp(fleet->hosts[middle]->id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct fleet_host *fleet_find(struct coordinator *coordinator, const char *id)
{
    const struct fleet *fleet = coordinator->fleet;
    size_t place = fleet_place(fleet, id);

    return place < fleet->count && strcmp(fleet->hosts[place]->id, id) == 0 ? fleet->hosts[place] : NULL;
}

/* Takes over @host. */
static int fleet_insert(struct coordinator *coordinator, struct fleet_host *host, struct error *error)
{
    _cleanup_(host_freep) struct fleet_host *owned = host;
    struct fleet *fleet = coordinator->fleet;
    struct fleet_host **hosts = reallocarray(fleet->hosts, fleet->count + 1, sizeof(*hosts));
    size_t place;

    if (!hosts)
        return error_oom(error);
    fleet->hosts = hosts;
    owned->mailbox = delivery_mailbox(coordinator, owned);
    if (!owned->mailbox)
        return error_oom(error);
    place = fleet_place(fleet, owned->id);
    memmove(hosts + place + 1, hosts + place, (fleet->count - place) * sizeof(*hosts));
    fleet->count++;
    hosts[place] = TAKE_PTR(owned);
    return 0;
}

int fleet_each(struct coordinator *coordinator, int (*each)(void *context, struct fleet_host *host),
               void *context)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < coordinator->fleet->count; i++)
        r = each(context, coordinator->fleet->hosts[i]);
    return r;
}

bool fleet_is_in_contact(const struct fleet_host *host)
{
    return time_now_usec() - host->last_seen_usec < FLEET_CONTACT_USEC;
}

static int on_host(void *context, const struct store_row *row)
{
    _cleanup_(host_freep) struct fleet_host *host = calloc(1, sizeof(*host));
    struct coordinator *coordinator = context;

    if (!host)
        return -ENOMEM;
    strncpy(host->id, store_text(row, 0), sizeof(host->id) - 1);
    if (public_key_parse(&host->key, store_text(row, 1)) < 0)
        return -EBADMSG;
    host->labels = json_loads(store_text(row, 2), JSON_REJECT_DUPLICATES, NULL);
    if (!host->labels)
        return -EBADMSG;
    strncpy(host->address, store_text(row, 3), sizeof(host->address) - 1);
    host->joined_usec = store_integer(row, 4);
    host->saved_usec = host->last_seen_usec = store_integer(row, 5);
    host->is_suspect = store_integer(row, 6) != 0;
    host->sequence = store_integer(row, 7);
    snprintf(host->hash, sizeof(host->hash), "%s", host->sequence > 0 ? store_text(row, 8) : no_hash);
    host->head_sequence = store_integer(row, 9);
    return fleet_insert(coordinator, TAKE_PTR(host), NULL);
}

int fleet_open(struct coordinator *coordinator, struct error *error)
{
    int r;

    coordinator->fleet = calloc(1, sizeof(*coordinator->fleet));
    if (!coordinator->fleet)
        return error_oom(error);
    r = store_query(
        coordinator->store, on_host, coordinator, error,
        "SELECT h.id, h.public, h.labels, h.address, h.joined, h.last_seen, h.is_suspect,"
        " e.sequence, e.hash, h.proved FROM hosts h LEFT JOIN events e ON e.host = h.id AND e.sequence ="
        " (SELECT max(sequence) FROM events WHERE host = h.id) ORDER BY h.id",
        "");
    return r == -EBADMSG ? error_set(error, EBADMSG, "store: a host's row can't be read") : r;
}

void fleet_close(struct coordinator *coordinator)
{
    struct fleet *fleet = TAKE_PTR(coordinator->fleet);

    for (size_t i = 0; fleet && i < fleet->count; i++)
        host_free(fleet->hosts[i]);
    if (fleet)
        free(fleet->hosts);
    free(fleet);
}

static int fleet_save(struct coordinator *coordinator, const struct fleet_host *joining, struct error *error)
{
    _cleanup_free_ char *labels = json_dumps(joining->labels, JSON_COMPACT | JSON_SORT_KEYS);
    char key[KEY_TEXT_MAX];
    int r;

    if (!labels)
        return error_oom(error);
    r = store_write(
        coordinator->store, error,
        "INSERT INTO hosts (id, public, labels, address, joined, last_seen, proved) VALUES (?, ?, ?, ?, ?, ?,"
        " (SELECT coalesce(max(sequence), 0) FROM events WHERE host = ?))"
        " ON CONFLICT (id) DO UPDATE SET labels = excluded.labels, address = excluded.address,"
        " joined = excluded.joined, last_seen = excluded.last_seen, is_suspect = 0",
        "ssssiis", joining->id, public_key_format(&joining->key, key), labels, joining->address,
        joining->joined_usec, joining->joined_usec, joining->id);
    return r < 0 ? r : 0;
}

/* What the chain of a name that aged out was at: whoever gets the name goes on from there. */
static int on_last_event(void *context, const struct store_row *row)
{
    struct fleet_host *host = context;

    host->sequence = host->head_sequence = store_integer(row, 0);
    strncpy(host->hash, store_text(row, 1), sizeof(host->hash) - 1);
    return 0;
}

static int fleet_add(struct coordinator *coordinator, const struct fleet_host *joining, struct error *error)
{
    _cleanup_(host_freep) struct fleet_host *host = malloc(sizeof(*host));
    int r;

    if (!host)
        return error_oom(error);
    *host = *joining;
    json_incref(host->labels);
    strcpy(host->hash, no_hash);
    r = store_query(coordinator->store, on_last_event, host, error,
                    "SELECT sequence, hash FROM events WHERE host = ? ORDER BY sequence DESC LIMIT 1", "s",
                    host->id);
    return r < 0 ? r : fleet_insert(coordinator, TAKE_PTR(host), error);
}

int fleet_join(struct coordinator *coordinator, const struct fleet_host *joining, struct error *error)
{
    struct fleet_host *host = fleet_find(coordinator, joining->id);
    int r;

    if (host && memcmp(&host->key, &joining->key, sizeof(host->key)) != 0)
        return error_set(error, EEXIST, "host %s has joined with another key: choose another name",
                         joining->id);
    r = fleet_save(coordinator, joining, error);
    if (r < 0 || !host)
        return r < 0 ? r : fleet_add(coordinator, joining, error);
    json_incref(joining->labels); /* first: they may be the same */
    json_decref(host->labels);
    host->labels = joining->labels;
    strcpy(host->address, joining->address);
    host->joined_usec = host->last_seen_usec = host->saved_usec = joining->joined_usec;
    host->is_suspect = false;
    return 0;
}

int fleet_saw(struct coordinator *coordinator, struct fleet_host *host, struct error *error)
{
    int r;

    host->last_seen_usec = time_now_usec();
    if (host->last_seen_usec - host->saved_usec < SAVE_SEEN_USEC)
        return 0;
    host->saved_usec = host->last_seen_usec;
    r = store_write(coordinator->store, error, "UPDATE hosts SET last_seen = ? WHERE id = ?", "is",
                    host->last_seen_usec, host->id);
    return r < 0 && r != -EROFS ? r : 0; /* who only wants to hear of halts is heard */
}

void fleet_suspect(struct coordinator *coordinator, struct fleet_host *host, const char *why)
{
    coordinator_say(coordinator, "host %s is suspect: %s", host->id, why);
    host->is_suspect = true;
    (void)store_write(coordinator->store, NULL, "UPDATE hosts SET is_suspect = 1 WHERE id = ?", "s",
                      host->id);
}

void fleet_age(struct coordinator *coordinator)
{
    struct fleet *fleet = coordinator->fleet;
    int64_t before = time_now_usec() - FLEET_AGE_USEC;
    size_t kept = 0;

    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_host *host = fleet->hosts[i];

        if (host->last_seen_usec >= before ||
            store_write(coordinator->store, NULL, "DELETE FROM hosts WHERE id = ?", "s", host->id) < 0)
            fleet->hosts[kept++] = host;
        else
            host_free(host);
    }
    fleet->count = kept;
}

static int add_host(void *context, struct fleet_host *host)
{
    json_t *clock = host->has_clock
                        ? json_pack("{s:I, s:I}", "offset_usec", (json_int_t)host->clock_offset_usec,
                                    "bound_usec", (json_int_t)host->clock_bound_usec)
                        : json_null();
    json_t *entry =
        json_pack("{s:s, s:O, s:s, s:o, s:b, s:b, s:o}", "host", host->id, "labels", host->labels, "address",
                  host->address, "last_seen", json_time(host->last_seen_usec), "is_in_contact",
                  fleet_is_in_contact(host), "is_suspect", host->is_suspect, "clock", clock);

    return json_array_append_new(context, entry) < 0 ? -ENOMEM : 0;
}

void fleet_handle_hosts(void *context, struct http_request *request)
{
    json_t *hosts = json_array();

    if (fleet_each(context, add_host, hosts) < 0) {
        json_decref(hosts);
        hosts = NULL;
    }
    http_reply_json(request, 200, hosts);
}
