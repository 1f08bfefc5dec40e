"""Somebody changes what a fault had made while it is in force: it is said, whoever or whatever ends the fault, and what
harms more than was signed ends at once. Nothing of ours is left either way."""

import re

import pytest

from executor_rig import ExecutorRig
from rig import GATE_MS, boot_ns
from scenarios import assert_clean

BURN = "cpu.burn", {"load_percent": 20, "cpus": 2, "mode": "contend"}
SHAPE = "network.shape", {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "rate_kbit": 64}
BLOCK = "zone.block", {"zone": "apse2-az2"}
SHORT_MS, LONG_MS = 2500, 20000

KILL_BURNERS = "kill -9 $(pgrep ^burn-)"
# What harms more than was signed: rules that lead to a shaper that is another one, or none.
HARMS = {
    "shaper deleted": ("ip link del $out", "the device grivet-.*o is gone"),
    "shaper down": ("ip link set $in down", "the device grivet-.*i is down"),
    "queue replaced": ("tc qdisc replace dev $out root tbf rate 9mbit burst 20kb limit 200kb", "tbf of grivet-.*o has another rate"),
    "queue deleted": ("tc qdisc del dev $out root", "the device grivet-.*o has no tbf any more"),
}


@pytest.fixture
def rig(lab):
    return ExecutorRig(lab)


def begin(rig, fault, duration_ms):
    rig.fault = fault
    rig.start(duration_ms)
    rig.courier.wait_event("fault.exercised", order=rig.order)


def change(rig, words):
    devices = rig.host.sh("ip -o link | grep -o 'grivet-[^:]*[oi]:' || :").stdout
    names = {name[-2]: name[:-1] for name in devices.split()}
    rig.host.sh(f"out={names.get('o')} in={names.get('i')}; {words}")


def events(rig, kind):
    return [event["body"] for event in rig.courier.events() if event["kind"] == kind and event.get("order") == rig.order]


def assert_interfered(rig, pattern, ended_by):
    body = rig.told(SHORT_MS / 1000 + 5)
    assert body["is_interfered"] is True and body["ended_by"] == ended_by, body
    assert re.search(pattern, body["interference"]), body
    assert_clean(rig)


@pytest.mark.parametrize("fault", [BURN, SHAPE, BLOCK], ids=lambda fault: fault[0])
@pytest.mark.parametrize("is_halted", [False, True], ids=["deadline", "halt"])
def test_nobody_interfered(rig, fault, is_halted):
    """Changes of what is not ours, and a flush, which passes over tables with an owner, are none."""
    begin(rig, fault, LONG_MS if is_halted else SHORT_MS)
    rig.host.sh("nft flush ruleset; tc qdisc replace dev eth0 root pfifo; tc qdisc del dev eth0 root")
    if is_halted:
        rig.halt()
    body = rig.told(SHORT_MS / 1000 + 5)
    assert body["is_interfered"] is False and "interference" not in body and not events(rig, "fault.interrupted"), body
    assert_clean(rig)


def test_burners_killed_and_the_deadline(rig):
    begin(rig, BURN, SHORT_MS)
    change(rig, KILL_BURNERS)
    assert_interfered(rig, "the burner on CPU 0 is gone", "deadline")


def test_burners_killed_and_a_halt_at_once(rig):
    """Before anybody has looked again: the undo finds it."""
    begin(rig, BURN, LONG_MS)
    change(rig, KILL_BURNERS)
    rig.halt()
    assert_interfered(rig, "the burner on CPU 0 is gone", "halt")


@pytest.mark.parametrize("name", HARMS)
def test_a_changed_shaper_ends_the_fault(rig, name):
    words, found = HARMS[name]
    begin(rig, SHAPE, LONG_MS)
    change(rig, words)
    at = boot_ns()
    assert rig.wait_back(at, 2 + GATE_MS / 1000) is not None, "traffic is not back"
    print(f"{name}: traffic back {(boot_ns() - at) / 1e6:.0f} ms after it")
    assert_interfered(rig, found, "interference")
    (body,) = events(rig, "fault.interrupted")
    assert body["reason"].startswith("interfered: the device grivet-") or "interfered: tbf of" in body["reason"], body


def test_nobody_could_look(rig):
    """The executor ends what its killed holder left, and does not say that all was well."""
    begin(rig, SHAPE, LONG_MS)
    rig.signal("holder")
    body = rig.told()
    assert "is_interfered" in body and body["is_interfered"] is None, body
    assert_clean(rig)
