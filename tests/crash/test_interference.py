"""Somebody changes what a fault had made while it is in force: it is said, whoever or whatever ends the fault, and what
harms more than was signed ends at once. Nothing of ours is left either way."""

import re
import signal

import pytest

from executor_rig import ExecutorRig
from lab.host import PYTHON, wait_until
from rig import GATE_MS, boot_ns
from scenarios import assert_clean

BURN = "cpu.burn", {"load_percent": 20, "cpus": 2, "mode": "contend"}
SHAPE = "network.shape", {"cidrs": ["10.9.2.0/24", "fd00:9:2::/64"], "rate_kbit": 64}
BLOCK = "zone.block", {"zone": "apse2-az2"}
SHORT_MS, LONG_MS = 2500, 20000
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


def kill_burners(rig):
    """Dead, though their holder has not looked yet."""
    rig.host.sh("kill -9 $(pgrep ^burn-)")
    rig.host.wait_for(lambda: rig.host.run(["pgrep", "-r", "R,S,D", "^burn-"], check=False).returncode == 1, 5, "their death")


def stop_burner(rig):
    """One of them; on a busy CPU it may have to wait until it gets to stop."""
    rig.host.sh("kill -STOP $(pgrep ^burn- | tail -1)")
    rig.host.wait_for(lambda: rig.host.run(["pgrep", "-r", "T", "^burn-"], check=False).returncode == 0, 5, "it to be stopped")


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
    kill_burners(rig)
    assert_interfered(rig, "the burner on CPU 0 is gone", "deadline")


def test_burners_killed_and_a_halt_at_once(rig):
    """Before anybody has looked again: the undo finds it."""
    begin(rig, BURN, LONG_MS)
    kill_burners(rig)
    rig.halt()
    assert_interfered(rig, "the burner on CPU 0 is gone", "halt")


@pytest.mark.parametrize("mode", ["contend", "background"])
@pytest.mark.parametrize("is_halted", [False, True], ids=["deadline", "halt"])
def test_a_burner_was_stopped(rig, mode, is_halted):
    """The others go on. With a halt at once it is the undo that finds it."""
    begin(rig, ("cpu.burn", {**BURN[1], "mode": mode}), LONG_MS if is_halted else SHORT_MS)
    stop_burner(rig)
    if is_halted:
        rig.halt()
    assert_interfered(rig, r"the burner on CPU \d was stopped by a signal", "halt" if is_halted else "deadline")


def test_a_burner_was_stopped_between_two_looks(rig):
    begin(rig, BURN, SHORT_MS)
    stop_burner(rig)
    rig.host.sh("kill -CONT $(pgrep ^burn-)")
    assert_interfered(rig, r"the burner on CPU \d was stopped by a signal", "deadline")


@pytest.mark.parametrize("name", HARMS)
def test_a_changed_shaper_ends_the_fault(rig, name):
    words, found = HARMS[name]
    begin(rig, SHAPE, LONG_MS)
    change(rig, words)
    at = boot_ns()
    assert rig.wait_back(at, GATE_MS / 1000) is not None, "traffic is not back"
    print(f"{name}: traffic back {(boot_ns() - at) / 1e6:.0f} ms after it")
    assert_interfered(rig, found, "interference")
    (body,) = events(rig, "fault.interrupted")
    assert body["reason"].startswith("interfered: the device grivet-") or "interfered: tbf of" in body["reason"], body


def test_a_shaper_deleted_between_the_last_look_and_a_halt(rig):
    """The holder, which did not get to run meanwhile, hears of the halt first; the undo hears of the rest."""
    begin(rig, SHAPE, LONG_MS)
    rig.signal("holder", number=signal.SIGSTOP)
    change(rig, "ip link del $in")
    rig.halt()
    rig.courier.wait_event("halt.received")
    rig.signal("holder", number=signal.SIGCONT)
    assert_interfered(rig, "a shaper of it is gone", "halt")


def remake(lab, rig):
    """What a driver's reload does, or a bond that goes down and up: the same name, another device."""
    rig.host.ip("link del eth0")
    lab.wire(rig.host, "eth0", rig.far, "eth0")
    rig.host.ip("addr add 10.9.1.1/16 dev eth0", "addr add fd00:9:1::1/32 dev eth0 nodad")
    rig.far.ip("addr add 10.9.2.1/16 dev eth0", "addr add fd00:9:2::1/32 dev eth0 nodad")
    rig.before = "".join(line for line in rig.traffic_control().splitlines(True) if "grivet-" not in line)


@pytest.mark.parametrize("fault", [SHAPE, BLOCK], ids=lambda fault: fault[0])
@pytest.mark.parametrize("is_halted", [False, True], ids=["deadline", "halt"])
def test_a_device_of_the_host_was_made_anew(lab, rig, fault, is_halted):
    """Its chains are gone from it, or not, by kernel; what went through it meanwhile nobody knows."""
    begin(rig, fault, LONG_MS if is_halted else SHORT_MS)
    remake(lab, rig)
    if is_halted:
        rig.halt()
    assert_interfered(rig, "the device eth0 that was there is gone", "halt" if is_halted else "deadline")


def test_a_device_that_comes_is_covered(lab, rig):
    """And one of a container, which has no address of the host's, may go."""
    rig.host.ip("link add old0 type veth peer name old1", "link set old0 up")
    begin(rig, ("network.block", {"cidrs": ["10.9.2.0/24", "10.7.0.2"], "protocol": "udp"}), LONG_MS)
    lab.wire(rig.host, "new0", rig.far, "new0")
    rig.host.ip("addr add 10.7.0.1/24 dev new0", "link del old0")
    rig.far.ip("addr add 10.7.0.2/24 dev new0")
    hooked = wait_until(lambda: [line for line in rig.host.run(["nft", "list", "ruleset"]).stdout.splitlines()
                                 if "hook egress" in line and "new0" in line], 5, "the new device in the chain")
    print(hooked)
    assert rig.host.sh(f"{PYTHON} -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.settimeout(0.5);"
                       " s.sendto(b\"x\", (\"10.7.0.2\", 7)); s.recv(9)' 2>&1 || :").stdout.strip().endswith("timed out")
    rig.halt()
    body = rig.told()
    assert body["is_interfered"] is False and "uncovered" not in body["effect"], body


def test_nobody_could_look(rig):
    """The executor ends what its killed holder left, and does not say that all was well."""
    begin(rig, SHAPE, LONG_MS)
    rig.signal("holder")
    body = rig.told()
    assert "is_interfered" in body and body["is_interfered"] is None, body
    assert_clean(rig)
