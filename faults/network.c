/* Network faults over the gate: see network.h. */
#include "network.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kernel/forwarding.h"
#include "kernel/undo.h"
#include "kernel/watch.h"
#include "network-probe.h"
#include "shapers.h"

struct network {
    struct gate gate;
    struct gate_spec spec;
    struct shaper_spec shape;
    struct probes probes;
    const char *view;
    bool is_of_cgroup;
};

static json_t *list_waiting(const struct network *network, struct error *error)
{
    struct gate_seen seen[2 * GATE_SEEN_MAX];
    int count = gate_waiting(&network->gate, seen, error);
    json_t *list = count < 0 ? NULL : json_array();
    char text[ENDPOINT_TEXT_MAX];

    for (int i = 0; i < count; i++)
        if (!probes_are_seen(&network->probes, &seen[i]))
            json_array_append_new(list, json_string(endpoint_format(&seen[i].endpoint, text)));
    return list;
}

/* After a restart of the service it may be gone, or another of the same name. */
static void measure_cgroup(const struct cgroup *cgroup, json_t *effect)
{
    json_object_set_new(effect, "cgroup", json_string(cgroup->path));
    json_object_set_new(effect, "cgroup_is_gone", json_boolean(!cgroup_is_there(cgroup)));
}

/* Without a probe, because nothing was forwarded here when it began, real packets show it. */
static void measure_forwarded(const struct network *network, const struct gate_packets *packets,
                              json_t *effect)
{
    uint64_t met = packets->forwarded_out + packets->forwarded_in;

    if (!(network->spec.scope & GATE_FORWARDED))
        return;
    json_object_set_new(effect, "forwarded", json_string(met ? "exercised" : "armed"));
    json_object_set_new(effect, "forwarded_packets", json_integer((json_int_t)met));
}

static const char *state_of(uint64_t packets)
{
    return packets ? "exercised" : "armed";
}

/* TCP is met in output and UDP at the devices, so that one does not show the other. That of a host that does
 * not answer for its address gets no further than output, which is no failure: it stays armed. */
static void measure_protocols(struct network *network, const struct gate_packets *packets, json_t *effect)
{
    uint64_t in_output = packets->out - packets->silent - packets->forwarded_out;

    if (network->spec.shape || !network->gate.has_egress || !(network->spec.protocols & GATE_TCP))
        return;
    if (!packets->silent)
        probes_send_udp(&network->probes);
    json_object_set_new(
        effect, "protocols",
        json_pack("{s:s, s:s}", "tcp", state_of(in_output), "udp", state_of(packets->silent)));
}

int network_measure(struct fault_run *run, json_t *effect, struct error *error)
{
    struct network *network = run->state;
    json_t *directions = json_object(), *waiting;
    struct gate_packets packets;
    bool is_exercised;
    int r = gate_packets(&network->gate, &packets, error);

    json_object_set_new(effect, "directions", directions);
    if (r == 0 && network->spec.shape)
        r = shapers_measure(&network->spec, run->order, effect, error);
    if (r < 0)
        return r;
    if (network->is_of_cgroup)
        measure_cgroup(&network->gate.cgroup, effect);
    measure_forwarded(network, &packets, effect);
    measure_protocols(network, &packets, effect);
    if (network->gate.uncovered[0])
        json_object_set_new(effect, "uncovered", json_string(network->gate.uncovered));
    if (network->view)
        json_object_set_new(effect, "view", json_string(network->view));
    if (network->spec.is_in) {
        json_object_set_new(directions, "in", json_string(packets.in ? "exercised" : "armed"));
        json_object_set_new(effect, "in_packets", json_integer(packets.in));
    }
    if (!network->spec.is_out)
        return 0;
    is_exercised = network->is_of_cgroup ? packets.out > 0 : probes_have_shown(&network->probes);
    json_object_set_new(directions, "out", json_string(is_exercised ? "exercised" : "armed"));
    json_object_set_new(effect, "out_packets", json_integer(packets.out));
    if (network->spec.shape)
        return 0;
    waiting = list_waiting(network, error);
    return waiting ? json_object_set_new(effect, "waiting", waiting) : -EIO;
}

/* Nothing of our own can come in from outside, or be of another's cgroup: that is exercised when traffic
 * came.
 */
int network_exercise(struct fault_run *run, json_t *effect, struct error *error)
{
    struct network *network = run->state;
    struct gate_packets packets;
    int r = probes_exercise(&network->probes, &network->gate, error);

    if (r >= 0)
        r = network_measure(run, effect, error);
    if (r < 0 || probes_have_shown(&network->probes))
        return r;
    r = gate_packets(&network->gate, &packets, error);
    if (r == 0 && packets.in + packets.out == 0)
        r = error_set(error, EAGAIN,
                      network->is_of_cgroup ? "no packet of the service was met yet"
                                            : "nothing has come in yet");
    return r;
}

int network_inject(struct fault_run *run, const struct gate_spec *spec, const char *view, struct error *error)
{
    _cleanup_free_ struct network *network = calloc(1, sizeof(*network));
    char name[UNDO_NAME_MAX];
    struct record made;
    int r;

    if (!network)
        return error_oom(error);
    network->view = view;
    network->spec = *spec;
    if (spec->shape) {
        network->shape = *spec->shape;
        network->spec.shape = &network->shape;
    }
    network->spec.name = undo_object_name(run->order, name);
    network->spec.deadline_boot_nsec = run->deadline_boot_nsec;
    network->spec.protected = run->host->protected_cidrs;
    network->spec.lifeline = run->host->lifeline;
    /* asked for only where a rule has to know */
    network->spec.is_forwarding = spec->shape && spec->is_in && spec->scope == GATE_HOST &&
                                  (forwarding_is_on(AF_INET) || forwarding_is_on(AF_INET6));
    r = run->watch_fd = watch_open(error);
    if (r >= 0)
        r = network_check_forwarding(spec, error);
    if (r == 0)
        r = shapers_open(&network->spec, run, error);
    if (r == 0)
        r = probes_open(&network->probes, &network->spec, run, error);
    made = *run->record;
    if (r == 0)
        r = gate_add_undos(run->record, run->record_fd, name, error);
    if (r == 0)
        r = gate_open(&network->gate, &network->spec, error);
    if (r < 0) {
        /* The devices that were noted; a table that could not be made is another's, if there is one. */
        cleanup_close(&run->watch_fd);
        undo_all(&made, NULL);
        return r;
    }
    network->spec.name = network->gate.name;
    network->spec.targets = NULL; /* the caller's; not needed any more */
    network->is_of_cgroup = spec->cgroup;
    network->spec.cgroup = NULL;
    run->state = TAKE_PTR(network);
    return 0;
}

/* Less of a gate lets packets through; rules that lead to another shaper, or to none, do to them what nobody
 * signed. */
int network_verify(struct fault_run *run, struct error *error)
{
    struct network *network = run->state;
    int r;

    watch_take(run->watch_fd, NULL, NULL);
    r = shapers_verify(&network->spec, run->order, error);
    return r < 0 ? r : gate_verify(&network->gate, error);
}

/* What has happened since the last look. */
static void on_news(int index, bool is_gone, void *context)
{
    struct fault_run *run = context;
    const struct network *network = run->state;

    if (network->spec.shape && (index == network->spec.shaper_out || index == network->spec.shaper_in))
        error_set(&run->interference, FAULT_CHANGED, "a shaper of it is %s",
                  is_gone ? "gone" : "another one");
    for (size_t i = 0; is_gone && i < network->gate.n_devices; i++)
        if (network->gate.devices[i].index == index && network->gate.devices[i].is_hosts)
            error_set(&run->interference, FAULT_CHANGED, "the device %s that was there is gone",
                      network->gate.devices[i].name);
}

/* The rules first: one that leads to a device that is gone loses packets. */
int network_revert(struct fault_run *run, struct error *error)
{
    struct network *network = run->state;
    int r = gate_remove(&network->gate, error);

    watch_take(run->watch_fd, on_news, run);
    if (r == 0 && network->spec.shape)
        r = shapers_close(run->order, error);
    return r < 0 || !network->spec.wire ? r : wire_close(run->order, error);
}

int network_verify_reverted(const struct fault_run *run, struct error *error)
{
    const struct network *network = run->state;
    char name[UNDO_NAME_MAX];
    int r = gate_is_gone(network ? &network->gate : NULL, undo_object_name(run->order, name), error);

    if (r == 0)
        r = shapers_are_gone(run->order, error);
    return r < 0 ? r : wire_is_gone(run->order, error);
}

void network_release(struct fault_run *run)
{
    struct network *network = run->state;

    if (network) {
        gate_close(&network->gate);
        close(run->watch_fd);
    }
    free(network);
    run->state = NULL;
}
