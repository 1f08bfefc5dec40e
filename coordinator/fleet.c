/* The hosts in memory, as the store has them: an array in order of id. */
#include "fleet.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct fleet {
    size_t count;
    struct fleet_host **hosts;
};

static struct fleet_host *host_free(struct fleet_host *host)
{
    if (!host)
        return NULL;
    delivery_close(host);
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

struct fleet_host *fleet_at(struct coordinator *coordinator, size_t index)
{
    return index < coordinator->fleet->count ? coordinator->fleet->hosts[index] : NULL;
}

struct fleet_host *fleet_find(struct coordinator *coordinator, const char *id)
{
    struct fleet_host *host = fleet_at(coordinator, fleet_place(coordinator->fleet, id));

    return host && strcmp(host->id, id) == 0 ? host : NULL;
}

struct fleet_host *fleet_require(struct coordinator *coordinator, const struct http_request *request,
                                 struct error *error)
{
    struct fleet_host *host = fleet_find(coordinator, request->peer);

    if (host)
        host->last_seen_usec = time_now_usec();
    else
        error_set(error, EACCES, "this host is not known: it aged out, join again");
    return host;
}

static struct fleet_host *fleet_add(struct coordinator *coordinator, const char *id)
{
    _cleanup_(host_freep) struct fleet_host *host = calloc(1, sizeof(*host));
    struct fleet *fleet = coordinator->fleet;
    struct fleet_host **hosts = reallocarray(fleet->hosts, fleet->count + 1, sizeof(struct fleet_host *));
    size_t place;

    if (hosts)
        fleet->hosts = hosts;
    if (!host || !hosts)
        return NULL;
    host->coordinator = coordinator;
    snprintf(host->id, sizeof(host->id), "%s", id);
    if (delivery_open(host) < 0)
        return NULL;
    place = fleet_place(fleet, id);
    memmove(hosts + place + 1, hosts + place, (fleet->count++ - place) * sizeof(*hosts));
    return hosts[place] = TAKE_PTR(host);
}

bool fleet_is_in_contact(const struct fleet_host *host)
{
    return time_now_usec() - host->last_seen_usec < FLEET_CONTACT_USEC;
}

static int take_row(struct coordinator *coordinator, const struct store_row *row, struct error *error)
{
    struct fleet_host *host = fleet_find(coordinator, store_text(row, 0));
    json_t *labels = json_loads(store_text(row, 2), JSON_REJECT_DUPLICATES, NULL);

    if (!host)
        host = fleet_add(coordinator, store_text(row, 0));
    if (!host || !labels || public_key_parse(&host->key, store_text(row, 1)) < 0) {
        json_decref(labels);
        return error_set(error, EBADMSG, "store: the row of host %s can't be read", store_text(row, 0));
    }
    json_decref(host->labels);
    host->labels = labels;
    snprintf(host->address, sizeof(host->address), "%s", store_text(row, 3));
    host->joined_usec = store_integer(row, 4);
    host->saved_usec = host->last_seen_usec = store_integer(row, 5);
    host->is_suspect = store_integer(row, 6) != 0;
    host->sequence = store_integer(row, 7);
    snprintf(host->hash, sizeof(host->hash), "%s", store_text(row, 8));
    host->head_sequence = store_integer(row, 9);
    return 0;
}

/* @id: which host, NULL = all */
static int fleet_load(struct coordinator *coordinator, const char *id, struct error *error)
{
    _cleanup_(store_row_freep) struct store_row *row = store_select(
        coordinator->store, error,
        "SELECT h.id, h.public, h.labels, h.address, h.joined, h.last_seen, h.is_suspect,"
        " e.sequence, coalesce(e.hash, printf('%064d', 0)), h.proved FROM hosts h LEFT JOIN events e"
        " ON e.host = h.id AND e.sequence = (SELECT max(sequence) FROM events WHERE host = h.id)"
        " WHERE coalesce(?, h.id) = h.id ORDER BY h.id",
        "s", id);
    int r;

    while ((r = store_next(row, error)) > 0) {
        r = take_row(coordinator, row, error);
        if (r < 0)
            break;
    }
    return r;
}

int fleet_open(struct coordinator *coordinator, struct error *error)
{
    coordinator->fleet = calloc(1, sizeof(*coordinator->fleet));
    return coordinator->fleet ? fleet_load(coordinator, NULL, error) : error_oom(error);
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

/* Whoever gets a name that aged out goes on from where its chain was. */
int fleet_join(struct coordinator *coordinator, const struct fleet_host *joining, struct error *error)
{
    struct fleet_host *host = fleet_find(coordinator, joining->id);
    _cleanup_free_ char *labels = NULL;
    char key[KEY_TEXT_MAX];
    int r;

    if (host && memcmp(&host->key, &joining->key, sizeof(host->key)) != 0)
        return error_set(error, EEXIST, "host %s has joined with another key: choose another name",
                         joining->id);
    labels = json_dumps(joining->labels, JSON_COMPACT | JSON_SORT_KEYS);
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
    return r < 0 ? r : fleet_load(coordinator, joining->id, error);
}

void fleet_suspect(struct fleet_host *host, const char *why)
{
    coordinator_say(host->coordinator, "host %s is suspect: %s", host->id, why);
    host->is_suspect = true;
    (void)store_write(host->coordinator->store, NULL, "UPDATE hosts SET is_suspect = 1 WHERE id = ?", "s",
                      host->id);
}

static bool is_forgotten(const struct fleet_host *host)
{
    return host->last_seen_usec < time_now_usec() - FLEET_AGE_USEC &&
           store_write(host->coordinator->store, NULL, "DELETE FROM hosts WHERE id = ?", "s", host->id) == 0;
}

void fleet_age(struct coordinator *coordinator)
{
    struct fleet *fleet = coordinator->fleet;
    size_t kept = 0;

    for (size_t i = 0; i < fleet->count; i++) {
        struct fleet_host *host = fleet->hosts[i];

        if (is_forgotten(host)) {
            host_free(host);
            continue;
        }
        fleet->hosts[kept++] = host;
        if (host->last_seen_usec != host->saved_usec &&
            store_write(coordinator->store, NULL, "UPDATE hosts SET last_seen = ? WHERE id = ?", "is",
                        host->last_seen_usec, host->id) == 0)
            host->saved_usec = host->last_seen_usec;
    }
    fleet->count = kept;
}

static json_t *describe(const struct fleet_host *host)
{
    json_t *clock = host->has_clock
                        ? json_pack("{s:I, s:I}", "offset_usec", (json_int_t)host->clock_offset_usec,
                                    "bound_usec", (json_int_t)host->clock_bound_usec)
                        : json_null();

    return json_pack("{s:s, s:O, s:s, s:o, s:b, s:b, s:o}", "host", host->id, "labels", host->labels,
                     "address", host->address, "last_seen", json_time(host->last_seen_usec), "is_in_contact",
                     fleet_is_in_contact(host), "is_suspect", host->is_suspect, "clock", clock);
}

int fleet_handle_hosts(struct coordinator *coordinator, struct http_request *request, struct error *error)
{
    json_t *hosts = json_array();
    struct fleet_host *host;

    for (size_t i = 0; (host = fleet_at(coordinator, i)); i++)
        json_array_append_new(hosts, describe(host));
    http_reply_json(request, 200, hosts);
    return 0;
}
