"""The executor's files: what it does not trust, and what it does without them."""

import base64
import json
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from agent_rig import Agent, agent  # noqa: E402, F401
from executor_client import ANSWER, ASK, Channel  # noqa: E402
from executor_rig import ExecutorRig  # noqa: E402
from lab.host import LabError  # noqa: E402


def test_files_that_are_not_trusted(host):
    agent = Agent(host)

    def refused(words):
        with pytest.raises(LabError):
            host.service("grivetd", ["grivetd"], is_notify=True, restart=False, timeout=5)
        assert words in host.log("grivetd")
        host.stop("grivetd")
    host.path("/etc/grivet/agent.yaml").chmod(0o666)
    refused("/etc/grivet/agent.yaml")
    host.path("/etc/grivet/agent.yaml").chmod(0o644)
    host.write("/etc/grivet/agent.yaml", host.read("/etc/grivet/agent.yaml") + "colour: red\n")
    refused("agent.yaml:9:1: colour")
    agent.papers.install(host)
    host.path("/etc/grivet/roots.json").chmod(0o646)
    refused("/etc/grivet/roots.json")


def test_lost_memory_is_quarantine(host):
    agent = Agent(host)
    host.path("/var/lib/grivet/replay").unlink()
    agent.start()
    first = agent.order()
    assert "in quarantine until" in agent.courier.wait_event("order.refused", order=first["id"])["body"]["reason"]
    host.kill("grivetd")
    agent.restart()  # a restart is no way out
    second = agent.order()
    assert "in quarantine until" in agent.courier.wait_event("order.refused", order=second["id"])["body"]["reason"]


def test_damaged_journal(agent):
    host, path = agent.host, agent.host.path("/var/lib/grivet/events/00000000000000000001")
    agent.courier.wait_event("agent.started")
    host.stop("grivetd")
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"schema":"grivet.ev')
    host.start("grivetd")
    agent.courier = Channel(host)
    assert agent.courier.wait_event("agent.started", sequence=2, journal_cut_bytes=len(b'{"schema":"grivet.ev'))
    assert "cut off" in host.log("grivetd")
    host.stop("grivetd")
    path.write_bytes(path.read_bytes().replace(b'"is_unclean":false', b'"is_unclean":true ', 1))
    host.start("grivetd")
    agent.courier = Channel(host)
    assert "damaged: the chain is broken" in host.log("grivetd")
    agent.courier.send(ASK, data=agent.papers.ask_bundle(agent.papers.mandate()))
    envelope = json.loads(agent.courier.expect(ANSWER))
    assert "damaged" in json.loads(base64.b64decode(envelope["payload"]))["steps"][0]["reason"]
    agent.order()
    host.wait_for(lambda: "order refused: host: event journal" in host.log("grivetd"), what="the refusal in the log")
    agent.host.wait_for(lambda: not agent.holder(), 5, "no holder")


def test_a_record_can_not_point_at_a_stranger(host):
    """Holders may write records: one that has been taken over does not turn the executor against others."""
    agent = Agent(host)
    host.service("database", ["sleep", "1000"], restart=False)
    pid = host.pid("database")
    ticks = host.sh(f"cut -d' ' -f22 /proc/{pid}/stat").stdout.strip()
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    order = "01900000-0000-7000-8000-00000000abcd"
    host.write(f"/run/grivet/active/{order}", f"order {order}\nboot {boot}\nfault zone.block\nholder_pid {pid}\n"
               f"holder_start_ticks {ticks}\ndeadline_boot_nsec {10**18}\ndeadline_real_usec {10**18}\n"
               f"undo nft-table inet users-own\n")
    host.run(["nft", "add", "table", "inet", "users-own"])
    agent.start()
    host.wait_for(lambda: "users-own" in host.log("grivetd"), what="the executor's words about the record")
    assert host.status("database")["state"] == "active" and host.pid("database") == pid
    assert "users-own" in host.run(["nft", "list", "tables"]).stdout


@pytest.mark.parametrize("later_s, late_ms", [(0, 0), (10 * 365 * 86400, None)])
def test_host_restarted_in_mid_fault(host, later_s, late_ms):
    """A power cut as the next life sees it: another boot, and nothing in /run; up again before the deadline, or long after it."""
    agent = Agent(host)
    host.service("grivetd", ["grivetd"], is_notify=True, restart=False)
    agent.courier = Channel(host)
    order = agent.order(agent.papers.mandate(step={"duration_ms": 50000}), length_s=50)
    agent.courier.wait_event("fault.armed", order=order["id"])
    host.kill("grivetd")
    host.wait_for(lambda: not agent.holder(), what="the holder's end")
    host.sh("rm -r /run/grivet/*")
    host.service("grivetd", ["grivetd"], is_notify=True, environment={
        "GRIVET_TEST_BOOT_ID": "0190abcd-0000-4000-8000-000000000001", "GRIVET_TEST_CLOCK_OFFSET_USEC": f"{later_s * 10**6}"})
    agent.courier = Channel(host)
    agent.courier.wait_event("fault.interrupted", order=order["id"], reason="the host was restarted during the fault")
    body = agent.courier.wait_event("fault.reverted", order=order["id"])["body"]
    assert (body["ended_by"], body["revert_error_ms"]) == ("restart", late_ms)


def signal_executor(agent, number):
    os.kill(next(process["pid"] for process in agent.host.processes() if process["name"] == "grivetd"), number)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL])
def test_halt_by_root_without_an_executor_that_answers(host, number):
    """Hung: by the file that holders watch for. Dead: its holder went with it."""
    agent = Agent(host)
    host.service("sweep", ["grivet-sweep", "--watch"])
    host.service("grivetd", ["grivetd"], is_notify=True, restart=False, stop_post=["grivet-sweep"])
    agent.courier = Channel(host)
    order = agent.order(agent.papers.mandate(step={"duration_ms": 50000}), length_s=50)
    agent.courier.wait_event("fault.armed", order=order["id"])
    signal_executor(agent, number)
    if number == signal.SIGKILL:
        host.wait_for(lambda: not agent.records(), what="the sweep's pass")
    said = host.run(["grivet", "halt", "-o", "json"], check=False)
    if number == signal.SIGKILL:  # there is nothing to end, and no order is to be kept out
        assert said.returncode == 1 and "agent.sock" in said.stderr and not host.path("/run/grivet/halt").exists()
    else:
        assert said.returncode == 0 and json.loads(said.stdout) == {"ended": 1}, said
        assert "made /run/grivet/halt, which ends every fault" in said.stderr and host.path("/run/grivet/halt").exists()
        assert host.run(["grivet", "halt", "-o", "json"]).stdout == '{\n  "ended": 0\n}\n'
    host.wait_for(lambda: not agent.holder() and "grivet" not in host.sh("nft list tables").stdout, 5, "the fault's end")


def test_halt_by_root_says_what_does_not_end(host):
    agent = Agent(host).start()
    order = agent.order(agent.papers.mandate(step={"duration_ms": 50000}), length_s=50)
    agent.courier.wait_event("fault.armed", order=order["id"])
    signal_executor(agent, signal.SIGSTOP)
    os.kill(agent.holder()["pid"], signal.SIGSTOP)
    said = host.run(["grivet", "halt"], check=False)
    assert said.returncode == 1 and "1 of 1 faults have left traces: `grivet-sweep` kills and undoes them" in said.stderr
    assert said.stdout == ""
    host.run(["grivet-sweep"])
    assert "grivet" not in host.sh("nft list tables").stdout


def test_folders_that_are_taken_away_come_back(lab):
    """Without its folders no fault has a record: the executor ends with what it holds, and its next life makes them anew."""
    rig = ExecutorRig(lab)
    rig.start(30000)
    rig.host.sh("rm -rf /run/grivet/*")
    rig.host.wait_for(lambda: "grivet" not in rig.host.run(["nft", "list", "tables"]).stdout, 5, "the fault's end")
    rig.host.wait_for(lambda: rig.host.status("grivetd")["starts"] > 1, 10, "the executor's next life")
    rig.host.wait_active("grivetd")
    rig.courier = Channel(rig.host)
    rig.told()
    rig.start(30000)
    rig.halt()
    rig.told()


def test_lost_syncer(agent):
    """The fault that is under way ends as ever, then the executor makes way for one that can wait for the disk."""
    order = agent.order()
    agent.courier.wait_event("fault.exercised", order=order["id"])
    syncer = next(process["pid"] for process in agent.host.processes() if process["name"].startswith("grivetd-sync"))
    os.kill(syncer, signal.SIGKILL)
    agent.host.wait_for(lambda: "no orders are taken: the process that waits" in agent.host.log("grivetd"), what="the word")
    refused = agent.order()
    assert agent.holder() and agent.host.status("grivetd")["starts"] == 1
    agent.restart()
    assert "; starting anew" in agent.host.log("grivetd")
    reverted = agent.courier.wait_event("fault.reverted", order=order["id"])
    assert reverted["body"]["ended_by"] == "deadline"
    agent.courier.wait_event("order.refused", order=refused["id"])
    assert "fault.interrupted" not in [event["kind"] for event in agent.courier.events()]
    agent.courier.wait_event("fault.reverted", order=agent.order()["id"])
