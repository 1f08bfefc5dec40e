"""Courier and prober with the real executor: an observation goes out by one and comes back by both, each event once.

The coordinator is played by the test; it commits and acknowledges as the real one does, and is cut off in between.
"""

import base64
import datetime
import hashlib
import json
import time
import uuid

import pytest

from lab import agent
from lab.host import LAB, PYTHON, wait_until
from lab.keys import Key, envelope
from netns.coordinator_stand_in import Coordinator, make_certificates

PORT = 8080


def hash_of(data):
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def at(seconds):
    moment = datetime.datetime.fromtimestamp(time.time() + seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Chain:
    """The coordinator's store: every event once and in order, or it says where it wants to go on."""

    def __init__(self, host_key, order_key):
        self.host_key, self.order_key = host_key, order_key
        self.events, self.hash, self.is_deaf = [], "0" * 64, False

    def take(self, lines):
        for line in lines:
            event = json.loads(line)
            if event["sequence"] <= len(self.events):
                assert hash_of(line) == hash_of(self.events[event["sequence"] - 1][0]), "another event came before"
            elif event["sequence"] > len(self.events) + 1:
                return 409, {"error": "a gap", "sequence": len(self.events) + 1}
            else:
                assert event["previous"] == self.hash, "the chain is broken"
                self.events.append((line, event))
                self.hash = hash_of(line)
        if self.is_deaf:
            return 503, {"error": "committed, but the answer is lost"}
        payload = {"schema": "grivet.ack/1", "host": "host", "sequence": len(self.events), "hash": self.hash, "at": at(0)}
        return 200, {"ack": envelope("ack", payload, self.order_key)}

    def kinds(self):
        return [event["kind"] for _, event in self.events]

    def samples(self):
        return [sample for _, event in self.events if event["kind"] == "probe.samples"
                for sample in event["body"]["samples"]]


class Station:
    def __init__(self, host, folder):
        self.host, self.order_key = host, Key("coordinator")
        self.people = {"alice": Key("alice"), "bob": Key("bob")}
        make_certificates(folder)
        for name, source in (("ca.crt", "ca.crt"), ("tls.crt", "agent.crt"), ("tls.key", "agent.key")):
            host.write(f"/var/lib/grivet-courier/{name}", (folder / source).read_text(), 0o600, "grivet-courier")
        self.coordinator = Coordinator(host, folder, 8443)
        key = agent.install(host, self.order_key, self.people, services=(),
                            coordinators=["https://127.0.0.1:8443"])
        host.service("grivetd", ["grivetd"], is_notify=True)
        self.chain = Chain(key, self.order_key)
        self.coordinator.raw_events = self.chain.take
        for name in ("grivet-courier", "grivet-prober"):
            agent.unit_service(host, name)
        host.service("server", [PYTHON, f"{LAB}/source/tests/netns/probed_server.py", PORT])
        host.wait_listening(PORT)

    def observe(self, seconds):
        probe = {"name": "shop", "kind": "http", "url": f"http://127.0.0.1:{PORT}/", "interval_ms": 100,
                 "timeout_ms": 300}
        mandate = json.dumps({
            "schema": "grivet.mandate/1", "id": str(uuid7()), "experiment": "look", "environment": "lab",
            "created_at": at(-5), "not_before": at(-5), "not_after": at(600), "max_runs": 1, "require_percent": 100,
            "warmup_ms": 1000, "settle_ms": 60000, "expect": {"hosts": 1, "max_share_of_group_percent": 100},
            "zones": {}, "steps": [{"name": "elsewhere", "fault": "process.kill", "parameters": {}, "duration_ms": 1000,
                                   "hosts": ["another"], "late_joiners": False}], "observers": ["host"], "probes": [probe]}).encode()
        order = {"schema": "grivet.order/1", "id": str(uuid7()), "mandate": hash_of(mandate), "step": "observe",
                 "run": str(uuid7()), "host": "host", "step_started_at": at(-1), "start_before": at(60),
                 "end_at": at(seconds)}
        self.coordinator.mandates[hash_of(mandate)] = envelope("mandate", mandate, *self.people.values())
        self.coordinator.items.put([{"id": str(uuid7()), "kind": "order", "mandate": hash_of(mandate),
                                     "envelope": envelope("order", order, self.order_key)}])

    def wait(self, predicate, what, timeout=10):
        try:
            wait_until(predicate, timeout, what)
        except Exception:
            print(self.chain.kinds(), *(self.host.log(name) for name in ("grivetd", "grivet-courier", "grivet-prober")))
            raise


def uuid7():
    raw = bytearray(int(time.time() * 1000).to_bytes(6, "big") + uuid.uuid4().bytes[6:])
    raw[6] = raw[6] & 0x0F | 0x70
    return uuid.UUID(bytes=bytes(raw))


@pytest.fixture
def station(host, tmp_path):
    made = Station(host, tmp_path)
    yield made
    made.coordinator.close()


def test_an_observation_comes_back_once_whoever_dies(station):
    chain, host = station.chain, station.host
    station.observe(seconds=8)
    station.wait(lambda: len(chain.samples()) >= 5, "samples")
    assert "order.accepted" in chain.kinds()
    host.kill("grivet-courier")
    station.wait(lambda: len(chain.samples()) >= 15, "samples after the courier's death")
    chain.is_deaf = True
    before = len(chain.events)
    station.wait(lambda: len(chain.events) > before, "an event without an answer")
    host.kill("grivet-prober")
    chain.is_deaf = False
    station.wait(lambda: "fault.ended" in chain.kinds(), "the end", timeout=15)
    assert chain.kinds().count("order.accepted") == chain.kinds().count("fault.ended") == 1
    assert "order.refused" not in chain.kinds()
    times = [sample[0] for sample in chain.samples()]
    assert len(set(times)) == len(times) >= 50 and all(sample[2:] == [200, 1] for sample in chain.samples())


def test_heads_cover_what_came(station):
    chain = station.chain
    station.wait(lambda: chain.events, "the first event")

    def head_of(poll):
        return poll["head"] and json.loads(base64.b64decode(poll["head"]["payload"]))
    head = None
    while not head or head["sequence"] == 0:
        head = head_of(station.coordinator.polls.get(timeout=5))
    assert head["host"] == "host" and head["sequence"] <= len(chain.events) + 1
