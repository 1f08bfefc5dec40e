/* Lines of events as a host's courier hands them to the coordinator, into a real store. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "coordinator/agents.h"

static char folder[] = "grivet-fuzz-XXXXXX";
static struct coordinator coordinator;

/* The runs' side, which is not looked at here. */
void runs_on_event(struct coordinator *c, const struct host_event *event)
{
}
void runs_on_head(struct coordinator *c)
{
}

static void on_notice(const char *text)
{
}

/* "web-1" has joined and said nothing yet. */
static struct fleet_host *open_all(void)
{
    struct fleet_host joining = {.id = "web-1"};
    struct secret_key *key = NULL;
    char path[64];

    coordinator.notice = on_notice;
    coordinator.base = event_base_new();
    if (!mkdtemp(folder) || secret_key_generate(&key, NULL) < 0)
        abort();
    snprintf(path, sizeof(path), "%s/store.db", folder);
    if (store_open(&coordinator.store, path, coordinator.base, NULL) < 0 ||
        fleet_open(&coordinator, NULL) < 0)
        abort();
    joining.key = secret_key_public(key);
    joining.labels = json_object();
    joining.joined_usec = joining.last_seen_usec = time_now_usec();
    if (fleet_join(&coordinator, &joining, NULL) < 0)
        abort();
    json_decref(joining.labels);
    secret_key_free(key);
    return fleet_find(&coordinator, "web-1");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct fleet_host *host;
    struct error error = {0};
    int64_t wanted;

    if (!host)
        host = open_all();
    host->sequence = 0; /* each input starts the chain anew */
    memset(host->hash, '0', sizeof(host->hash) - 1);
    if (store_write(coordinator.store, &error, "DELETE FROM events", "") < 0)
        abort();
    journal_ingest(host, (const char *)data, size, &wanted, &error);
    return 0;
}
