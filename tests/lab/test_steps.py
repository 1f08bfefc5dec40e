"""A block, and after it a kill: the order that was signed is kept, told and checked; what failed is not followed."""

import os
import re
import signal

import pytest

from lab.fleet import FOLDER, GRIVET
from lab.host import Lab, wait_until
from lab.small import Small, events, wait_event

SECOND = """  - name: kill-till
    fault: process.kill
    parameters: {cmdline: sleep 100000}
    hosts: {labels: {group: web, zone: apse2-az2}}
    duration_s: 2
    after: lose-az1
"""


class Stepped(Small):
    def write_experiment(self, **changes):
        path = super().write_experiment(**changes)
        text = self.operator.read(path).replace("settle_s: 0", "settle_s: 2").replace("warmup_s: 0", "warmup_s: 1")
        self.operator.write(path, text.replace("probes:\n", SECOND + "probes:\n").replace("objectives:\n", (
            "objectives:\n  - {name: served, kind: recover, probe: door, within_s: 5}\n")))
        return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("steps") / "logs") as lab:
        made = Stepped(lab)
        made.add_agent("web-1", 1, 11)
        made.add_agent("web-2", 2, 11)
        made.wait_ready()
        made.hosts["web-2"].service("till", ["sleep", "100000"])
        yield made


def till_starts(fleet):
    return fleet.hosts["web-2"].status("till")["starts"]


def test_one_after_the_other(fleet):
    first, second = fleet.hosts.values()
    starts = till_starts(fleet)
    path = fleet.write_experiment(seconds=3, is_watched=True)
    planned = fleet.cli("plan", path, "--file", f"{FOLDER}/mandate.json")
    assert re.search(r"\+0.0 s to +\+3.0 s  lose-az1: zone.block on 2 hosts\n"
                     r" +\+3.0 s to +\+5.0 s  kill-till: process.kill on 1 host, after lose-az1\n", planned.stdout), planned
    mandate = fleet.plan(seconds=3, is_watched=True)
    watching = fleet.operator.popen([GRIVET, "run", mandate], stdout=-1, stderr=-1, text=True)
    run = re.search("run (.*)", watching.stderr.readline())[1]
    wait_event(second, run, "fault.exercised")
    fleet.wait_state(run, "running")
    assert fleet.status(run)["waiting"] == [{"step": "kill-till", "after": ["lose-az1"]}]
    assert "kill-till        waiting      after lose-az1" in fleet.cli("status", run).stdout
    report = fleet.report(run)
    assert (report["state"], report["verdict"]) == ("done", "met"), report["sentence"]
    ends = max(wait_event(host, run, "fault.reverted")["body"]["reverted_at"] for host in (first, second))
    killed = [event for event in events(second, run, "fault.exercised") if event["step"] == "kill-till"]
    assert len(killed) == 1 and killed[0]["body"]["exercised_at"] > ends
    assert not [event for event in events(first, run) if event.get("step") == "kill-till"]
    wait_until(lambda: till_starts(fleet) == starts + 1, 5, "the killed process to be started again")
    block, kill = report["steps"]
    assert block["t0"] == report["t0"] < block["ended_at"] < kill["started_at"] < kill["t0"] <= kill["ended_at"]
    assert kill["after"] == ["lose-az1"] and {step["verdict"] for step in (block, kill)} == {"met"}
    seen = [(item["name"], item["lost"]) for step in (block, kill) for item in step["endpoints"]]
    assert seen == [("door", 0), ("door", 0)] and all(step["endpoints"][0]["requests"] > 3 for step in (block, kill))
    text, _ = watching.communicate(timeout=20)
    assert watching.returncode == 0
    assert re.search(r"kill-till +process.kill +lose-az1 +\+\d+\.\d s +\+\d+\.\d s +met", text), text
    order = [text.index(words) for words in (
        "run is starting lose-az1\n", "web-2 zone.block reverted", "run is starting kill-till\n", "process.kill exercised",
        "run is settling")]
    assert order == sorted(order), text


def test_the_first_ends_early_and_nothing_follows(fleet):
    """Its holder on web-1 is killed: the kernel ends the fault, and the step that follows is not started anywhere."""
    first, second = fleet.hosts.values()
    starts = till_starts(fleet)
    run = fleet.begin(seconds=4, is_watched=True)
    wait_event(second, run, "fault.exercised")
    wait_event(first, run, "fault.exercised")
    os.kill(next(process["pid"] for process in first.processes() if process["name"] == "grivet-holder"), signal.SIGKILL)
    report = fleet.report(run)
    assert (report["state"], report["verdict"]) == ("failed", "unknown"), report["sentence"]
    assert re.search("step kill-till is not started: lose-az1 (ended early|was interrupted) on web-1", report["sentence"]), report["sentence"]
    assert report["steps"][1]["started_at"] is None and till_starts(fleet) == starts
    assert not [event for event in events(second, run) if event.get("step") == "kill-till"]
    for host in (first, second):
        assert "grivet" not in host.run(["nft", "list", "ruleset"]).stdout


def test_a_coordinator_killed_between_the_steps(fleet):
    """It comes back when the first step is over, and the second one starts once."""
    second = fleet.hosts["web-2"]
    starts = till_starts(fleet)
    run = fleet.begin(seconds=3, is_watched=True)
    wait_event(second, run, "fault.exercised")
    fleet.coordinator.set_restart("grivet-coordinator", False)
    fleet.coordinator.kill("grivet-coordinator")
    try:
        for host in fleet.hosts.values():
            wait_event(host, run, "fault.reverted")
    finally:
        fleet.coordinator.set_restart("grivet-coordinator", True)
        fleet.serve()
    report = fleet.report(run, 40)
    assert (report["state"], report["verdict"]) == ("done", "met"), report["sentence"]
    wait_until(lambda: till_starts(fleet) == starts + 1, 5, "the killed process to be started again")
    kinds = [event["kind"] for event in events(second, run) if event.get("step") == "kill-till"]
    assert kinds == ["order.accepted", "fault.armed", "fault.exercised", "fault.ended"], kinds


def test_halted_between(fleet):
    """Root halts a host in mid step: the others end on time, and nothing further begins."""
    first, second = fleet.hosts.values()
    run = fleet.begin(seconds=4, is_watched=True)
    wait_event(second, run, "fault.exercised")
    wait_event(first, run, "fault.exercised")
    first.run([GRIVET, "halt"])
    report = fleet.report(run)
    assert report["state"] == "failed" and "step kill-till is not started: " in report["sentence"], report["sentence"]
    assert not [event for event in events(second, run) if event.get("step") == "kill-till"]
