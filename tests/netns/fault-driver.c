/*
 * Runs one fault as a holder would, but by hand: fault-driver JOB.json FOLDER. FOLDER takes the undo record.
 * It says a JSON line for each stage; then each line on stdin is one of "verify", "exercise", "measure",
 * "end".
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "common/own-process.h"
#include "faults/fault.h"

struct driver {
    struct document *document;
    struct mandate mandate;
    struct zone zones[8];
    struct cidr zone_cidrs[8][8];
    struct cidr protected_cidrs[8];
    const char *protected_processes[8];
    struct lifeline lifeline;
    struct parameter_cidrs protected;
    struct fault_host host;
    struct record record;
    struct fault_run run;
    struct fault_plan plan;
    const void *parameters;
};

/* @value is stolen. */
static void say(const char *stage, json_t *value)
{
    json_t *line = json_pack("{s:s, s:o}", "stage", stage, "value", value ? value : json_null());
    char *text = json_dumps(line, JSON_COMPACT);

    puts(text);
    fflush(stdout);
    free(text);
    json_decref(line);
}

static size_t read_cidrs(const struct node *list, struct cidr *ret, size_t max)
{
    size_t count = 0;

    for (const struct node *entry = list ? list->first : NULL; entry && count < max; entry = entry->next)
        if (cidr_parse(&ret[count], entry->string, NULL) == 0)
            count++;
    return count;
}

static void read_lifeline(struct driver *driver, const struct node *map)
{
    struct lifeline *lifeline = &driver->lifeline;
    const struct node *list = node_get(map, "coordinators"), *number;

    number = node_get(map, "courier_uid");
    lifeline->courier_uid = number ? number->integer : 64001;
    number = node_get(map, "ssh_port");
    lifeline->ssh_port = number ? number->integer : 22;
    for (const struct node *entry = list ? list->first : NULL; entry; entry = entry->next)
        if (endpoint_parse(&lifeline->coordinators[lifeline->n_coordinators], entry->string, NULL) == 0)
            lifeline->n_coordinators++;
    lifeline->n_resolvers = read_cidrs(node_get(map, "resolvers"), lifeline->resolvers, 8);
    lifeline->n_time_servers = read_cidrs(node_get(map, "time_servers"), lifeline->time_servers, 16);
    lifeline->n_management = read_cidrs(node_get(map, "management"), lifeline->management, 32);
}

static void read_zones(struct driver *driver, const struct node *map)
{
    struct mandate *mandate = &driver->mandate;

    mandate->zones = driver->zones;
    for (const struct node *entry = map ? map->first : NULL; entry && mandate->n_zones < 8;
         entry = entry->next) {
        size_t i = mandate->n_zones++;

        driver->zones[i] =
            (struct zone){entry->key, read_cidrs(entry, driver->zone_cidrs[i], 8), driver->zone_cidrs[i]};
    }
}

static int read_job(struct driver *driver, const char *path, struct error *error)
{
    int r = document_load(&driver->document, path, 8 << 20, error);
    const struct node *root, *names;
    size_t count = 0;

    if (r < 0)
        return r;
    root = document_root(driver->document);
    read_lifeline(driver, node_get(root, "lifeline"));
    read_zones(driver, node_get(root, "zones"));
    names = node_get(root, "protected_processes");
    for (const struct node *entry = names ? names->first : NULL; entry && count < 7; entry = entry->next)
        driver->protected_processes[count++] = entry->string;
    driver->protected.cidrs = driver->protected_cidrs;
    driver->protected.count = read_cidrs(node_get(root, "protected_cidrs"), driver->protected_cidrs, 8);
    driver->host = (struct fault_host){.name = "host",
                                       .zone = node_string(root, "zone"),
                                       .lifeline = &driver->lifeline,
                                       .protected_processes = driver->protected_processes,
                                       .protected_cidrs = &driver->protected};
    driver->run = (struct fault_run){
        .fault = fault_find(node_string(root, "fault")),
        .order = node_string(root, "order"),
        .mandate = &driver->mandate,
        .host = &driver->host,
        .deadline_boot_nsec = time_boot_nsec() + node_get(root, "duration_ms")->integer * NSEC_PER_MSEC,
        .record = &driver->record,
    };
    if (!driver->run.fault)
        return error_set(error, EINVAL, "unknown fault '%s'", node_string(root, "fault"));
    return fault_decode_parameters(driver->run.fault, driver->document, node_get(root, "parameters"),
                                   &driver->mandate, &driver->parameters, error);
}

static int driver_plan(struct driver *driver, struct error *error)
{
    const struct fault *fault = driver->run.fault;
    int r = fault->supported ? fault->supported(driver->parameters, error) : 0;

    driver->run.parameters = driver->parameters;
    driver->plan = (struct fault_plan){json_array(), json_array(), false};
    if (r == 0)
        r = fault->plan(driver->parameters, &driver->mandate, &driver->host, &driver->plan, error);
    if (r == 0)
        say("plan", json_pack("{s:O, s:O, s:b}", "summary", driver->plan.summary, "limits",
                              driver->plan.limits, "is_victim", driver->plan.is_victim));
    return r;
}

static int driver_inject(struct driver *driver, const char *folder, struct error *error)
{
    struct fault_run *run = &driver->run;
    _cleanup_close_ int folder_fd = -1;
    int r;

    snprintf(driver->record.order, sizeof(driver->record.order), "%s", run->order);
    snprintf(driver->record.fault, sizeof(driver->record.fault), "%s", run->fault->name);
    time_boot_id(driver->record.boot);
    driver->record.holder_pid = getpid();
    driver->record.holder_start_ticks = process_start_ticks(getpid());
    driver->record.deadline_boot_nsec = run->deadline_boot_nsec;
    folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = record_write(&driver->record, folder_fd, error);
    if (r < 0)
        return r;
    run->record_fd = openat(folder_fd, run->order, O_WRONLY | O_APPEND | O_CLOEXEC);
    return run->fault->inject(run, error);
}

/* What can be asked for on stdin, besides "end". Each answers with a line of its own name. */
static int ask(struct driver *driver, const char *what, struct error *error)
{
    struct fault_run *run = &driver->run;
    const struct fault *fault = run->fault;
    json_t *effect = json_object();
    int r = -EINVAL;

    if (strcmp(what, "verify") == 0)
        r = fault->verify ? fault->verify(run, error) : 0;
    else if (strcmp(what, "exercise") == 0)
        while ((r = fault->exercise(run, effect, error)) == -EINPROGRESS)
            poll(NULL, 0, 20);
    else if (strcmp(what, "measure") == 0)
        r = fault->measure(run, effect, error);
    if (r < 0)
        json_object_set_new(effect, "error", json_string(error->text));
    say(what, effect);
    return 0;
}

static int driver_end(struct driver *driver, struct error *error)
{
    const struct fault *fault = driver->run.fault;
    int r = fault->revert ? fault->revert(&driver->run, error) : 0;

    if (r == 0 && fault->verify_reverted)
        r = fault->verify_reverted(&driver->run, error);
    if (r == 0)
        say(fault->revert ? "reverted" : "ended", NULL);
    return r;
}

static int driver_live(struct driver *driver, const char *job, const char *folder, struct error *error)
{
    int r = read_job(driver, job, error);
    char line[32];

    if (r == 0)
        r = driver_plan(driver, error);
    if (r == 0)
        r = driver_inject(driver, folder, error);
    if (r < 0)
        return r;
    say("armed", NULL);
    while (r == 0 && fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        if (strcmp(line, "end") == 0)
            break;
        r = ask(driver, line, error);
    }
    return r < 0 ? r : driver_end(driver, error);
}

int main(int argc, char **argv)
{
    static struct driver driver;
    struct error error = {0};
    int r;

    if (argc != 3) {
        fprintf(stderr, "Usage: fault-driver JOB.json FOLDER\n");
        return 2;
    }
    r = driver_live(&driver, argv[1], argv[2], &error);
    if (r < 0)
        say("error", json_string(error.text));
    if (driver.run.fault && driver.run.fault->release && driver.run.state)
        driver.run.fault->release(&driver.run);
    json_decref(driver.plan.summary);
    json_decref(driver.plan.limits);
    document_free(driver.document);
    return r < 0;
}
