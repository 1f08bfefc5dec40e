"""Nothing is ordered: the test itself takes a server away behind a real HAProxy, Grivet measures and judges."""

import datetime
import json
import re
import time

import pytest

from lab.fleet import FOLDER, GRIVET
from lab.host import LAB, PYTHON, Lab
from lab.small import Small, events
from lab.zones import HAPROXY, SOURCE

EXPERIMENT = """schema: grivet.experiment/1
name: failover
environment: lab
expect: {hosts: 1}
warmup_s: 1
settle_s: 4
duration_s: 4
observers: {labels: {group: web}}
probes:
  - {name: door, kind: http, url: "http://10.0.0.5/", interval_ms: 200, timeout_ms: 500, unhealthy_after: 2,
     healthy_after: 2, stable_s: 1, connection: fresh, expect: {status: 200}}
objectives:
  - {name: users are served again, kind: recover, probe: door, within_s: 4}
"""
CONFIG = """defaults
    mode http
    timeout connect 500ms
    timeout client 2s
    timeout server 2s
frontend door
    bind :80
    default_backend till
backend till
    option httpchk GET /
    default-server check inter 500ms fall 3 rise 2
    server first 10.0.0.11:80
    server second 10.0.0.12:80 backup
"""


class Watched(Small):
    """Two plain servers, of which the second serves when the first is down; who watches is the only agent."""

    def __init__(self, lab):
        super().__init__(lab)
        self.watcher = self.add_agent("watcher", 1, 11)
        self.servers = [self.plug(f"server-{number}", f"0.0.1{number}") for number in (1, 2)]
        for server in self.servers:
            server.service("till", [PYTHON, "-m", "http.server", "80", "--bind", "0.0.0.0", "--directory", "/run"])
        self.balancer = self.plug("balancer", "0.0.5")
        self.balancer.write("/run/haproxy.cfg", CONFIG)
        assert (SOURCE / HAPROXY).exists(), "no haproxy: run scripts/unpack-haproxy.sh build/lab/haproxy"
        self.balancer.service("haproxy", [f"{LAB}/source/{HAPROXY}", "-db", "-f", "/run/haproxy.cfg"])
        self.balancer.wait_listening(80)
        self.wait_ready()

    def write_experiment(self, **_):
        self.operator.write(f"{FOLDER}/failover.yaml", EXPERIMENT)
        return f"{FOLDER}/failover.yaml"

    def observe(self, act):
        """`grivet run`, with act() at the word to act. Returns what act() said, the exit code, the report and the text."""
        mandate = self.plan(signers=["alice"], hosts=1)
        watching = self.operator.popen([GRIVET, "run", mandate], stdout=-1, stderr=-1, text=True)
        run = re.search("run (.*)", watching.stderr.readline())[1]
        text = ""
        while "act now" not in text:
            line = watching.stdout.readline()
            assert line, text + watching.stderr.read()
            text += line
        acted = act()
        text += watching.communicate(timeout=30)[0]
        return acted, watching.returncode, self.report(run), text


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("observation") / "logs") as lab:
        yield Watched(lab)


def test_the_second_takes_over(fleet):
    first, _ = fleet.servers

    def act():
        moments = [time.time()]
        first.stop("till")
        return [*moments, time.time()]
    planned = fleet.cli("plan", fleet.write_experiment())
    assert "no fault: you act, Grivet watches for 4 s\n" in planned.stdout, planned
    (before, after), code, report, text = fleet.observe(act)
    assert (code, report["verdict"]) == (0, "met"), report["sentence"]
    assert re.match("met: The first failure was seen [0-9.]+ s after the word to act: users noticed [0-9.]+ s of failures, "
                    "service recovered after [0-9.]+ s.$", text.split("\n\n")[1], re.M), text
    t0 = datetime.datetime.fromisoformat(report["t0"]).timestamp()
    assert before - 0.6 < t0 < after + 0.6, (before, t0, after)  # a request's time-out before, an interval after
    assert report["endpoints"][0]["lost"] >= 2 and report["faults"] == report["steps"] == []
    assert {event["step"] for event in events(fleet.watcher) if event.get("step")} == {"observe"}
    first.start("till")


def test_nothing_was_done(fleet):
    _, code, report, _ = fleet.observe(lambda: None)
    assert (code, report["verdict"], report["t0"]) == (4, "unknown", None), report["sentence"]
    assert re.fullmatch("No failure was seen in [0-9.]+ s. Not sure: users are served again: nothing shows that anything was "
                        "done.", report["sentence"])


def test_nobody_takes_over(fleet):
    _, code, report, _ = fleet.observe(lambda: [server.stop("till") for server in fleet.servers])
    assert (code, report["verdict"]) == (3, "missed"), report["sentence"]
    assert "not healthy again, seen from watcher" in report["sentence"]
    for server in fleet.servers:
        server.start("till")


def test_who_watches_has_to_agree(fleet):
    watcher, path = fleet.watcher, "/etc/grivet/agent.yaml"
    policy = json.loads(watcher.read(path))
    policy["classes"]["observe"]["is_allowed"] = False
    watcher.write(path, json.dumps(policy))
    watcher.stop("grivetd")
    watcher.start("grivetd")
    planned = fleet.cli("plan", fleet.write_experiment())
    assert planned.returncode == 5 and "REFUSED by watcher: policy: classes.observe: not allowed" in planned.stdout, planned
