"""The holder that waits for a job: it speeds orders up, and whoever kills it or its executor changes nothing else."""

import json
import os
import pathlib
import signal

from agent_rig import agent  # noqa: F401
from executor_client import ORDER, STATUS, STATUS_IS, Channel
from lab.host import wait_until
from tracer import SEIZE, WALL, ptrace

LONG = {"duration_ms": 20000}
PTRACE_DETACH, PTRACE_O_TRACEEXIT = 17, 0x40


def reserve(agent):
    return next((process for process in agent.host.processes() if process["name"] == "grivet-reserve"), None)


def wait_reserve(agent, not_pid=None):
    """It is there, and its memory is locked: that is the last before it waits."""
    found = wait_until(lambda: (one := reserve(agent)) and one["pid"] != not_pid and one, 5, "a holder in reserve")
    wait_until(lambda: int(status(found["pid"])["VmLck"].split()[0]) > 1000, 5, "its memory to be locked")
    return found["pid"]


def wait_state(pid, state):
    wait_until(lambda: pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] == state, 5, f"state {state}")


def status(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def long_fault(agent):
    order = agent.order(agent.papers.mandate(step=LONG), length_s=20)
    agent.courier.wait_event("fault.armed", order=order["id"])
    return order


def test_is_used_and_replaced(agent):
    pid = wait_reserve(agent)
    long_fault(agent)
    assert agent.holder()["pid"] == pid
    assert wait_reserve(agent) != pid


def test_is_bounded_and_no_fault(agent):
    """It has no more than its executor, nothing open but the channel, and nobody takes it for a fault or a leftover."""
    pid = wait_reserve(agent)
    found, executor = status(pid), status(agent.host.outside_pid("grivetd"))
    for which in ("CapPrm", "CapEff", "CapBnd"):
        assert not int(found[which], 16) & ~int(executor[which], 16)
    assert int(found["CapBnd"], 16) != int(executor["CapBnd"], 16) and found["Seccomp"] == executor["Seccomp"]
    opened = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
    assert set(opened) == {"0", "1", "2", "3"} and opened["3"].startswith("socket:")
    assert not agent.records()
    swept = agent.host.run(["grivet-sweep"], check=False)
    assert (swept.returncode, swept.stderr) == (0, "") and reserve(agent)["pid"] == pid
    root = Channel(agent.host, "root")
    root.send(STATUS, {})
    assert json.loads(root.expect(STATUS_IS))["faults"] == []


def test_killed_while_it_waits(agent):
    pid = wait_reserve(agent)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 5, "the executor to reap it")
    long_fault(agent)
    assert agent.holder()["pid"] != pid
    wait_reserve(agent, pid)


def test_killed_with_a_job(agent):
    """Between its job and the fault: nothing was made, and the order fails in so many words."""
    pid = wait_reserve(agent)
    os.kill(pid, signal.SIGSTOP)
    wait_state(pid, "T")
    order = agent.order(agent.papers.mandate(step=LONG), length_s=20)
    wait_until(agent.records, 5, "the order's start")
    assert reserve(agent)["pid"] == pid
    os.kill(pid, signal.SIGKILL)
    failed = agent.courier.wait_event("fault.failed", order=order["id"])
    assert failed["body"]["is_reverted"] and failed["body"]["reason"] == "its holder was killed by signal 9"
    wait_until(lambda: not agent.records(), 5, "the record's removal")
    assert "grivet" not in agent.host.run(["nft", "list", "tables"]).stdout
    long_fault(agent)


def test_dies_with_its_executor(agent):
    """Even one that is stopped; the next life, perhaps of a newer program, starts its own."""
    pid = wait_reserve(agent)
    os.kill(pid, signal.SIGSTOP)
    wait_state(pid, "T")
    agent.host.kill("grivetd")
    wait_until(lambda: not (one := reserve(agent)) or one["pid"] != pid, 5, "its end")
    agent.restart()
    agent.courier = Channel(agent.host)
    assert wait_reserve(agent) != pid
    long_fault(agent)


def test_one_that_can_not_die_keeps_nobody_waiting(agent):
    """Its record can't be written, so it is killed; somebody holds it in the kernel. The executor goes on, and reaps it later."""
    pid = wait_reserve(agent)
    ptrace(SEIZE, pid, 0, PTRACE_O_TRACEEXIT)
    mandate = agent.papers.mandate(step=LONG)
    payload = agent.papers.order_payload(mandate, length_s=20)
    order = json.loads(payload)["id"]
    agent.host.sh(f"mkdir -p /run/grivet/active/{order}/in-the-way")
    agent.courier.send(ORDER, data=agent.papers.order_bundle(mandate, payload))
    agent.courier.wait_event("fault.failed", order=order)
    wait_state(pid, "t")
    os.waitpid(pid, WALL)
    ptrace(PTRACE_DETACH, pid)
    wait_until(lambda: not pathlib.Path(f"/proc/{pid}").exists(), 5, "its end")
