"""Many orders to one real executor, and when each was armed, exercised and reverted, by the host's own events."""

import contextlib
import datetime
import json
import time

from agent_rig import Agent
from executor_client import ORDER
from lab.host import Host, Lab, wait_until

CLASSES = """classes:
  network: {is_allowed: true, signatures: 1, longest_duration_s: 60, concurrency: 8, cool_down_s: 0}
  cpu: {is_allowed: true, signatures: 1, longest_duration_s: 300, concurrency: 1, cool_down_s: 0}
"""


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, int(len(values) * percent / 100))]


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@contextlib.contextmanager
def agent():
    with Lab() as lab:
        made = Agent(Host("host", lab=lab))
        policy = made.host.read("/etc/grivet/agent.yaml")
        made.host.write("/etc/grivet/agent.yaml", policy.split("classes:")[0] + CLASSES)
        yield Crowd(made.start())


class Crowd:
    def __init__(self, rig):
        self.rig, self.papers, self.channel = rig, rig.papers, rig.courier
        self.seen, self.facts = 0, {}

    def send(self, fault, parameters, length_s):
        """Sends one order; returns its id. What is sent is made before the clock is read."""
        mandate = self.papers.mandate(step={"fault": fault, "parameters": parameters,
                                            "duration_ms": round(length_s * 1000)})
        order = self.papers.order_payload(mandate, length_s=length_s)
        data = self.papers.order_bundle(mandate, order, [self.papers.alice])
        name = json.loads(order)["id"]
        self.facts[name] = {"sent": self.channel.send(ORDER, data=data)}
        return name

    def look(self):
        """Takes the events that are new."""
        for event in self.channel.events(self.seen):
            self.seen = event["sequence"]
            fact = self.facts.get(event.get("order"))
            if fact is None:
                continue
            kind, body = event["kind"], event["body"]
            if kind in ("fault.failed", "order.refused"):
                raise RuntimeError(f"{kind}: {body['reason']}")
            for name in ("armed", "exercised", "reverted"):
                if kind == f"fault.{name}":
                    fact[name] = seconds(body[f"{name}_at"])
            if kind == "fault.reverted":
                fact["error_ms"] = body["revert_error_ms"]

    def wait(self, name, what, timeout=30):
        def is_there():
            self.look()
            return what in self.facts[name]
        wait_until(is_there, timeout, f"order {name} to be {what}", 0.005)

    def many(self, count, side_by_side, length_s):
        """`count` blocks of one network, some at a time; their facts. One by one, each finds the host at rest: the kernel
        still frees the table of the one before when that is told, and keeps whoever opens nftables waiting for it."""
        names, active = [], []
        for number in range(count):
            if len(active) == side_by_side:
                self.wait(active.pop(0), "reverted")
                if not active:
                    wait_until(lambda: not self.rig.records(), 5, "the fault's end", 0.005)
            names.append(self.send("network.block", {"cidrs": [f"10.1.{number % 250}.0/24"]}, length_s))
            active.append(names[-1])
        for name in active:
            self.wait(name, "reverted")
        return [self.facts[name] for name in names]
