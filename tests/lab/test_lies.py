"""Couriers that somebody has taken over, between the real executor and the real coordinator: each lie is found out."""

import pytest

from lab.host import LAB, PYTHON, Lab, wait_until
from lab.small import Small, check_chain, events, journal, local_status, wait_event

LIES = {"change": "events contradict each other", "invent": "events contradict each other",
        "reorder": "its effect was not shown", "withhold": "there is no proof of its end",
        "acknowledge": "its effect was not shown"}
CONTRADICTIONS = ("change", "invent")  # these leave something in the store that the host never said


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """A host for each lie; all runs at once, since each takes its time."""
    with Lab(logs=tmp_path_factory.mktemp("lies") / "logs") as lab:
        made = Small(lab)
        for number, lie in enumerate(["nothing", *LIES]):
            made.add_agent(lie, 2, 11 + number, group=lie)
        made.add_agent("deaf", 2, 31, group="deaf")
        made.wait_ready()
        liars = {lie: host for lie, host in made.hosts.items() if lie != "deaf"}
        for lie, host in liars.items():
            host.stop("grivet-courier")
            host.service("liar", [PYTHON, f"{LAB}/source/tests/lab/lying_courier.py", lie], user="grivet-courier",
                         restart=False)
        made.runs = {lie: made.begin(group=lie, hosts=1, seconds=2) for lie in liars}
        made.reports = {lie: made.report(run) for lie, run in made.runs.items()}
        yield made


def test_an_honest_courier_of_the_same_make_is_believed(fleet):
    assert fleet.reports["nothing"]["verdict"] == "met", fleet.reports["nothing"]["sentence"]
    assert not fleet.is_suspect("nothing")
    wait_until(lambda: local_status(fleet.hosts["nothing"])["journal"]["acknowledged"] >= 5, 5, "acknowledgements")


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_makes_the_verdict_unknown(fleet, lie):
    report = fleet.reports[lie]
    assert report["verdict"] == "unknown", report["sentence"]
    assert fleet.is_suspect(lie) == (lie in CONTRADICTIONS)
    assert LIES[lie] in report["sentence"]
    clock = report["clocks"][0]
    assert clock["host"] == lie and not clock["has_fresh_head"]


@pytest.mark.parametrize("lie", LIES)
def test_nothing_is_deleted_without_a_true_acknowledgement(fleet, lie):
    host, run = fleet.hosts[lie], fleet.runs[lie]
    reverted = wait_event(host, run, "fault.reverted")
    assert reverted["body"]["ended_by"] == "deadline" and 0 <= reverted["body"]["revert_error_ms"] < 1000
    assert local_status(host)["journal"]["acknowledged"] < reverted["sequence"]
    check_chain(journal(host))
    assert [event["kind"] for event in events(host, run)] == ["order.accepted", "fault.armed", "fault.exercised",
                                                              "fault.reverted"]


def test_a_courier_cannot_call_a_fault_gone(fleet):
    """It keeps the halt from the host, and has said already that all is over."""
    host = fleet.hosts["deaf"]
    host.stop("grivet-courier")
    host.service("liar", [PYTHON, f"{LAB}/source/tests/lab/lying_courier.py", "deafen"], user="grivet-courier",
                 restart=False)
    run = fleet.begin(group="deaf", hosts=1, seconds=20)
    wait_event(host, run, "fault.exercised")
    said = fleet.cli("halt", "--host", "deaf")
    assert said.returncode == 1 and said.stdout.startswith("all gone on 0 of 1 hosts; unreachable: deaf"), said
    assert not events(host, run, "fault.reverted")
    assert host.run(["grivet", "halt"]).stdout == "ended 1 fault(s) on this host\n"


def test_an_honest_courier_brings_what_was_withheld(fleet):
    """Last: the real couriers come back, and the store is stopped to be read. What was slipped in gives way."""
    for host in fleet.hosts.values():
        host.stop("liar")
        host.start("grivet-courier")
    for host in fleet.hosts.values():
        wanted = events(host)[-1]["sequence"]
        wait_until(lambda: local_status(host)["journal"]["acknowledged"] >= wanted, 60, f"{host.name}'s events to arrive")
    for lie in CONTRADICTIONS:
        assert fleet.is_suspect(lie)
    fleet.coordinator.stop("grivet-coordinator")
    for host in fleet.hosts.values():
        stored = fleet.stored(host)
        check_chain(stored)
        assert stored == journal(host)[:len(stored)] and len(stored) >= 5
