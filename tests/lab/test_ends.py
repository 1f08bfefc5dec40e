"""How a run ends when its carriers are killed and when people stop it: the whole way, with every real program."""

import datetime
import json
import re
import time

import pytest

from lab.fleet import FOLDER, GRIVET
from lab.host import Lab, wait_until
from lab.small import Small, check_chain, events, journal, local_status, wait_event


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("ends") / "logs") as lab:
        made = Small(lab)
        made.add_agent("web-1", 1, 11)
        made.add_agent("web-2", 2, 11)
        made.wait_ready()
        yield made


def armed(fleet, run):
    for host in fleet.hosts.values():
        wait_event(host, run, "fault.armed")


def check_ends(fleet, run, ended_by="deadline"):
    """Each fault ended on time on its own host, whatever the coordinator knows; nothing of it is left."""
    for host in fleet.hosts.values():
        body = wait_event(host, run, "fault.reverted")["body"]
        assert body["ended_by"] == ended_by and 0 <= body["revert_error_ms"] < 1000, body
        assert "grivet" not in host.run(["nft", "list", "ruleset"]).stdout
        active = host.path("/run/grivet/active")
        wait_until(lambda active=active: not list(active.iterdir()), 5, f"the record's removal on {host.name}")


def check_store(fleet, run):
    """Every event of every host is in the store, once, byte for byte; then the coordinator is started again."""
    for host in fleet.hosts.values():
        wanted = events(host, run)[-1]["sequence"]
        wait_until(lambda: local_status(host)["journal"]["acknowledged"] >= wanted, 15, f"{host.name}'s events to arrive")
    fleet.coordinator.stop("grivet-coordinator")
    try:
        for host in fleet.hosts.values():
            stored, written = fleet.stored(host), journal(host)
            check_chain(stored)
            assert stored == written[:len(stored)]
            kinds = [event["kind"] for event in map(json.loads, stored) if event.get("run") == run]
            for kind in ("fault.armed", "fault.exercised", "fault.reverted"):
                assert kinds.count(kind) == 1, kinds
    finally:
        fleet.serve()


def test_courier_killed_in_mid_fault(fleet):
    run = fleet.begin(seconds=4, is_watched=True)
    armed(fleet, run)
    for host in fleet.hosts.values():
        host.kill("grivet-courier")
    check_ends(fleet, run)
    report = fleet.report(run)
    assert report["verdict"] == "met", report["sentence"]
    assert len(report["faults"]) == 2 and all(fault["state"] == "reverted" for fault in report["faults"])
    check_store(fleet, run)


def test_interfered_in_mid_fault(fleet):
    """Somebody takes an interface away: the host says so at the end, and the report on which one and what."""
    host = fleet.hosts["web-1"]
    host.ip("link add extra0 type veth peer name extra1", "link set extra0 up", "addr add 10.77.0.1/24 dev extra0")
    run = fleet.begin(seconds=4, is_watched=True)
    for each in fleet.hosts.values():
        wait_event(each, run, "fault.exercised")
    host.ip("link del extra0")
    check_ends(fleet, run)
    report = fleet.report(run)
    found = "interfered: the device extra0 that was there is gone"
    assert report["verdict"] == "unknown" and f" on web-1: {found}" in report["sentence"], report["sentence"]
    assert {fault["host"]: fault["is_interfered"] for fault in report["faults"]} == {"web-1": True, "web-2": False}
    text = fleet.operator.run([GRIVET, "report", run], check=False).stdout
    assert re.search(f"\nweb-1 .* YES .*{found}\nweb-2 .* no ", text), text


def test_coordinator_killed_in_mid_fault(fleet):
    """It is away when the faults end, and finds out afterwards; `grivet run` waits for it and has the report."""
    mandate = fleet.plan(seconds=4, is_watched=True)
    watching = fleet.operator.popen([GRIVET, "run", mandate, "-o", "json"], stdout=-1, stderr=-1, text=True)
    run = re.search("run (.*)", watching.stderr.readline())[1]
    armed(fleet, run)
    fleet.coordinator.set_restart("grivet-coordinator", False)
    fleet.coordinator.kill("grivet-coordinator")
    try:
        check_ends(fleet, run)
    finally:
        fleet.coordinator.set_restart("grivet-coordinator", True)
        fleet.serve()
    out, error = watching.communicate(timeout=30)
    report = json.loads(re.search(r"^\{.*", out, re.S | re.M)[0])
    assert report["run"] == run and report["verdict"] == "met" and watching.returncode == 0, (report["sentence"], error)
    assert "trying again" in error
    check_store(fleet, run)


def test_coordinator_killed_again_and_again(fleet):
    """At once after each start, while events arrive: nothing counts twice and nothing is lost."""
    run = fleet.begin(seconds=5, is_watched=True)
    armed(fleet, run)
    for _ in range(4):
        starts = fleet.coordinator.status("grivet-coordinator")["starts"]
        fleet.coordinator.kill("grivet-coordinator")
        fleet.coordinator.wait_for(lambda: fleet.coordinator.status("grivet-coordinator")["starts"] > starts,
                                   what="the coordinator's next life")
    check_ends(fleet, run)
    assert fleet.report(run)["verdict"] == "met"
    check_store(fleet, run)


# ---- halts


def seconds_until_reverted(host, run, since):
    event = wait_event(host, run, "fault.reverted")
    assert event["body"]["ended_by"] == "halt", event
    at = datetime.datetime.fromisoformat(event["body"]["reverted_at"].replace("Z", "+00:00"))
    return at.timestamp() - since


def test_halt_arrives_down_a_held_poll(fleet):
    run = fleet.begin(seconds=30)
    armed(fleet, run)
    fleet.wait_state(run, "running")
    since = time.time()
    said = fleet.cli("halt", "--run", run)
    assert (said.returncode, said.stdout) == (0, "all gone on 2 of 2 hosts\n"), said
    for host in fleet.hosts.values():
        print(f"{host.name}: reverted {seconds_until_reverted(host, run, since) * 1000:.0f} ms after the command began")
        assert seconds_until_reverted(host, run, since) < 1
    check_ends(fleet, run, ended_by="halt")
    report = fleet.report(run)
    assert report["state"] == "halted" and report["verdict"] == "unknown"
    assert "halt" in report["sentence"]
    check_store(fleet, run)


def test_halt_by_root_on_the_host(fleet):
    run = fleet.begin(seconds=30)
    armed(fleet, run)
    since, first, second = time.time(), *fleet.hosts.values()
    assert first.run([GRIVET, "halt"]).stdout == "ended 1 fault(s) on this host\n"
    assert seconds_until_reverted(first, run, since) < 1
    since = time.time()
    second.run(["touch", "/run/grivet/halt"])
    try:
        assert seconds_until_reverted(second, run, since) < 1
        report = fleet.report(run)
        assert report["verdict"] == "unknown" and [fault["ended_by"] for fault in report["faults"]] == ["halt", "halt"]
        refused = fleet.cli("plan", fleet.write_experiment(), "--file", f"{FOLDER}/none.json")
        assert refused.returncode == 5 and "halt" in refused.stdout + refused.stderr, refused
    finally:
        second.path("/run/grivet/halt").unlink()
    check_ends(fleet, run, ended_by="halt")


def test_halt_says_whom_it_did_not_reach(fleet):
    """A cut cable: that host ends by itself, and says so when it can."""
    run = fleet.begin(seconds=8)
    armed(fleet, run)
    fleet.wait_state(run, "running")
    lonely, deadline = fleet.hosts["web-2"], wait_event(fleet.hosts["web-2"], run, "fault.armed")["body"]["deadline"]
    lonely.ip("link set eth0 down")
    try:
        said = fleet.cli("halt", "--run", run)
    finally:
        lonely.ip("link set eth0 up")
    words = re.fullmatch(r"all gone on 1 of 2 hosts; unreachable: web-2, ends by itself at (\S+)\n", said.stdout)
    assert words and said.returncode == 1, said
    assert words[1][:19] == deadline[:19]
    ended = wait_event(lonely, run, "fault.reverted")["body"]
    assert ended["ended_by"] in ("deadline", "halt") and abs(ended["revert_error_ms"]) < 1000, ended
    assert fleet.report(run)["verdict"] == "unknown"
    check_store(fleet, run)


def test_halts_that_nobody_may_give(fleet):
    """Another key, no run of that name, a halt key without a role: refused, and nothing ends."""
    run = fleet.begin(seconds=3)
    armed(fleet, run)
    fleet.operator.run([GRIVET, "key", "new", "mallory", "--folder", FOLDER, "--no-passphrase"])
    # A clock that is wrong is named; nobody finds it under "expired".
    behind, ahead = ({"GRIVET_TEST_CLOCK_OFFSET_USEC": str(sign * 700 * 10**6)} for sign in (-1, 1))
    for words, complaint, more in (
            (["--run", run, "--key", f"{FOLDER}/mallory.key"], "this key may not halt: halt: signed by 0 of 1", {}),
            (["--run", "01890000-0000-7000-8000-000000000000"], "no run", {}),
            (["--host", "nobody"], "there is no host nobody", {}),
            (["--fleet"], "signed 700 s ago by this coordinator's clock", behind),
            (["--fleet"], "s in the future by this coordinator's clock: is that of who signed it right?", ahead)):
        said = fleet.operator.run(["env", *(f"{k}={v}" for k, v in more.items()), GRIVET, "halt", *words], check=False)
        assert said.returncode != 0 and complaint in said.stderr and said.stderr.count("\n") == 1, said
    check_ends(fleet, run)
    assert fleet.report(run)["verdict"] == "met"
