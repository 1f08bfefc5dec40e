/* grivet init: a sample experiment that says what each line is for. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "common/document.h"

static const char sample[] =
    "# What is to happen, to whom, for how long, and what would be a success.\n"
    "# Next: grivet plan %s -f mandate.json\n"
    "schema: grivet.experiment/1\n"
    "name: %s\n"
    "description: One zone is lost for a minute.\n"
    "environment: staging          # the policy of every host must say the same\n"
    "expect:                       # against typing errors: more than this is refused\n"
    "  hosts: 6                    # that get an order\n"
    "  max_share_of_group_percent: 34   # of each group that may fail itself\n"
    "valid_for_s: 3600             # signatures are good for so long\n"
    "max_runs: 1\n"
    "require_percent: 100          # of each step's hosts must accept, or nothing starts\n"
    "warmup_s: 5                   # probes run so long before the first fault\n"
    "settle_s: 60                  # and so long after the last one\n"
    "late_joiners: {labels: {group: web}, max: 4}   # replacements born meanwhile lose the zone too\n"
    "observers: {labels: {role: observer}}   # hosts that run the probes; nothing is done to them\n"
    "steps:                        # all start together\n"
    "  - name: lose-zone\n"
    "    fault: zone.block         # see: grivet faults\n"
    "    parameters: {zone: apse2-az1}\n"
    "    hosts: {labels: {group: web}, percent: 100}   # in the zone: lose everything; outside: lose the "
    "zone\n"
    "    duration_s: 60\n"
    "    late_joiners: true\n"
    "probes:\n"
    "  - name: shop\n"
    "    kind: http\n"
    "    url: http://shop.example/health\n"
    "    interval_ms: 1000\n"
    "    timeout_ms: 1000\n"
    "    unhealthy_after: 2        # as your balancer counts\n"
    "    healthy_after: 2\n"
    "    stable_s: 10\n"
    "    connection: fresh         # or kept\n"
    "    expect: {status: 200}     # and, if you like: json: {/DatabaseConnectivity: true}\n"
    "objectives:\n"
    "  - {name: users are served again, kind: recover, probe: shop, within_s: 30}\n"
    "  - {name: few requests are lost, kind: lost, probe: shop, at_most_percent: 5}\n"
    "  - {name: replacements serve, kind: replacements}\n"
    "  - {name: faults end on time, kind: rollback, within_ms: 1000}\n";

/* The experiment's name: that of the file, without folder and ending. */
static int take_name(const char *path, char ret[64], struct error *error)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;

    if (snprintf(ret, 64, "%.*s", (int)strcspn(base, "."), base) >= 64 || !node_name_is_valid(ret))
        return error_set(error, EINVAL,
                         "'%s' names no experiment: a-z, 0-9 and _- please, such as zone-outage.yaml", path);
    return 0;
}

int command_init(const struct call *call, struct error *error)
{
    const char *path = call->arguments[0];
    _cleanup_close_ int fd = -1;
    char name[64];
    int r;

    r = take_name(path, name, error);
    if (r < 0)
        return r;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return error_errno(error, errno, "%s: can't make it", path);
    if (dprintf(fd, sample, path, name) < 0)
        return error_errno(error, errno, "%s: can't write", path);
    printf("wrote %s\n", path);
    return EXIT_MET;
}
