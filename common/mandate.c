/* The mandate: decoding and checking what people signed. See mandate.h; orders and the like are in order.c.
 */
#include "mandate.h"

#include <errno.h>
#include <string.h>

#define HOSTS_MAX       10000
#define PROBES_MAX      256
#define OBJECTIVES_MAX  256
#define ZONES_MAX       64
#define ZONE_CIDRS_MAX  4096
#define LABELS_MAX      16
#define PARAMETERS_MAX  64
#define MARGIN_MAX_MSEC (3600 * 1000) /* of warm-up and settling */

/* What is decoded once more, each by a table of its own. */
struct mandate_payload {
    struct mandate mandate;
    const struct node *zones, *steps, *late_joiners;
};

static const struct field mandate_fields[] = {
    FIELD_SCHEMA_IS("grivet.mandate/1"),
    {"id", FIELD_UUID, offsetof(struct mandate_payload, mandate.id), true},
    {"experiment", FIELD_NAME, offsetof(struct mandate_payload, mandate.experiment), true},
    {"environment", FIELD_NAME, offsetof(struct mandate_payload, mandate.environment), true},
    {"description", FIELD_STRING, offsetof(struct mandate_payload, mandate.description)},
    {"created_at", FIELD_TIME, offsetof(struct mandate_payload, mandate.created_usec), true},
    {"not_before", FIELD_TIME, offsetof(struct mandate_payload, mandate.not_before_usec), true},
    {"not_after", FIELD_TIME, offsetof(struct mandate_payload, mandate.not_after_usec), true},
    {"max_runs", FIELD_INTEGER, offsetof(struct mandate_payload, mandate.max_runs), true, 1, 100000},
    {"require_percent", FIELD_INTEGER, offsetof(struct mandate_payload, mandate.require_percent), true, 1,
     100},
    {"warmup_ms", FIELD_INTEGER, offsetof(struct mandate_payload, mandate.warmup_msec), true, 0,
     MARGIN_MAX_MSEC},
    {"settle_ms", FIELD_INTEGER, offsetof(struct mandate_payload, mandate.settle_msec), true, 0,
     MARGIN_MAX_MSEC},
    {"duration_ms", FIELD_INTEGER, offsetof(struct mandate_payload, mandate.duration_msec), false,
     MANDATE_DURATION_MIN_MSEC, MANDATE_DURATION_MAX_MSEC},
    {"expect", FIELD_MAP, offsetof(struct mandate_payload, mandate.expect), true},
    {"zones", FIELD_MAP, offsetof(struct mandate_payload, zones), true, 0, ZONES_MAX},
    {"steps", FIELD_LIST, offsetof(struct mandate_payload, steps), true, 0, MANDATE_STEPS_MAX},
    {"late_joiners", FIELD_MAP, offsetof(struct mandate_payload, late_joiners)},
    {"observers", FIELD_NAMES, offsetof(struct mandate_payload, mandate.observers), false, 0, HOSTS_MAX},
    {"probes", FIELD_LIST, offsetof(struct mandate_payload, mandate.probes), false, 0, PROBES_MAX},
    {"objectives", FIELD_LIST, offsetof(struct mandate_payload, mandate.objectives), false, 0,
     OBJECTIVES_MAX},
    {},
};

static const struct field step_fields[] = {
    {"name", FIELD_NAME, offsetof(struct step, name), true},
    {"fault", FIELD_NAME, offsetof(struct step, fault), true},
    {"parameters", FIELD_MAP, offsetof(struct step, parameters), true, 0, PARAMETERS_MAX},
    {"duration_ms", FIELD_INTEGER, offsetof(struct step, duration_msec), true, MANDATE_DURATION_MIN_MSEC,
     MANDATE_DURATION_MAX_MSEC},
    {"hosts", FIELD_NAMES, offsetof(struct step, hosts), true, 1, HOSTS_MAX},
    {"after", FIELD_NAMES, offsetof(struct step, after), false, 1, MANDATE_STEPS_MAX},
    {"late_joiners", FIELD_BOOLEAN, offsetof(struct step, takes_late_joiners), true},
    {},
};

static const struct field late_fields[] = {
    {"labels", FIELD_LABELS, offsetof(struct mandate, late_labels), true, 1, LABELS_MAX},
    {"max", FIELD_INTEGER, offsetof(struct mandate, late_max), true, 1, HOSTS_MAX},
    {},
};

struct expect {
    int64_t hosts, share_percent;
};

static const struct field expect_fields[] = {
    {"hosts", FIELD_INTEGER, offsetof(struct expect, hosts), true, 1, HOSTS_MAX},
    {"max_share_of_group_percent", FIELD_INTEGER, offsetof(struct expect, share_percent), false, 1, 100},
    {},
};

static int parse_zone(const struct document *document, const struct node *node, struct zone *zone,
                      struct error *error)
{
    if (!node_name_is_valid(node->key))
        return node_error(document, node, error, "a zone id must be a name");
    if (node->type != DOCUMENT_LIST || node->count < 1 || node->count > ZONE_CIDRS_MAX)
        return node_error(document, node, error, "expected a list of 1 to %d address blocks", ZONE_CIDRS_MAX);
    zone->name = node->key;
    return node_cidrs(document, node, &zone->cidrs, &zone->n_cidrs, error);
}

static int parse_zones(struct mandate *mandate, const struct document *document, const struct node *map,
                       struct error *error)
{
    int r = 0;

    mandate->zones = document_allocate(document, map->count, sizeof(*mandate->zones));
    if (!mandate->zones)
        return error_oom(error);
    for (const struct node *node = map->first; node && r == 0; node = node->next)
        r = parse_zone(document, node, &mandate->zones[mandate->n_zones++], error);
    return r;
}

static int parse_step(struct mandate *mandate, const struct document *document, const struct node *node,
                      struct error *error)
{
    struct step *step = &mandate->steps[mandate->n_steps];
    int r;

    r = node_decode(document, node, step_fields, step, error);
    if (r < 0)
        return r;
    if (strcmp(step->name, MANDATE_OBSERVE) == 0)
        return node_error(document, node_get(node, "name"), error, "'%s' is reserved", MANDATE_OBSERVE);
    if (mandate_step(mandate, step->name))
        return node_error(document, node_get(node, "name"), error, "'%s' is given twice", step->name);
    if (step->takes_late_joiners && !mandate->late_labels)
        return node_error(document, node_get(node, "late_joiners"), error,
                          "the mandate does not say who may join late ('late_joiners')");
    EACH_AFTER (step, name)
        if (!mandate_step(mandate, name->string)) /* so that no circle can be */
            return node_error(document, name, error, "'%s' is no step that stands above this one",
                              name->string);
    mandate->n_steps++;
    return 0;
}

static int parse_steps(struct mandate *mandate, const struct document *document, const struct node *list,
                       struct error *error)
{
    int r = 0;

    mandate->steps = document_allocate(document, list->count, sizeof(*mandate->steps));
    if (!mandate->steps)
        return error_oom(error);
    for (const struct node *node = list->first; node && r == 0; node = node->next)
        r = parse_step(mandate, document, node, error);
    return r;
}

int mandate_count_hosts(const struct mandate *mandate, int64_t *ret, struct error *error)
{
    json_t *names = json_object();
    int r = names ? 0 : -1;

    for (size_t i = 0; i < mandate->n_steps; i++)
        for (const struct node *host = mandate->steps[i].hosts->first; host && r == 0; host = host->next)
            r = json_object_set(names, host->string, host->json);
    *ret = mandate->n_steps ? json_object_size(names) : mandate->observers->count;
    json_decref(names);
    return r < 0 ? error_oom(error) : 0;
}

/* A typing error in a label must not become a larger outage: what people expected binds, on the host as well.
 */
static int check_expected(const struct mandate *mandate, const struct document *document, struct error *error)
{
    struct expect expect = {0};
    int64_t hosts = 0;
    int r;

    r = node_decode(document, mandate->expect, expect_fields, &expect, error);
    if (r == 0)
        r = mandate_count_hosts(mandate, &hosts, error);
    if (r < 0)
        return r;
    if (hosts > expect.hosts)
        return node_error(document, node_get(mandate->expect, "hosts"), error,
                          "%lld hosts are named, %lld were expected", (long long)hosts,
                          (long long)expect.hosts);
    return 0;
}

/* Without steps all that is left is to watch: then somebody has to, something, and for a while. */
static int check_observation(const struct mandate *mandate, const struct document *document,
                             struct error *error)
{
    bool is_complete = mandate->duration_msec && mandate->observers && mandate->observers->count &&
                       mandate->probes && mandate->probes->count;

    if (!mandate->n_steps && !is_complete)
        return node_error(document, node_get(document_root(document), "steps"), error,
                          "there are none, and an observation takes 'duration_ms', 'observers' and 'probes'");
    if (mandate->n_steps && mandate->duration_msec)
        return node_error(document, node_get(document_root(document), "duration_ms"), error,
                          "is for an observation, without steps");
    return 0;
}

static int check_mandate(struct mandate_payload *payload, const struct document *document,
                         struct error *error)
{
    struct mandate *mandate = &payload->mandate;
    int r = 0;

    if (mandate->not_before_usec >= mandate->not_after_usec)
        return node_error(document, document_root(document), error, "not_after: must come after not_before");
    if (payload->late_joiners)
        r = node_decode(document, payload->late_joiners, late_fields, mandate, error);
    if (r == 0)
        r = parse_zones(mandate, document, payload->zones, error);
    if (r == 0)
        r = parse_steps(mandate, document, payload->steps, error);
    if (r == 0)
        r = check_observation(mandate, document, error);
    return r < 0 ? r : check_expected(mandate, document, error);
}

int mandate_parse(struct mandate **ret, const void *payload, size_t length, struct error *error)
{
    struct mandate_payload *decoded = calloc(1, sizeof(*decoded));
    _cleanup_(mandate_freep) struct mandate *mandate = decoded ? &decoded->mandate : NULL;
    int r;

    if (!mandate)
        return error_oom(error);
    r = document_decode(&mandate->document, "mandate", payload, length, mandate_fields, decoded, error);
    if (r == 0)
        r = check_mandate(decoded, mandate->document, error);
    if (r < 0)
        return r;
    hash_text(payload, length, mandate->hash);
    *ret = TAKE_PTR(mandate);
    return 0;
}

struct mandate *mandate_free(struct mandate *mandate)
{
    if (mandate)
        document_free(mandate->document);
    free(mandate);
    return NULL;
}

const struct step *mandate_step(const struct mandate *mandate, const char *name)
{
    for (size_t i = 0; i < mandate->n_steps; i++)
        if (strcmp(mandate->steps[i].name, name) == 0)
            return &mandate->steps[i];
    return NULL;
}

const struct zone *mandate_zone(const struct mandate *mandate, const char *name)
{
    for (size_t i = 0; i < mandate->n_zones; i++)
        if (strcmp(mandate->zones[i].name, name) == 0)
            return &mandate->zones[i];
    return NULL;
}

bool names_have(const struct node *names, const char *name)
{
    for (const struct node *node = names ? names->first : NULL; node; node = node->next)
        if (strcmp(node->string, name) == 0)
            return true;
    return false;
}

bool mandate_step_has_host(const struct mandate *mandate, const char *step, const char *host)
{
    const struct step *found = mandate_step(mandate, step);
    const struct node *list = found ? found->hosts : NULL;

    if (strcmp(step, MANDATE_OBSERVE) == 0)
        list = mandate->observers;
    return names_have(list, host);
}

int64_t mandate_step_length_usec(const struct mandate *mandate, const char *step)
{
    const struct step *found = mandate_step(mandate, step);
    int64_t margin_usec = mandate->settle_msec * USEC_PER_MSEC + 60 * USEC_PER_SEC;

    if (strcmp(step, MANDATE_OBSERVE) != 0)
        return found ? found->duration_msec * USEC_PER_MSEC : 0;
    return mandate->warmup_msec * USEC_PER_MSEC + mandate_way_usec(mandate, NULL, margin_usec);
}

size_t mandate_step_least(const struct mandate *mandate, const struct step *step)
{
    size_t least = (mandate->require_percent * step->hosts->count + 99) / 100;

    return least ? least : 1;
}

/* A step follows only steps above it, so that one way through the list settles each of the questions below.
 */
bool mandate_step_follows(const struct mandate *mandate, const struct step *step, const struct step *other)
{
    bool is_before[MANDATE_STEPS_MAX] = {};

    is_before[step - mandate->steps] = true;
    for (const struct step *at = step; at > other; at--)
        EACH_AFTER (at, name)
            is_before[mandate_step(mandate, name->string) - mandate->steps] |= is_before[at - mandate->steps];
    return step != other && is_before[other - mandate->steps];
}

int64_t mandate_way_usec(const struct mandate *mandate, const struct step *until, int64_t margin_usec)
{
    int64_t ways_usec[MANDATE_STEPS_MAX] = {}, longest_usec = 0;

    if (!mandate->n_steps)
        return mandate->duration_msec * USEC_PER_MSEC + margin_usec;
    for (size_t i = 0; i < mandate->n_steps; i++) {
        const struct step *step = &mandate->steps[i];

        EACH_AFTER (step, name) {
            int64_t before_usec = ways_usec[mandate_step(mandate, name->string) - mandate->steps];

            ways_usec[i] = before_usec > ways_usec[i] ? before_usec : ways_usec[i];
        }
        ways_usec[i] += step->duration_msec * USEC_PER_MSEC + margin_usec;
        longest_usec = ways_usec[i] > longest_usec ? ways_usec[i] : longest_usec;
    }
    return until ? ways_usec[until - mandate->steps] : longest_usec;
}
