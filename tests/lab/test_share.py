"""A share of the hosts is enough: who would refuse is left out and named; if too few are left, what started is halted."""

import re

import pytest

from lab.fleet import FOLDER, GRIVET
from lab.host import Lab
from lab.small import Small, events, wait_event


class Sharing(Small):
    percent = 60

    def write_experiment(self, **changes):
        path = super().write_experiment(**{"hosts": 3, **changes})
        text = self.operator.read(path).replace("require_percent: 100", f"require_percent: {self.percent}")
        self.operator.write(path, text.replace("warmup_s: 0", "warmup_s: 3"))
        return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("share") / "logs") as lab:
        made = Sharing(lab)
        for number in (1, 2, 3):
            made.add_agent(f"web-{number}", 2 if number == 1 else 1, 10 + number)
        made.wait_ready()
        yield made


def test_one_is_left_out(fleet):
    first, second, third = fleet.hosts.values()
    fleet.set_class(third, "network", is_allowed=False)
    planned = fleet.cli("plan", fleet.write_experiment(seconds=2), "--file", f"{FOLDER}/mandate.json")
    assert planned.returncode == 0 and "the others are as many as it requires" in planned.stderr, planned
    fleet.percent = 67  # of 3 hosts: all of them
    refused = fleet.cli("plan", fleet.write_experiment(seconds=2), "--file", f"{FOLDER}/mandate.json")
    assert refused.returncode == 5, refused
    fleet.percent = 60
    run = fleet.begin(seconds=2, hosts=3, is_watched=True)
    report = fleet.report(run)
    assert (report["state"], report["verdict"]) == ("done", "met"), report["sentence"]
    assert [(one["host"], one["reason"][:23]) for one in report["refused"]] == [("web-3", "policy: classes.network")]
    assert sorted(fault["host"] for fault in report["faults"]) == ["web-1", "web-2"]
    assert not events(third, run)
    text = fleet.cli("report", run).stdout
    assert re.search("^left out: web-3: policy: classes.network: not allowed on this host$", text, re.M), text
    fleet.set_class(third, "network", is_allowed=True)


def test_too_few_arm_and_what_started_is_halted(fleet):
    """All would do it; then two lose their couriers, so that their orders don't arrive."""
    first, second, third = fleet.hosts.values()
    mandate = fleet.plan(seconds=40, hosts=3, is_watched=True)
    run = fleet.operator.run([GRIVET, "run", mandate, "--detach"]).stdout.strip()
    fleet.wait_state(run, "warming-up")
    wait_event(first, run, "order.accepted")  # to watch
    for host in (third, second):
        host.stop("grivet-courier")
    wait_event(first, run, "fault.exercised")
    ended = wait_event(first, run, "fault.reverted", timeout=20)["body"]
    assert ended["ended_by"] == "halt" and abs(ended["revert_error_ms"]) < 1000, ended
    for host in (third, second):
        host.start("grivet-courier")
    report = fleet.report(run)
    assert (report["state"], report["verdict"]) == ("failed", "unknown"), report["sentence"]
    assert re.search("web-[23] did not arm zone.block in time", report["sentence"]), report["sentence"]
    assert not [fault for fault in report["faults"] if fault["host"] != "web-1" and fault["armed_at"]]
