"""The lab of three zones with Grivet on it: two people, a coordinator, an agent on each instance and observer.

Everything is done as an operator would do it, by the real programs.
"""

import json
import re

from lab import agent
from lab.host import LAB, LabError, die_with_parent_only
from lab.zones import COORDINATOR_PORT, STATISTICS_PORT, SYSLOG_PORT, ZONES, Zones

PEOPLE = ("alice", "bob")
URL = f"https://10.0.0.2:{COORDINATOR_PORT}"
GRIVET, GRIVET_COORDINATOR = f"{LAB}/bin/grivet", f"{LAB}/bin/grivet-coordinator"
FOLDER = "/root/gameday"  # on the operator's laptop
CONFIG = "/root/.config/grivet"
TOKENS = {"group": "web", "role": "observer"}


class Fleet:
    BALANCERS = [{"name": "shop", "kind": "haproxy", "statistics": f"10.0.0.5:{STATISTICS_PORT}",
                  "syslog": f"10.0.0.2:{SYSLOG_PORT}", "backend": "web",
                  "check": {"interval_ms": 500, "timeout_ms": 500}}]

    def __init__(self, lab, deployment_zones=(1, 2)):
        self.zones = Zones(lab, deployment_zones)
        self.operator, self.coordinator = self.zones.operator, self.zones.coordinator
        self.observers = [self.zones.client, self.zones.observer]
        self.make_keys()
        self.pins = self.init_coordinator()
        self.start_coordinator()
        self.tokens = {label: self.make_token(label, value) for label, value in TOKENS.items()}
        for host in self.observers:
            agent.join(host, self.enrol("role"), {"role": "observer"}, self.address_of(host), wait=False)
        self.zones.start(self.boot)

    # ---- the order of things in docs/protocol.md: keys, coordinator, operators, tokens, hosts

    def make_keys(self):
        self.operator.run(["mkdir", "-p", FOLDER, CONFIG])
        for person in PEOPLE:
            self.operator.run([GRIVET, "key", "new", person, "--folder", FOLDER, "--no-passphrase"])
            self.coordinator.write(f"/root/{person}.pub", self.operator.read(f"{FOLDER}/{person}.pub"))

    def init_coordinator(self):
        """Returns the pins, as `grivet-coordinator init` prints them."""
        words = [GRIVET_COORDINATOR, "init", "--environment", "lab", "--name", "10.0.0.2"]
        for person in PEOPLE:
            words += ["--person", f"/root/{person}.pub"]
        for number, zone in ZONES.items():
            words += ["--zone", f"{zone}=10.{number}.0.0/24,fd00:{number}::/64"]
        said = self.coordinator.run(words).stdout
        pins = re.search(r"--ca (sha256:\w+) --roots (sha256:\w+)", said)
        if not pins:
            raise LabError(f"no pins in what grivet-coordinator init says:\n{said}")
        return {"ca": pins[1], "roots": pins[2]}

    def start_coordinator(self):
        config = "/etc/grivet/coordinator.yaml"
        with open(self.coordinator.path(config), "a") as file:
            file.writelines(f"balancers:\n  - {json.dumps(balancer)}\n" for balancer in self.BALANCERS)
        self.coordinator.run([GRIVET_COORDINATOR, "operator", "add", PEOPLE[0], "--out", "/root/operator",
                              "--coordinator", URL])
        for path in self.coordinator.path("/root/operator").iterdir():
            self.operator.write(f"{CONFIG}/{path.name}", path.read_text(), mode=0o600)
        halt_key = self.coordinator.read("/var/lib/grivet-coordinator/halt.key")
        self.operator.write(f"{CONFIG}/halt.key", halt_key, mode=0o600)
        agent.unit_service(self.coordinator, "grivet-coordinator")
        self.coordinator.wait_listening(COORDINATOR_PORT)

    def make_token(self, label, value):
        said = self.operator.run([GRIVET, "token", "new", "--label", f"{label}={value}", "--max-uses", "20",
                                  "-o", "json"]).stdout
        return json.loads(said)["token"]

    def enrol(self, label):
        return {"url": URL, "token": self.tokens[label], **self.pins}

    @staticmethod
    def address_of(host):
        words = host.run(["ip", "-4", "-o", "addr", "show", "dev", "eth0"], is_inside=False).stdout.split()
        return words[3].split("/")[0]

    def boot(self, instance):
        """What an instance does at boot before it fetches anything; returns what that has to wait for."""
        labels = {"zone": ZONES[instance.zone], "group": "web"}
        agent.join(instance.host, self.enrol("group"), labels, instance.address, wait=False)
        return ["grivet-ready"]

    # ---- the main job

    @property
    def agents(self):
        return [*self.observers, *(instance.host for instance in self.zones.instances.values())]

    def wait_ready(self):
        for host in self.agents:
            host.wait_active("grivet-ready", timeout=30)
        self.zones.wait_in_service()

    def plan_and_sign(self, experiment, say):
        """Returns the path of the signed mandate on the operator's laptop."""
        path, mandate = f"{FOLDER}/{experiment.name}", f"{FOLDER}/mandate.json"
        self.operator.write(path, experiment.read_text())
        say(f"\n$ grivet plan {experiment.name} --file mandate.json")
        say(self.operator.run([GRIVET, "plan", path, "--file", mandate]).stdout.rstrip())
        expected = re.search(r"expect: \{hosts: (\d+)", experiment.read_text())[1]
        for person in PEOPLE:
            say(f"\n$ grivet sign mandate.json --key {person}.key --hosts {expected}")
            signed = self.operator.run([GRIVET, "sign", mandate, "--key", f"{FOLDER}/{person}.key",
                                        "--hosts", expected])
            say((signed.stdout + signed.stderr).rstrip().splitlines()[-1])  # before it, what `plan` said already
        say("\n$ grivet run mandate.json")
        return mandate

    def start_run(self, mandate):
        """`grivet run` on our own terminal, or pipe."""
        return self.operator.popen([GRIVET, "run", mandate], prepare=die_with_parent_only)

    def report(self):
        """The report of the last run as JSON text, None if there is none (yet)."""
        said = self.operator.run([GRIVET, "report", "-o", "json"], check=False)
        return said.stdout if said.returncode == 0 else None
