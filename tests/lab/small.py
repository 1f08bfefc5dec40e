"""A small fleet: a coordinator, an operator and as many agents as a test asks for, all on one switch, no balancer.

Every program is the real one. web-1 lies in the zone that is blocked, web-2 outside of it and watches with its prober.
"""

import contextlib
import hashlib
import json
import shutil
import sqlite3
import tempfile

from lab import agent
from lab.fleet import FOLDER, GRIVET, PEOPLE, Fleet
from lab.host import PYTHON, wait_until
from lab.zones import COORDINATOR_PORT

EXPERIMENT = """schema: grivet.experiment/1
name: ends
environment: lab
expect: {{hosts: {hosts}}}
valid_for_s: 600
max_runs: 1
require_percent: 100
warmup_s: 0
settle_s: 0
{observers}steps:
  - name: lose-az1
    fault: zone.block
    parameters: {{zone: apse2-az1}}
    hosts: {{labels: {{group: {group}}}}}
    duration_s: {seconds}
{probes}objectives:
  - {{name: faults end on time, kind: rollback, within_ms: 1000}}
"""
OBSERVERS = "observers: {labels: {group: web, zone: apse2-az2}}\n"
PROBES = """probes:
  - {name: door, kind: http, url: "http://10.0.0.6/", interval_ms: 200, timeout_ms: 500, unhealthy_after: 2,
     healthy_after: 2, stable_s: 1, connection: fresh, expect: {status: 200}}
"""
STORE = "/var/lib/grivet-coordinator/store.db"


class Small(Fleet):
    BALANCERS = []

    def __init__(self, lab):
        self.lab = lab
        self.core = lab.host("core")
        self.core.ip("link add br0 type bridge", "link set br0 up")
        self.coordinator, self.operator = self.plug("coordinator", "0.0.2"), self.plug("operator", "0.0.6")
        self.hosts, self.tokens = {}, {}
        self.make_keys()
        self.pins = self.init_coordinator()
        self.start_coordinator()
        self.operator.service("door", [PYTHON, "-m", "http.server", "80", "--bind", "0.0.0.0", "--directory", "/run"])

    def plug(self, name, number):
        """A new host; its addresses are 10.<number> and fd00::<number>, and all of 10/8 and fd00::/16 is on its cable."""
        host = self.lab.host(name)
        self.lab.wire(host, "eth0", self.core, f"p-{name}"[:15])
        self.core.ip("link set " + f"p-{name}"[:15] + " master br0")
        zone, _, last = number.split(".")
        host.ip(f"addr add 10.{number}/8 dev eth0", f"addr add fd00:{zone}::{last}/16 dev eth0 nodad")
        return host

    def add_agent(self, name, zone, number, group="web"):
        """A host that joins as its owner would let it: with a token, and all four programs."""
        host = self.hosts[name] = self.plug(name, f"{zone}.0.{number}")
        if group not in self.tokens:
            self.tokens[group] = self.make_token("group", group)
        labels = {"zone": f"apse2-az{zone}", "group": group}
        agent.join(host, self.enrol(group), labels, f"10.{zone}.0.{number}", wait=False)
        return host

    def serve(self):
        """Starts the stopped coordinator again."""
        self.coordinator.start("grivet-coordinator")
        self.coordinator.wait_listening(COORDINATOR_PORT)

    def wait_ready(self):
        for host in self.hosts.values():
            host.wait_active("grivet-ready", timeout=30)

    def set_class(self, host, name, **changes):
        """Another policy for a class of faults, with which the executor starts anew."""
        path = "/etc/grivet/agent.yaml"
        policy = json.loads(host.read(path))
        policy["classes"][name].update(changes)
        host.write(path, json.dumps(policy))
        host.stop("grivetd")
        host.start("grivetd")

    # ---- what an operator does

    def cli(self, *words, **options):
        return self.operator.run([GRIVET, *words], check=False, **options)

    def write_experiment(self, group="web", hosts=2, seconds=4, is_watched=False):
        text = EXPERIMENT.format(group=group, hosts=hosts, seconds=seconds, observers=OBSERVERS if is_watched else "",
                                 probes=PROBES if is_watched else "")
        self.operator.write(f"{FOLDER}/ends.yaml", text)
        return f"{FOLDER}/ends.yaml"

    def plan(self, signers=PEOPLE, **changes):
        """Planned and signed; returns the mandate's path."""
        path, hosts = f"{FOLDER}/mandate.json", str(changes.get("hosts", 2))
        self.operator.run([GRIVET, "plan", self.write_experiment(**changes), "--file", path])
        for person in signers:
            self.operator.run([GRIVET, "sign", path, "--key", f"{FOLDER}/{person}.key", "--hosts", hosts])
        return path

    def begin(self, **changes):
        """Plan, sign, start; returns the run's id."""
        return self.operator.run([GRIVET, "run", self.plan(**changes), "--detach"]).stdout.strip()

    def status(self, run):
        return json.loads(self.cli("status", run, "-o", "json").stdout)

    def wait_state(self, run, *states, timeout=20):
        return wait_until(lambda: self.status(run)["state"] in states, timeout, f"run {run} to be {states}", 0.05)

    def report(self, run, timeout=25):
        """The report, once it is there."""
        def find():
            said = self.cli("report", run, "-o", "json")
            return json.loads(said.stdout) if said.stdout else None
        return wait_until(find, timeout, f"the report of {run}", 0.2)

    def is_suspect(self, name):
        hosts = json.loads(self.cli("hosts", "-o", "json").stdout)
        return next(host["is_suspect"] for host in hosts if host["host"] == name)

    # ---- what is written on both sides

    def stored(self, host):
        """The lines that the coordinator holds of the host, in order: from a copy of its store, once it is stopped."""
        with tempfile.TemporaryDirectory(prefix="grivet-store-") as folder:
            for path in self.coordinator.path(STORE).parent.glob("store.db*"):
                shutil.copy(path, folder)
            with contextlib.closing(sqlite3.connect(f"{folder}/store.db")) as store:
                return [line.encode() for line, in store.execute(
                    "SELECT line FROM events WHERE host = ? ORDER BY sequence", [host.name])]


def digest(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def journal(host):
    """The host's own chain, as it lies on its disk: acknowledged segments stay until the next one begins."""
    lines = []
    for path in sorted(host.path("/var/lib/grivet/events").iterdir()):
        if path.name.isdigit():
            lines += path.read_bytes().splitlines()
    return lines


def events(host, run=None, kind=None):
    found = map(json.loads, journal(host))
    return [event for event in found if (not run or event.get("run") == run) and (not kind or event["kind"] == kind)]


def wait_event(host, run, kind, timeout=15):
    return wait_until(lambda: events(host, run, kind), timeout, f"{kind} on {host.name}", 0.02)[0]


def local_status(host):
    return json.loads(host.run([GRIVET, "status", "--local", "-o", "json"]).stdout)


def check_chain(lines):
    """Numbered from 1 without a gap, each with the hash of the one before."""
    previous = "0" * 64
    for number, line in enumerate(lines, 1):
        event = json.loads(line)
        assert (event["sequence"], event["previous"]) == (number, previous), event
        previous = digest(line)
