"""A lab host with the executor on it, and the test as its courier."""

import json
import os

import pytest

from executor_client import ORDER, Channel, Papers


class Agent:
    def __init__(self, host, **options):
        self.host, self.papers = host, Papers()
        self.papers.install(host, **options)
        # Somewhere to send packets to, so that a fault can be exercised.
        host.ip("link add v0 type veth peer name v1", "link set lo up", "link set v0 up", "link set v1 up",
                "addr add 10.1.0.11/24 dev v0", "route add default via 10.1.0.1 dev v0")

    def start(self):
        self.host.service("grivetd", ["grivetd"], is_notify=True)
        self.courier = Channel(self.host)
        return self

    def restart(self):
        self.host.wait_for(lambda: self.host.status("grivetd")["starts"] > 1 and
                           self.host.status("grivetd")["state"] == "active", what="the executor's next life")
        self.courier = Channel(self.host)

    def order(self, mandate=None, people=None, keys=None, **changes):
        """Sends an order; returns its payload as a dictionary."""
        mandate = mandate or self.papers.mandate()
        order = self.papers.order_payload(mandate, **changes)
        self.courier.send(ORDER, data=self.papers.order_bundle(mandate, order, people, keys))
        return json.loads(order)

    def holder(self):
        return next((process for process in self.host.processes() if process["name"] == "grivet-holder"), None)

    def records(self):
        return os.listdir(self.host.path("/run/grivet/active"))


@pytest.fixture
def agent(host):
    return Agent(host).start()
