"""Clocks that jump: an order is taken once, inside its window by every clock, and its fault has an end that no clock moves.

REALTIME is set for one process at a time, while it runs: in its environment, where test builds look for it. What a real clock
that is set in mid fault does to the kernel's timers is in tests/system/test_clocks.py.
"""

import contextlib
import json
import os
import signal

import pytest

from agent_rig import Agent
from executor_client import HALT, ORDER, Channel
from executor_rig import ExecutorRig
from lab.host import wait_until
from rig import GATE_MS, GRACE_MS, boot_ns
from scenarios import assert_clean
from test_disk import slow
from test_rollback_faults import FAULTS, left, wait_gone

YEAR_S = 365 * 86400
OFFSET = "GRIVET_TEST_CLOCK_OFFSET_USEC"


def offset(seconds):
    return f"{seconds * 1000000:+020d}"  # always as long: it is written over the one before


def set_clock(pid, seconds):
    """CLOCK_REALTIME of a process is so far from ours from now on."""
    with open(f"/proc/{pid}/stat") as stat:
        start, end = map(int, stat.read().rsplit(")", 1)[1].split()[47:49])
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(start)
        place = memory.read(end - start).index(f"{OFFSET}=".encode()) + len(OFFSET) + 1
        memory.seek(start + place)
        memory.write(offset(seconds).encode())


def start(agent, seconds=0, argv=("grivetd",)):
    """A life of the executor whose clock starts so far off."""
    agent.host.service("grivetd", list(argv), is_notify=True, environment={OFFSET: offset(seconds)})
    agent.courier = Channel(agent.host)
    return executor_pid(agent)


def executor_pid(agent):
    return next(process["pid"] for process in agent.host.processes() if process["name"] == "grivetd")


@pytest.fixture
def agent(host):
    return Agent(host)


def refusal(agent, data):
    """Sends an order that may not be taken; returns why it was not."""
    last = agent.courier.events()[-1]["sequence"]
    agent.courier.send(ORDER, data=data)
    agent.host.wait_for(lambda: agent.courier.events(last), what="what becomes of the order")
    event = agent.courier.events(last)[0]
    assert event["kind"] == "order.refused", event
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")
    return event["body"]["reason"]


def test_an_order_is_taken_once_whatever_the_clock_says(agent):
    mandate = agent.papers.mandate(max_runs=5, step={"duration_ms": 60000})
    payload = agent.papers.order_payload(mandate, length_s=60)
    data = agent.papers.order_bundle(mandate, payload)
    run = json.loads(payload)["run"]
    other = agent.papers.order_bundle(mandate, agent.papers.order_payload(mandate, length_s=60, run=run))
    agent.host.write("/etc/grivet/roots.json", agent.papers.roots(2 * YEAR_S))
    pid = start(agent)
    agent.courier.send(ORDER, data=data)
    agent.courier.wait_event("fault.armed", order=json.loads(payload)["id"])
    agent.host.run(["grivet", "halt"])
    for count, (seconds, words) in enumerate(((0, "replayed"), (YEAR_S, "expired"), (-YEAR_S, "not_before"))):
        set_clock(pid, seconds)
        assert words in refusal(agent, other)
        before = agent.courier.events()
        agent.courier.send(ORDER, data=data)  # word for word: nothing is done, and nothing has to be told
        agent.host.wait_for(lambda: agent.host.log("grivetd").count("came again") > count, what="its word")
        assert agent.courier.events() == before and not agent.holder() and not agent.records()
    agent.host.stop("grivetd")
    # A year ahead, this life forgets what is over.
    pid = start(agent, YEAR_S)
    assert run not in agent.host.read("/var/lib/grivet/replay")
    set_clock(pid, 0)
    assert "quarantine" in refusal(agent, data)
    agent.host.stop("grivetd")
    start(agent)
    assert "quarantine" in refusal(agent, data)


def test_a_window_that_is_over_does_not_open_again(agent):
    pid = start(agent)
    mandate = agent.papers.mandate(step={"duration_ms": 50000})
    late = agent.papers.order_bundle(mandate, agent.papers.order_payload(mandate, started_s=-30, window_s=20, length_s=50))
    assert "start_before: expired" in refusal(agent, late)
    set_clock(pid, -25)
    assert "which was set back by" in refusal(agent, late)
    set_clock(pid, 0)
    agent.courier.wait_event("fault.armed", order=agent.order(mandate, length_s=50)["id"])


def test_a_halt_from_the_future_keeps_no_later_order_away(agent):
    pid = start(agent)
    agent.courier.send(HALT, data=agent.papers.halt_bundle(expires_s=YEAR_S))
    agent.courier.wait_event("halt.received")
    mandate = agent.papers.mandate(step={"duration_ms": 50000})
    assert "halt" in refusal(agent, agent.papers.order_bundle(mandate, agent.papers.order_payload(mandate, length_s=50)))
    set_clock(pid, 90)
    agent.courier.wait_event("fault.armed", order=agent.order(mandate, started_s=90, length_s=50)["id"])


def test_a_clock_that_is_set_back_before_the_start_makes_nothing_longer(agent):
    """The order waits for the disk while the clock is set."""
    pid = start(agent, argv=slow("fdatasync") + ["grivetd"])
    before = boot_ns()
    order = agent.order(agent.papers.mandate(step={"duration_ms": 5000}), length_s=5)
    agent.courier.events()  # it was read
    set_clock(pid, -4)
    agent.host.wait_for(agent.records, what="the record")
    record = agent.host.read(f"/run/grivet/active/{order['id']}").splitlines()
    deadline = int(dict(line.partition(" ")[::2] for line in record)["deadline_boot_nsec"])
    assert deadline < before + 5.1e9
    agent.courier.wait_event("fault.reverted", order=order["id"])
    assert boot_ns() < deadline + GATE_MS * 1_000_000 + 3e9  # the word of it waits for the disk too


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # the kernel's timers ended it
            os.kill(pid, number)


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_runs_until_all_is_late(lab, fault):
    """As after a suspend, or in a virtual machine that was stopped: all of them wake up at once, when the deadline is long past."""
    rig = ExecutorRig(lab)
    rig.use(fault, FAULTS[fault])
    rig.start(1500)
    everybody = [process["pid"] for process in rig.host.processes() if process["name"].startswith(("grivet", "burn-"))]
    signal_all(everybody, signal.SIGSTOP)
    wait_until(lambda: boot_ns() > rig.deadline + (GRACE_MS + 500) * 1_000_000, 10, "deadline and grace to pass")
    at = boot_ns()
    signal_all(everybody, signal.SIGCONT)
    wait_gone(rig, fault, at)
    assert not left(rig)
    assert_clean(rig)
    rig.told()
