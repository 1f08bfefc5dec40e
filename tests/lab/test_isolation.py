"""A rehearsal with isolate: full: nobody hears the host until its fault ends, and then the report has all of it."""

import time

import pytest

from lab.fleet import FOLDER
from lab.host import Lab, wait_until
from lab.small import Small, events, wait_event

ISOLATED_S = 14  # longer than a run waits for a host that is only slow


class Isolating(Small):
    def write_experiment(self, **changes):
        path = super().write_experiment(**changes)
        self.operator.write(path, self.operator.read(path).replace("{zone: apse2-az1}", "{zone: apse2-az1, isolate: full}"))
        return path


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("isolation") / "logs") as lab:
        made = Isolating(lab)
        made.add_agent("web-1", 1, 11)
        made.add_agent("web-2", 2, 11)
        made.wait_ready()
        yield made


def test_refused_until_root_allows_it(fleet):
    said = fleet.cli("plan", fleet.write_experiment(), "--file", f"{FOLDER}/no.json")
    assert said.returncode == 5 and "classes.network.allows_isolation" in said.stdout
    for host in fleet.hosts.values():
        fleet.set_class(host, "network", allows_isolation=True)


def test_a_run_waits_for_those_who_are_isolated(fleet):
    inside, outside = fleet.hosts["web-1"], fleet.hosts["web-2"]
    wait_until(lambda: "ISOLATION: THE LIFELINE IS CUT TOO" in fleet.cli(
        "plan", fleet.write_experiment(seconds=ISOLATED_S), "--file", f"{FOLDER}/yes.json").stdout, 15, "both to answer", 0.5)
    run = fleet.begin(seconds=ISOLATED_S)
    armed = wait_event(inside, run, "fault.armed")
    wait_event(outside, run, "fault.exercised")
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() > begun + 11, 12, "the time that others have to arm")
    assert fleet.status(run)["state"] == "starting"
    report = fleet.report(run, 40)
    assert report["state"] == "done" and report["verdict"] == "met", report
    assert report["t0"][:19] >= armed["body"]["armed_at"][:19]
    for host in (inside, outside):
        body = events(host, run, "fault.reverted")[0]["body"]
        assert body["ended_by"] == "deadline" and 0 <= body["revert_error_ms"] < 1000
