"""The rollback matrix for a fault whose holder owns it: who is taken away, and what must hold nevertheless.

Each scenario is a plain function, so that test_mutations.py can show that it turns red without the hand it is about.
"""

import signal
import time

from lab.host import wait_until
from rig import GATE_MS, GRACE_MS, boot_ns

SHORT_MS, LONG_MS = 1500, 20000


def report(name, what, milliseconds):
    print(f"{name}: {what} {milliseconds:.1f} ms")


def back_at_once(rig, name, at):
    taken = rig.wait_back(at, GATE_MS / 1000)
    assert taken is not None, f"traffic was not back {GATE_MS} ms after the kill"
    report(name, "traffic back after the kill in", taken)


def back_at_deadline(rig, name):
    early = rig.deadline - 50_000_000
    taken = rig.wait_back(early, (rig.deadline - boot_ns()) / 1e9 + GATE_MS / 1000)
    assert taken is not None, f"traffic was not back {GATE_MS} ms after the deadline"
    report(name, "traffic back, counted from the deadline,", taken - 50)


def gone_at_grace(rig, name):
    """The holder is dead and its table gone, though nobody could do anything about it in user space."""
    late_ms = GRACE_MS + GATE_MS
    while boot_ns() < rig.deadline + late_ms * 1_000_000:
        if rig.holder_pid() is None and not rig.tables():
            report(name, "holder and table gone, counted from the deadline,", (boot_ns() - rig.deadline) / 1e6)
            return
        time.sleep(0.01)
    raise AssertionError(f"left {late_ms} ms after the deadline: {rig.tables()}, holder {rig.holder_pid()}")


def assert_clean(rig):
    """Nothing of ours is in the kernel, nor is a holder, one pass of the sweep removes the records, and traffic flows."""
    assert rig.tables() == []
    assert rig.traffic_control() == rig.before, "queues or filters are not as they were"
    if rig.has_executor():
        wait_until(lambda: not rig.records(), 5, "the record's removal by those who are there")
    assert rig.holder_pid() is None
    swept = rig.host.run(["grivet-sweep"], check=False)
    assert swept.returncode == 0, f"the sweep leaves something: {swept.stderr}"
    assert rig.records() == []
    assert rig.wait_back(boot_ns(), 1) is not None, "traffic does not flow in the end"


def assert_told(rig):
    """Whoever ended it, the executor tells it once, signed, if there is one left to tell."""
    if rig.has_executor():
        body = rig.told()
        print("told:", {key: body[key] for key in ("ended_by", "revert_error_ms", "reason") if key in body})


def nothing_fails(rig):
    rig.watch_cut(rig.start(SHORT_MS))
    back_at_deadline(rig, "nothing fails")
    body = rig.told()
    assert body["ended_by"] == "deadline" and -1 < body["revert_error_ms"] < GATE_MS
    wait_until(lambda: not rig.records(), 2, "the record's removal")
    assert rig.tables() == []


def halt(rig):
    rig.watch_cut(rig.start(LONG_MS))
    at = rig.halt()
    back_at_once(rig, "halt", at)
    body = rig.told()
    assert body["ended_by"] == "halt" and 0 <= body["revert_error_ms"] < GATE_MS
    wait_until(lambda: not rig.records(), 2, "the record's removal")


def kill(*names, stopped=()):
    def scenario(rig):
        name = "kill -9 " + ", ".join(names) + "".join(f", {one} stopped" for one in stopped)
        rig.watch_cut(rig.start(LONG_MS))
        rig.signal(*stopped, number=signal.SIGSTOP)
        at = rig.signal(*names)
        back_at_once(rig, name, at)
        wait_until(lambda: rig.holder_pid() is None and not rig.tables(), 1, "the end of holder and table")
    return scenario


def sweep_killed(rig):
    """It is not missed while the others live."""
    armed = rig.start(SHORT_MS)
    rig.signal("sweep")
    rig.watch_cut(armed)
    back_at_deadline(rig, "sweep killed")
    assert rig.told()["ended_by"] == "deadline"


def stop(*names, killed=()):
    def scenario(rig):
        name = "SIGSTOP " + ", ".join(names) + "".join(f", kill -9 {one}" for one in killed)
        armed = rig.start(SHORT_MS)
        rig.signal(*names, number=signal.SIGSTOP)
        if killed:
            rig.signal(*killed)
        rig.watch_cut(armed)
        back_at_deadline(rig, name)
        rig.assert_cut(armed + 5_000_000, rig.deadline - 50_000_000)
        gone_at_grace(rig, name)
    return scenario


def unsigned(rig):
    """No fault without the people's signatures."""
    rig.send_order(SHORT_MS, people=[])
    seen = wait_until(lambda: [event["kind"] for event in rig.courier.events() if event.get("order") == rig.order], 5,
                      "what becomes of an unsigned order")
    assert seen == ["order.refused"], f"an order whose mandate nobody signed: {seen}"


# name: (scenario, does the sweep run?)
MATRIX = {
    "nothing fails": (nothing_fails, True),
    "halt": (halt, True),
    "holder killed": (kill("holder"), True),
    "executor killed": (kill("executor"), True),
    "executor killed, no sweep": (kill("executor"), False),
    "sweep killed": (sweep_killed, True),
    "holder and sweep killed": (kill("holder", "sweep"), True),
    "executor and holder killed": (kill("executor", "holder"), True),
    "executor and holder killed, no sweep": (kill("executor", "holder"), False),
    "executor and sweep killed": (kill("executor", "sweep"), True),
    "executor, holder and sweep killed": (kill("executor", "holder", "sweep"), True),
    "holder killed, executor stopped": (kill("holder", stopped=("executor",)), True),
    "holder stopped": (stop("holder"), True),
    "holder stopped, no sweep": (stop("holder"), False),
    "holder stopped, executor killed": (kill("executor", stopped=("holder",)), True),
    "holder stopped, executor killed, no sweep": (kill("executor", stopped=("holder",)), False),
    "executor stopped": (stop("executor"), True),
    "executor and holder stopped": (stop("executor", "holder"), True),
    "executor and holder stopped, no sweep": (stop("executor", "holder"), False),
    "executor and holder stopped, sweep killed": (stop("executor", "holder", killed=("sweep",)), True),
}
