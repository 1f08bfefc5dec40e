/* network.shape: packets to and from some addresses are late, lost, doubled, damaged, or slowed down. */
#include <errno.h>
#include <stdio.h>

#include "kernel/shaper.h"
#include "network.h"

#define DELAY_MAX_MSEC 60000
#define PPM            1000000
#define RATE_MIN_KBIT  8
#define RATE_MAX_KBIT  17000000 /* tbf counts bytes a second in 31 bits */
#define WHAT_MAX       320

struct shape_parameters {
    struct network_targets targets;
    int64_t delay_msec, jitter_msec, loss_ppm, duplicate_ppm, corrupt_ppm, reorder_ppm, rate_kbit;
};

#define AT(member) offsetof(struct shape_parameters, member)
#define SHARE(name, help)                                                                                    \
    {                                                                                                        \
#name, PARAMETER_INTEGER, "ppm", 0, PPM, "0", false, NULL, help, AT(name)                            \
    }

static const struct fault_parameter shape_table[] = {
    NETWORK_TARGETS,
    {"delay_ms", PARAMETER_INTEGER, "ms", 0, DELAY_MAX_MSEC, "0", false, NULL, "each packet comes later by",
     AT(delay_msec)},
    {"jitter_ms", PARAMETER_INTEGER, "ms", 0, DELAY_MAX_MSEC, "0", false, NULL,
     "the delay varies by as much, up and down", AT(jitter_msec)},
    SHARE(loss_ppm, "packets that are lost, 10000 = 1 %"),
    SHARE(duplicate_ppm, "packets that come twice"),
    SHARE(corrupt_ppm, "packets of which one bit is flipped"),
    SHARE(reorder_ppm, "packets that are not delayed, and overtake others"),
    {"rate_kbit", PARAMETER_INTEGER, "kbit/s", 0, RATE_MAX_KBIT, "0", false, NULL,
     "at most so much in each direction; 0 = no limit", AT(rate_kbit)},
    {},
};

static struct shaper_spec shape_of(const struct shape_parameters *parameters)
{
    return (struct shaper_spec){
        .delay_usec = (uint32_t)parameters->delay_msec * 1000,
        .jitter_usec = (uint32_t)parameters->jitter_msec * 1000,
        .loss_ppm = (uint32_t)parameters->loss_ppm,
        .duplicate_ppm = (uint32_t)parameters->duplicate_ppm,
        .corrupt_ppm = (uint32_t)parameters->corrupt_ppm,
        .reorder_ppm = (uint32_t)parameters->reorder_ppm,
        .rate_bytes_per_sec = (uint64_t)parameters->rate_kbit * 1000 / 8,
    };
}

static int shape_check(const void *raw, const struct mandate *mandate, struct error *error)
{
    const struct shape_parameters *parameters = raw;

    if (!parameters->delay_msec && !parameters->loss_ppm && !parameters->duplicate_ppm &&
        !parameters->corrupt_ppm && !parameters->rate_kbit)
        return error_set(error, EINVAL,
                         "network.shape needs delay_ms, loss_ppm, duplicate_ppm, corrupt_ppm or rate_kbit");
    if (parameters->jitter_msec > parameters->delay_msec)
        return error_set(error, EINVAL, "jitter_ms: more than delay_ms, but no packet can come early");
    if (parameters->reorder_ppm && !parameters->delay_msec)
        return error_set(error, EINVAL, "reorder_ppm: only what is delayed can be overtaken: give delay_ms");
    if (parameters->rate_kbit && parameters->rate_kbit < RATE_MIN_KBIT)
        return error_set(error, EINVAL, "rate_kbit: at least %d", RATE_MIN_KBIT);
    if (parameters->targets.cgroup && network_spec(&parameters->targets).is_in)
        return error_set(error, EINVAL,
                         "cgroup: what comes in is shaped before its service is known: give direction: out");
    return network_check_scope(parameters->targets.scope, false, parameters->targets.cgroup, error);
}

/* Without parameters: of everything that it can do. */
static int shape_supported(const void *raw, struct error *error)
{
    const struct shaper_spec all = {.delay_usec = 1, .rate_bytes_per_sec = 1};
    const struct shaper_spec shape = raw ? shape_of(raw) : all;
    int r = gate_supported(raw, error);

    if (r == 0 && !gate_has_egress())
        r = error_set(error, EOPNOTSUPP, "needs kernel 5.16 or newer, for nftables at the devices' egress");
    return r < 0 ? r : shaper_supported(&shape, error);
}

static struct gate_spec shape_spec(const struct shape_parameters *parameters, const struct shaper_spec *shape)
{
    struct gate_spec spec = network_spec(&parameters->targets);

    spec.shape = shape;
    return spec;
}

static const char *describe(const struct shape_parameters *parameters, char ret[WHAT_MAX])
{
    const struct {
        const char *verb;
        double value;
        const char *unit;
    } parts[] = {
        {"delay", (double)parameters->delay_msec, "ms"},
        {"by more or less", (double)parameters->jitter_msec, "ms"},
        {"lose", (double)parameters->loss_ppm / 10000, "%"},
        {"double", (double)parameters->duplicate_ppm / 10000, "%"},
        {"damage", (double)parameters->corrupt_ppm / 10000, "%"},
        {"let overtake", (double)parameters->reorder_ppm / 10000, "%"},
        {"pass at most", (double)parameters->rate_kbit, "kbit/s"},
    };
    size_t used = 0;

    for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
        if (parts[i].value > 0)
            used += (size_t)snprintf(ret + used, WHAT_MAX - used, "%s%s %.10g %s", used ? ", " : "",
                                     parts[i].verb, parts[i].value, parts[i].unit);
    return ret;
}

static int shape_plan(const void *raw, const struct mandate *mandate, const struct fault_host *host,
                      struct fault_plan *plan, struct error *error)
{
    const struct shaper_spec shape = shape_of(raw);
    const struct gate_spec spec = shape_spec(raw, &shape);
    char what[WHAT_MAX];

    return network_plan(&spec, describe(raw, what), plan, error);
}

static int shape_inject(struct fault_run *run, struct error *error)
{
    const struct shaper_spec shape = shape_of(run->parameters);
    const struct gate_spec spec = shape_spec(run->parameters, &shape);

    return network_inject(run, &spec, NULL, error);
}

const struct fault fault_network_shape = {
    .name = "network.shape",
    .summary = "packets are late, lost, doubled, damaged or slowed down",
    .flags = FAULT_REVERSIBLE,
    .parameters = shape_table,
    .parameters_size = sizeof(struct shape_parameters),
    .check = shape_check,
    .plan = shape_plan,
    .inject = shape_inject,
    NETWORK_FAULT,
    .supported = shape_supported,
};
