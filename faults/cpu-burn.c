/* cpu.burn: CPUs are kept busy, either with what nobody else wants or against the services' own share. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/capability.h>

#include "common/io.h"
#include "common/own-process.h"
#include "fault.h"
#include "kernel/burner.h"

#define LOOK_NSEC   (300 * NSEC_PER_MSEC) /* the kernel counts idle time in ticks of 1 to 10 ms */
#define ENOUGH      0.9                   /* of what was wanted */
#define VERIFY_NSEC (900 * NSEC_PER_MSEC)
#define STAT_MAX    (4 * 1024 * 1024)

enum burn_mode {
    BURN_BACKGROUND,
    BURN_CONTEND,
};
static const char *const modes[] = {"background", "contend", NULL};

struct burn_parameters {
    int64_t load_percent, cpus;
    int mode;
};

static const struct fault_parameter burn_table[] = {
    {"load_percent", PARAMETER_INTEGER, "%", 1, 100, NULL, false, NULL, "how busy each CPU is kept",
     offsetof(struct burn_parameters, load_percent)},
    {"cpus", PARAMETER_INTEGER, "CPUs", 0, CPU_SETSIZE, "0", false, NULL, "how many of them; 0 = all",
     offsetof(struct burn_parameters, cpus)},
    {"mode", PARAMETER_CHOICE, NULL, 0, 0, "background", false, modes,
     "yield to everybody else, or fight for a share", offsetof(struct burn_parameters, mode)},
    {},
};

/* @looked_boot_nsec, @idle_nsec: the first look, that measuring compares with; @verified_boot_nsec: the last
 * one at the burners' progress */
struct burn_state {
    int64_t looked_boot_nsec, idle_nsec, verified_boot_nsec;
    size_t count;
    struct burner burners[];
};

/* The CPUs that may be used, lowest first. */
static int choose_cpus(const struct burn_parameters *parameters, cpu_set_t *ret, struct error *error)
{
    int available, wanted = (int)parameters->cpus;

    if (sched_getaffinity(0, sizeof(*ret), ret) < 0)
        return error_errno(error, errno, "can't tell which CPUs there are");
    available = CPU_COUNT(ret);
    if (wanted > available)
        return error_set(error, EINVAL, "cpus: %d of %d CPUs were asked for", wanted, available);
    for (int cpu = CPU_SETSIZE - 1; wanted && CPU_COUNT(ret) > wanted; cpu--)
        CPU_CLR(cpu, ret);
    return 0;
}

/* Shipped in systemd/: one yields to every other slice, one has the weight of any. */
static const char *burn_slice(const void *raw)
{
    const struct burn_parameters *parameters = raw;

    return parameters->mode == BURN_CONTEND ? "grivetcontend.slice" : "grivetbackground.slice";
}

static int burn_plan(const void *raw, const struct mandate *mandate, const struct fault_host *host,
                     struct fault_plan *plan, struct error *error)
{
    const struct burn_parameters *parameters = raw;
    cpu_set_t cpus;
    char text[160];
    int r = choose_cpus(parameters, &cpus, error);

    if (r < 0)
        return r;
    snprintf(text, sizeof(text), "keep %d CPU%s busy for %d %% of the time, %s", CPU_COUNT(&cpus),
             CPU_COUNT(&cpus) == 1 ? "" : "s", (int)parameters->load_percent,
             parameters->mode == BURN_CONTEND ? "against whatever else runs there"
                                              : "with what nobody else wants");
    r = json_array_append_new(plan->summary, json_string(text));
    plan->is_victim = parameters->mode == BURN_CONTEND;
    if (parameters->mode == BURN_BACKGROUND)
        r |= json_array_append_new(plan->limits,
                                   json_string("on a CPU that is busy already it takes almost nothing"));
    return r < 0 ? error_oom(error) : 0;
}

/* Columns 4 and 5 of a line "cpuN" are idle and iowait, in ticks (proc(5)). */
static int find_idle(const char *text, int cpu, int64_t *ret_nsec, struct error *error)
{
    unsigned long long idle, wait;
    const char *line;
    char key[24];

    snprintf(key, sizeof(key), "\ncpu%d ", cpu);
    line = strstr(text, key);
    if (!line || sscanf(line + strlen(key), "%*u %*u %*u %llu %llu", &idle, &wait) != 2)
        return error_set(error, ENODATA, "/proc/stat: CPU %d is missing", cpu);
    *ret_nsec = (int64_t)(idle + wait) * (NSEC_PER_SEC / sysconf(_SC_CLK_TCK));
    return 0;
}

static int read_idle(struct burn_state *state, struct error *error)
{
    _cleanup_free_ char *text = NULL;
    int r = io_read_file("/proc/stat", STAT_MAX, &text, NULL, error);

    for (size_t i = 0; r == 0 && i < state->count; i++)
        r = find_idle(text, state->burners[i].cpu, &state->burners[i].idle_nsec, error);
    return r;
}

static int64_t sum_idle(const struct burn_state *state)
{
    int64_t sum_nsec = 0;

    for (size_t i = 0; i < state->count; i++)
        sum_nsec += state->burners[i].idle_nsec;
    return sum_nsec;
}

static int start_burners(struct fault_run *run, const cpu_set_t *cpus, struct error *error)
{
    const struct burn_parameters *parameters = run->parameters;
    struct burn_state *state = run->state;
    char name[OWN_NAME_MAX];
    int r = record_add_undo(run->record, run->record_fd, "burners", own_burner_name(run->order, name), error);

    for (int cpu = 0; r == 0 && cpu < CPU_SETSIZE; cpu++) {
        const struct burner_order order = {
            .cpu = cpu,
            .load_percent = (int)parameters->load_percent,
            .is_yielding = parameters->mode == BURN_BACKGROUND,
            .end_boot_nsec = run->deadline_boot_nsec,
            .name = name,
        };

        if (!CPU_ISSET(cpu, cpus))
            continue;
        r = burner_start(&order, &state->burners[state->count], error);
        state->count += r == 0;
    }
    return r;
}

/* Our children are asked for without a look through /proc, and without memory. */
static int check_burners(const struct burn_state *state, struct error *error)
{
    for (size_t i = 0; i < state->count; i++) {
        enum burner_state found = burner_state(&state->burners[i]);

        if (found != BURNER_RUNS)
            return error_set(error, FAULT_CHANGED, "the burner on CPU %d %s", state->burners[i].cpu,
                             found == BURNER_GONE ? "is gone" : "was stopped by a signal");
    }
    return 0;
}

/* Looks that follow close upon each other are one. */
static int check_progress(struct fault_run *run, struct error *error)
{
    const struct burn_parameters *parameters = run->parameters;
    struct burn_state *state = run->state;
    int64_t now = time_boot_nsec(), passed = now - state->verified_boot_nsec;
    int r = passed < VERIFY_NSEC ? 0 : read_idle(state, error);

    if (r < 0 || passed < VERIFY_NSEC)
        return r;
    state->verified_boot_nsec = now;
    for (size_t i = 0; i < state->count; i++) {
        struct burner *burner = &state->burners[i];

        if (burner_progress_look(&burner->progress, passed, burner_cpu_nsec(burner), burner->idle_nsec,
                                 (int)parameters->load_percent, parameters->mode == BURN_BACKGROUND))
            r = error_set(error, FAULT_CHANGED, "the burner on CPU %d is kept from running", burner->cpu);
    }
    return r;
}

static int burn_verify(struct fault_run *run, struct error *error)
{
    int r = check_burners(run->state, error);

    return r < 0 ? r : check_progress(run, error);
}

static int burn_revert(struct fault_run *run, struct error *error)
{
    struct burn_state *state = run->state;

    check_burners(state, &run->interference);
    for (size_t i = 0; i < state->count; i++)
        burner_kill(&state->burners[i]);
    for (size_t i = 0; i < state->count; i++)
        burner_reap(&state->burners[i]);
    return 0;
}

/* What the first looks are compared with. */
static void begin_looks(struct burn_state *state)
{
    state->looked_boot_nsec = state->verified_boot_nsec = time_boot_nsec();
    state->idle_nsec = sum_idle(state);
    for (size_t i = 0; i < state->count; i++)
        state->burners[i].progress.idle_nsec = state->burners[i].idle_nsec;
}

static int burn_inject(struct fault_run *run, struct error *error)
{
    struct burn_state *state;
    cpu_set_t cpus;
    int r = choose_cpus(run->parameters, &cpus, error);

    if (r < 0)
        return r;
    state = calloc(1, sizeof(*state) + (size_t)CPU_COUNT(&cpus) * sizeof(state->burners[0]));
    if (!state)
        return error_oom(error);
    run->state = state;
    r = start_burners(run, &cpus, error);
    if (r == 0)
        r = read_idle(state, error);
    begin_looks(state);
    if (r < 0)
        burn_revert(run, NULL);
    return r;
}

/* Shares of the time since they started, 0..1. */
static int measure_shares(struct burn_state *state, double *ret_own, double *ret_idle, struct error *error)
{
    int64_t now = time_boot_nsec(), used = 0, passed = 0;
    int r = read_idle(state, error);

    for (size_t i = 0; i < state->count; i++) {
        int64_t nsec = burner_cpu_nsec(&state->burners[i]);

        used += nsec > 0 ? nsec : 0;
        passed += now - state->burners[i].born_boot_nsec;
    }
    *ret_own = (double)used / (double)passed;
    *ret_idle = (double)(sum_idle(state) - state->idle_nsec) /
                ((double)(now - state->looked_boot_nsec) * (double)state->count);
    return r;
}

static int burn_measure(struct fault_run *run, json_t *effect, struct error *error)
{
    const struct burn_parameters *parameters = run->parameters;
    struct burn_state *state = run->state;
    double own = 0, idle = 0;
    int r = measure_shares(state, &own, &idle, error);

    if (r < 0)
        return r;
    r = json_object_set_new(effect, "cpus", json_integer((json_int_t)state->count));
    r |= json_object_set_new(effect, "load_percent", json_integer(parameters->load_percent));
    r |= json_object_set_new(effect, "achieved_percent", json_real(own * 100));
    r |= json_object_set_new(effect, "idle_percent", json_real((idle < 0 ? 0 : idle) * 100));
    return r < 0 ? error_oom(error) : 0;
}

/* Reached is what was wanted, or all that others left: then the CPUs are as busy as they were to be, by
 * burners that want their share. What they got of it is told. */
static int burn_exercise(struct fault_run *run, json_t *effect, struct error *error)
{
    struct burn_state *state = run->state;
    const struct burn_parameters *parameters = run->parameters;
    double wanted = (double)parameters->load_percent / 100, own, idle;
    int r;

    if (time_boot_nsec() < state->looked_boot_nsec + LOOK_NSEC)
        return error_set(error, EAGAIN, "too early to tell");
    r = check_burners(state, error);
    if (r == 0)
        r = measure_shares(state, &own, &idle, error);
    if (r < 0)
        return r;
    if (own < wanted * ENOUGH && 1 - idle < wanted * ENOUGH)
        return error_set(error, EAGAIN, "%.0f %% of the CPUs' time was used where %.0f %% was wanted",
                         own * 100, wanted * 100);
    return burn_measure(run, effect, error);
}

/* In their holder the kernel is asked for its children: a unit's /proc (ProtectProc=) hides processes from
 * one without rights, who would see that there are none, whatever runs. */
static int burn_verify_reverted(const struct fault_run *run, struct error *error)
{
    char name[OWN_NAME_MAX];
    int count;

    if (run->parameters)
        return burner_are_left() ? error_set(error, EBUSY, "burners of this order still run") : 0;
    count = own_burners_count(own_burner_name(run->order, name), error);
    if (count > 0)
        return error_set(error, EBUSY, "%d burners of this order still run", count);
    return count;
}

static void burn_release(struct fault_run *run)
{
    free(run->state);
    run->state = NULL;
}

/* Burners die with their parent and by their own timers; by the record others know whom to look for. */
const struct fault fault_cpu_burn = {
    .name = "cpu.burn",
    .summary = "CPUs are kept busy",
    .class = "cpu",
    .flags = FAULT_REVERSIBLE | FAULT_SELF_EXERCISED,
    .mechanisms = MECHANISM_BURNER,
    .parameters = burn_table,
    .parameters_size = sizeof(struct burn_parameters),
    .slice = burn_slice,
    .plan = burn_plan,
    .inject = burn_inject,
    .verify = burn_verify,
    .exercise = burn_exercise,
    .measure = burn_measure,
    .revert = burn_revert,
    .verify_reverted = burn_verify_reverted,
    .release = burn_release,
};
