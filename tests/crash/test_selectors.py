"""Faults for one service through executor and holder, with the rights that these really have: an ask without any, a holder
with its fault's."""

import base64
import json
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from agent_rig import Agent  # noqa: E402
from executor_client import ANSWER, ASK, when  # noqa: E402
from lab.host import PYTHON, wait_until  # noqa: E402
from rig import boot_ns  # noqa: E402

POLICY = """  process: {is_allowed: true, signatures: 2, longest_duration_s: 60, concurrency: 1, cool_down_s: 0}
"""
# Listens, and tries to reach somebody all the time.
SERVICE = """
import socket, time
listener = socket.create_server(("0.0.0.0", 7000))
while True:
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(("10.1.0.1", 80))
        time.sleep(0.02)
"""
# Needs somebody to come before it ends when it is asked to.
SLOW = """
import signal, socket, sys
listener = socket.create_server(("0.0.0.0", 7001))
signal.signal(signal.SIGTERM, lambda *_: (listener.accept(), sys.exit()))
while True:
    listener.accept()
"""


@pytest.fixture
def agent(host):
    made = Agent(host, policy=POLICY).start()
    host.service("web", [PYTHON, "-c", SERVICE], user="grivet-prober")
    host.wait_listening(7000)
    return made


def run(agent, fault, parameters):
    """Asks, then orders; returns (the answer's step, the order's id)."""
    mandate = agent.papers.mandate(step={"fault": fault, "parameters": parameters, "duration_ms": 20000}, not_after=when(600))
    agent.courier.send(ASK, data=agent.papers.ask_bundle(mandate, [agent.papers.alice, agent.papers.bob], "start"))
    answer = json.loads(base64.b64decode(json.loads(agent.courier.expect(ANSWER))["payload"]))["steps"][0]
    return answer, agent.order(mandate, length_s=20)["id"]


def test_block_of_one_service(agent):
    answer, order = run(agent, "zone.block", {"zone": "z1", "cgroup": "web.service"})
    assert answer["is_accepted"], answer
    assert answer["summary"][0].endswith(", only of the cgroup /system.slice/web.service")
    effect = agent.courier.wait_event("fault.exercised", order=order)["body"]["effect"]
    assert effect["cgroup"] == "/system.slice/web.service"
    agent.host.wait_for(lambda: "10.1.0.1 . 80" in agent.host.run(["nft", "list", "ruleset"]).stdout, what="a packet that is dropped")
    agent.host.run(["touch", "/run/grivet/halt"])
    effect = agent.courier.wait_event("fault.reverted", order=order)["body"]["effect"]
    assert effect["directions"]["out"] == "exercised"
    assert effect["waiting"] == ["10.1.0.1:80"] and not effect["cgroup_is_gone"]


def test_block_of_containers(agent):
    """Refused where nothing is forwarded; else an own packet shows it, with the rights of a holder."""
    parameters = {"cidrs": ["10.1.0.0/24"], "scope": "containers", "direction": "out"}
    answer, order = run(agent, "network.block", parameters)
    assert not answer["is_accepted"] and "this host forwards no packets" in answer["reason"]
    assert "this host forwards no packets" in agent.courier.wait_event("fault.failed", order=order)["body"]["reason"]
    agent.host.sh("echo 1 >/proc/sys/net/ipv4/ip_forward")
    answer, order = run(agent, "network.block", parameters)
    assert answer["is_accepted"] and answer["summary"][0].endswith(", only of what the host forwards")
    effect = agent.courier.wait_event("fault.exercised", order=order)["body"]["effect"]
    assert effect["forwarded"] == effect["directions"]["out"] == "exercised" and effect["waiting"] == []


def test_a_service_that_sends_nothing_leaves_it_armed(agent):
    """Nobody else's packets count, and that is no failure."""
    agent.host.service("quiet", ["sleep", "60"])
    answer, order = run(agent, "zone.block", {"zone": "z1", "cgroup": "quiet.service"})
    assert answer["is_accepted"]
    agent.courier.wait_event("fault.armed", order=order)
    agent.host.run(["touch", "/run/grivet/halt"])
    reverted = agent.courier.wait_event("fault.reverted", order=order)["body"]
    assert reverted["effect"]["directions"] == {"in": "armed", "out": "armed"} and not reverted["is_interfered"]
    kinds = [event["kind"] for event in agent.courier.events() if event.get("order") == order]
    assert kinds == ["order.accepted", "fault.armed", "fault.reverted"]


def test_a_service_that_is_not_there_is_refused(agent):
    answer, order = run(agent, "zone.block", {"zone": "z1", "cgroup": "absent.service"})
    assert not answer["is_accepted"] and "is the service running?" in answer["reason"]
    assert "is the service running?" in agent.courier.wait_event("fault.failed", order=order)["body"]["reason"]


SELECTORS = [{"listens_on": 7000}, {"unit": "web.service"}, {"user": "grivet-prober", "pick": "percent", "percent": 1}]


@pytest.mark.parametrize("hidepid", ["off", "invisible"])
@pytest.mark.parametrize("parameters", SELECTORS)
def test_kill_of_one_service(agent, parameters, hidepid):
    """Also where /proc shows only to root's group and to tracers whose processes there are, as the unit's does."""
    agent.host.sh(f"mount -o remount,hidepid={hidepid} /proc")
    before = agent.host.pid("web")
    answer, order = run(agent, "process.kill", parameters)
    assert answer["is_accepted"], answer
    effect = agent.courier.wait_event("fault.exercised", order=order)["body"]["effect"]
    assert len(effect["processes"]) == 1 and effect["processes"][0]["is_gone"]
    wait_until(lambda: agent.host.pid("web") not in (before, None), 5, "the service's next life")


def test_a_service_may_take_its_time_to_end(agent):
    """As long as was signed: systemd's own patience with a service is 90 s."""
    agent.host.service("slow", [PYTHON, "-c", SLOW], restart=False)
    agent.host.wait_listening(7001)
    answer, order = run(agent, "process.kill", {"unit": "slow.service", "signal": "TERM"})
    assert answer["is_accepted"], answer
    patience_ns = boot_ns() + 3500 * 10**6  # longer than any effect is waited for that can be undone
    agent.courier.wait_event("fault.armed", order=order)
    wait_until(lambda: boot_ns() > patience_ns or any(
        event["kind"] in ("fault.failed", "fault.exercised") for event in agent.courier.events()), 10, "what must not be")
    assert [event["kind"] for event in agent.courier.events() if event.get("order") == order] == ["order.accepted", "fault.armed"]
    agent.host.run(["bash", "-c", ": </dev/tcp/127.0.0.1/7001"])
    effect = agent.courier.wait_event("fault.exercised", order=order)["body"]["effect"]
    assert effect["processes"][0]["is_gone"]
