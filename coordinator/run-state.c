/* One run in memory: making it from its mandate, looking things up in it, freeing it. */
#include "run-state.h"

#include <stdio.h>
#include <string.h>

const char *const run_state_names[] = {
    [RUN_CHECKING] = "checking", [RUN_WARMING_UP] = "warming-up", [RUN_STARTING] = "starting",
    [RUN_RUNNING] = "running",   [RUN_SETTLING] = "settling",     [RUN_DONE] = "done",
    [RUN_HALTED] = "halted",     [RUN_FAILED] = "failed",
};
const char *const run_fault_names[] = {
    [RUN_FAULT_ORDERED] = "ordered",     [RUN_FAULT_ACCEPTED] = "accepted", [RUN_FAULT_ARMED] = "armed",
    [RUN_FAULT_EXERCISED] = "exercised", [RUN_FAULT_REVERTED] = "reverted", [RUN_FAULT_ENDED] = "ended",
    [RUN_FAULT_FAILED] = "failed",       [RUN_FAULT_REFUSED] = "refused",
};
const char *const verdict_names[] = {
    [VERDICT_MET] = "met",
    [VERDICT_UNKNOWN] = "unknown",
    [VERDICT_MISSED] = "missed",
};

int run_state_find(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(run_state_names); i++)
        if (!strcmp(run_state_names[i], name))
            return (int)i;
    return -1;
}

const char *json_text(const json_t *map, const char *key)
{
    return json_string_value(json_object_get(map, key)) ?: "";
}

json_t *json_words(const char *text)
{
    size_t length = strlen(text);
    json_t *value = json_string(text);

    for (size_t cut = 1; !value && cut < 4 && cut <= length; cut++)
        value = json_stringn(text, length - cut);
    return value ? value : json_string("(not UTF-8)");
}

void *array_add(void *items, size_t *count, size_t size)
{
    void *at, *grown;

    memcpy(&at, items, sizeof(at));
    if ((*count & (*count - 1)) == 0) { /* full at every power of two */
        grown = reallocarray(at, *count ? 2 * *count : 1, size);
        if (!grown)
            return NULL;
        at = grown;
        memcpy(items, &at, sizeof(at));
    }
    return memset((char *)at + size * (*count)++, 0, size);
}

struct run_host *run_host(const struct run *run, const char *id)
{
    EACH_HOST (run, host)
        if (!strcmp(host->id, id))
            return host;
    return NULL;
}

struct run_host *run_add_host(struct run *run, const char *id)
{
    struct run_host *host = run_host(run, id);

    if (host)
        return host;
    host = array_add(&run->hosts, &run->n_hosts, sizeof(*host));
    if (host)
        snprintf(host->id, sizeof(host->id), "%s", id);
    return host;
}

struct run_fault *run_fault_of(const struct run *run, const char *host, const char *step)
{
    EACH_ORDER (run, fault)
        if (!strcmp(fault->host, host) && !strcmp(fault->step ? fault->step->name : MANDATE_OBSERVE, step))
            return fault;
    return NULL;
}

static int add_endpoints(struct run *run, const char *from, struct error *error)
{
    for (const struct node *node = run->mandate->probes->first; node; node = node->next) {
        struct run_endpoint *endpoint = array_add(&run->endpoints, &run->n_endpoints, sizeof(*endpoint));
        int r =
            endpoint ? probe_decode(&endpoint->probe, run->mandate->document, node, error) : error_oom(error);

        if (r < 0)
            return r;
        endpoint->from = from;
        recovery_init(&endpoint->live, 0, endpoint->probe.unhealthy_after, endpoint->probe.healthy_after,
                      endpoint->probe.stable_sec * USEC_PER_SEC);
    }
    return 0;
}

static int add_hosts(struct run *run, struct error *error)
{
    const struct mandate *mandate = run->mandate;
    struct run_host *host;
    int r;

    for (size_t i = 0; i < mandate->n_steps; i++)
        for (const struct node *node = mandate->steps[i].hosts->first; node; node = node->next) {
            host = run_add_host(run, node->string);
            if (!host)
                return error_oom(error);
            host->is_pinned = true;
        }
    if (!mandate->observers || !mandate->probes)
        return 0;
    for (const struct node *node = mandate->observers->first; node; node = node->next) {
        host = run_add_host(run, node->string);
        if (!host)
            return error_oom(error);
        host->is_observer = true;
        r = add_endpoints(run, node->string, error);
        if (r < 0)
            return r;
    }
    return 0;
}

int run_new(struct run **ret, const char *id, struct mandate *mandate, int64_t now_usec,
            struct coordinator *coordinator, struct error *error)
{
    struct run *run = calloc(1, sizeof(*run));
    int r;

    if (!run) {
        mandate_free(mandate);
        return error_oom(error);
    }
    snprintf(run->id, sizeof(run->id), "%s", id);
    run->mandate = mandate;
    run->since_usec = run->loaded_usec = now_usec;
    run->coordinator = coordinator;
    run->lines = json_array();
    run->facts = json_array();
    run->steps = calloc(mandate->n_steps ? mandate->n_steps : 1, sizeof(*run->steps));
    r = run->steps ? add_hosts(run, error) : error_oom(error);
    if (r < 0) {
        run_free(run);
        return r;
    }
    *ret = run;
    return 0;
}

struct run *run_free(struct run *run)
{
    if (!run)
        return NULL;
    EACH_HOST (run, host)
        json_decref(host->answer);
    EACH_ORDER (run, order)
        json_decref(order->effect);
    EACH_ENDPOINT (run, endpoint)
        free(endpoint->samples);
    free(run->hosts);
    free(run->faults);
    free(run->endpoints);
    free(run->steps);
    json_decref(run->lines);
    json_decref(run->facts);
    json_decref(run->budgets);
    mandate_free(run->mandate);
    free(run);
    return NULL;
}

bool run_fault_is_active(const struct run_fault *fault)
{
    return fault->step && (fault->state < RUN_FAULT_REVERTED || fault->is_left_behind);
}

int64_t run_corrected(const struct run *run, const char *host, int64_t usec)
{
    const struct run_host *found = run_host(run, host);

    return usec - (found && found->has_clock ? found->clock_offset_usec : 0);
}

int64_t run_end_usec(const struct run *run)
{
    int64_t end_usec = run->started_usec + run->mandate->duration_msec * USEC_PER_MSEC;

    EACH_FAULT (run, fault)
        end_usec = later(end_usec, fault->deadline_usec);
    return end_usec;
}

int64_t run_reverted_usec(const struct run *run)
{
    int64_t last_usec = 0;

    EACH_FAULT (run, fault)
        if (fault->reverted_usec)
            last_usec = later(last_usec, run_corrected(run, fault->host, fault->reverted_usec));
    return last_usec;
}

bool run_host_replaced(const struct run *run, const struct run_host *host)
{
    int64_t reverted_usec = run_reverted_usec(run);

    return host->is_replacement && host->in_service_usec &&
           (!reverted_usec || host->in_service_usec < reverted_usec);
}

size_t run_count_replacements(const struct run *run, size_t *ret_served)
{
    size_t n_started = 0;

    *ret_served = 0;
    EACH_HOST (run, host) {
        n_started += host->is_replacement;
        *ret_served += run_host_replaced(run, host);
    }
    return n_started;
}
