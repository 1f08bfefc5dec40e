"""lost_contact_after_s counts all coordinators: one of two is enough, whichever; with none, every fault ends early."""

import json

from agent_rig import Agent
from executor_client import Channel
from lab.host import wait_until
from netns.coordinator_stand_in import Coordinator, make_certificates
from rig import boot_ns

LOST_S = 4
PORTS = 8443, 8444
STATE = "/var/lib/grivet-courier"


def vanish(coordinator):
    """For whoever is connected as well."""
    def fall_silent(*_):
        raise ConnectionError
    coordinator.answer = fall_silent
    coordinator.close()


def in_contact_with(host):
    return json.loads(host.run(["grivet", "status", "--local", "-o", "json"]).stdout)["coordinator"]


def test_contact_with_one_of_two_is_enough(host, tmp_path):
    host.ip("link set lo up")
    make_certificates(tmp_path)
    for name, source in (("ca.crt", "ca.crt"), ("tls.crt", "agent.crt"), ("tls.key", "agent.key")):
        host.write(f"{STATE}/{name}", (tmp_path / source).read_text(), 0o600, "grivet-courier")
    first, second = (Coordinator(host, tmp_path, port) for port in PORTS)
    for one in (first, second):
        one.replies["/v1/agent/events"] = lambda _: (200, {})
    agent = Agent(host, lost=LOST_S)
    policy = host.read("/etc/grivet/agent.yaml")
    urls = json.dumps([f"https://127.0.0.1:{port}" for port in PORTS])
    host.write("/etc/grivet/agent.yaml", policy.replace('["https://10.0.0.2:8443"]', urls))
    agent.start()
    order = agent.order(agent.papers.mandate(step={"duration_ms": 50000}), length_s=50)
    agent.courier.wait_event("fault.armed", order=order["id"])
    agent.courier.socket.close()
    host.service("courier", ["grivet-courier"], user="grivet-courier", restart_ms=100)
    wait_until(lambda: in_contact_with(host) == f"127.0.0.1:{PORTS[0]}", 5, "contact with the first")
    vanish(first)
    at = boot_ns()
    wait_until(lambda: boot_ns() > at + (LOST_S + 2) * 1e9, LOST_S + 3, "a life with the second alone")
    assert in_contact_with(host) == f"127.0.0.1:{PORTS[1]}" and agent.holder()
    vanish(second)
    wait_until(lambda: not agent.holder(), LOST_S + 5, "the end without any")
    host.stop("courier")
    agent.courier = Channel(host)
    assert agent.courier.wait_event("fault.reverted", order=order["id"])["body"]["ended_by"] == "executor"
    (lost,) = [event for event in agent.courier.events() if event["kind"] == "contact.lost"]
    assert lost["body"]["since"]
