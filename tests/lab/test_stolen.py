"""A stolen coordinator: all of its keys and its place in the network, against real agents, cannot leave the mandate.

The thief's coordinator has the true order key, halt key, certificates and every mandate that people ever signed. The
real one comes back at the end and holds what the hosts had to say about it.
"""

import base64
import json
import queue

import pytest

from crash.executor_client import clock, digest, uuid, when
from lab.fleet import FOLDER
from lab.host import Lab, wait_until
from lab.keys import Key, envelope
from lab.small import Small, events, wait_event
from lab.zones import COORDINATOR_PORT
from netns.coordinator_stand_in import Coordinator

KEPT = "/var/lib/grivet-coordinator"


class Thief(Coordinator):
    """Speaks to each host alone: whose poll it is, the head in it says."""

    def __init__(self, fleet):
        folder = fleet.coordinator.path(KEPT)
        self.order_key, self.halt_key = (Key.load((folder / f"{name}.key").read_text()) for name in ("order", "halt"))
        self.queues = {name: queue.Queue() for name in fleet.hosts}
        self.waiting, self.is_gone = set(), False
        super().__init__(fleet.coordinator, folder, COORDINATOR_PORT, "0.0.0.0")
        self.raw_events = lambda lines: (503, {"error": "not now"})  # kept, for the real one

    def leave(self):
        """Kept connections end with the next request on them."""
        self.is_gone = True
        self.close()

    def answer(self, method, path, body):
        if self.is_gone:
            raise ConnectionError
        if path == "/v1/agent/poll" and (head := json.loads(body)["head"]):
            host = json.loads(base64.b64decode(head["payload"]))["host"]
            self.items = self.queues[host]
            self.waiting.add(host)
        return super().answer(method, path, body)

    def send(self, host, kind, payload, keys, mandate=None):
        item = {"id": uuid(), "kind": kind, "envelope": envelope(kind, payload, *keys)}
        if mandate:
            item["mandate"] = digest(base64.b64decode(mandate["payload"]))
            self.mandates[item["mandate"]] = mandate
        self.queues[host].put([item])

    def order(self, to, mandate, keys=None, started_s=0, length_s=2, window_s=60, **changes):
        """Sends a host an order under a signed mandate; returns the order."""
        now = clock()
        made = {"schema": "grivet.order/1", "id": uuid(), "mandate": digest(base64.b64decode(mandate["payload"])),
                "step": "lose-az1", "run": uuid(), "host": to, "step_started_at": when(started_s, now),
                "start_before": when(started_s + window_s, now), "end_at": when(started_s + length_s, now), **changes}
        self.send(to, "order", made, keys or [self.order_key], mandate)
        return made


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Lab(logs=tmp_path_factory.mktemp("stolen") / "logs") as lab:
        made = Small(lab)
        made.add_agent("web-1", 1, 11, group="victim")
        made.add_agent("web-2", 2, 11)
        made.wait_ready()
        made.people = [Key.load(made.operator.read(f"{FOLDER}/{name}.key")) for name in ("alice", "bob")]
        # What people really signed: web-1, 2 s, once. It has been done.
        made.signed = json.loads(made.operator.read(made.plan(group="victim", hosts=1, seconds=2)))
        made.run = made.operator.run(["/run/lab/bin/grivet", "run", f"{FOLDER}/mandate.json", "--detach"]).stdout.strip()
        assert made.report(made.run)["verdict"] == "met"
        made.coordinator.stop("grivet-coordinator")
        made.thief = Thief(made)
        wait_until(lambda: made.thief.waiting == set(made.hosts), 20, "every courier at the thief's door", 0.05)
        yield made
        made.thief.leave()


def signed(fleet, **changes):
    """Another mandate that people signed: for web-1 only, unless `changes` says otherwise."""
    mandate = json.loads(base64.b64decode(fleet.signed["payload"]))
    step = {**mandate["steps"][0], **changes.pop("step", {})}
    made = {**mandate, "id": uuid(), "not_before": when(-300), "not_after": when(300), "steps": [step], **changes}
    return envelope("mandate", made, *fleet.people)


def refusal(fleet, host, words, before):
    """The next refusal in the host's chain."""
    def find():
        return [event for event in events(fleet.hosts[host], kind="order.refused") if event["sequence"] > before]
    event = wait_until(find, 10, f"a refusal of {host}", 0.02)[0]
    assert words in event["body"]["reason"], event["body"]


ATTACKS = {
    "another host": ("web-2", "host: is not among the hosts that were signed", lambda fleet, thief: thief.order("web-2", signed(fleet))),
    "another host's order": ("web-2", "another host", lambda fleet, thief: thief.order("web-2", signed(fleet), host="web-1")),
    "other parameters": ("web-1", "mandate: signed by 0 of 1", lambda fleet, thief: thief.order("web-1", {
        **signed(fleet, step={"parameters": {"zone": "apse2-az2"}}), "signatures": signed(fleet)["signatures"]})),
    "a mandate of its own": ("web-1", "mandate: signed by 0 of 1", lambda fleet, thief: thief.order("web-1", {
        **envelope("mandate", base64.b64decode(signed(fleet)["payload"]), thief.order_key, thief.halt_key)})),
    "one person's mandate": ("web-1", "mandate: signed by 1 of 2", lambda fleet, thief: thief.order("web-1", {
        **envelope("mandate", base64.b64decode(signed(fleet)["payload"]), fleet.people[0], thief.order_key)})),
    "another step": ("web-1", "mandate", lambda fleet, thief: thief.order("web-1", signed(fleet), step="lose-az2")),
    "longer": ("web-1", "end_at: is later than the duration that was signed", lambda fleet, thief: thief.order("web-1", signed(fleet), length_s=3)),
    "started long ago": ("web-1", "start_before", lambda fleet, thief: thief.order("web-1", signed(fleet), started_s=-61)),
    "a longer start window": ("web-1", "start_before", lambda fleet, thief: thief.order("web-1", signed(fleet), window_s=301)),
    "after the mandate": ("web-1", "step_started_at", lambda fleet, thief: thief.order("web-1", signed(
        fleet, not_before=when(-3600), not_after=when(-1)))),
    "before the mandate": ("web-1", "step_started_at", lambda fleet, thief: thief.order("web-1", signed(
        fleet, not_before=when(600), not_after=when(1200)))),
    "in advance": ("web-1", "step_started_at: too early", lambda fleet, thief: thief.order("web-1", signed(fleet), started_s=30)),
    "again": ("web-1", "max_runs: 1 of 1", lambda fleet, thief: thief.order("web-1", fleet.signed)),
    "the same run again": ("web-1", "replayed", lambda fleet, thief: thief.order("web-1", fleet.signed, run=fleet.run)),
    "another key": ("web-1", "order: signed by 0 of 1", lambda fleet, thief: thief.order(
        "web-1", signed(fleet), keys=[thief.halt_key, fleet.people[0]])),
    "another environment": ("web-1", "environment", lambda fleet, thief: thief.order("web-1", signed(fleet, environment="live"))),
    "longer than the host's policy": ("web-1", "longest_duration_s", lambda fleet, thief: thief.order(
        "web-1", signed(fleet, step={"duration_ms": 301000}), length_s=301)),
    "an unknown field": ("web-1", "colour: unknown field", lambda fleet, thief: thief.order("web-1", signed(fleet), colour="red")),
    "a late joiner who is none": ("web-2", "its labels are not those of a late joiner", lambda fleet, thief: thief.order("web-2", signed(
        fleet, late_joiners={"labels": {"group": "victim"}, "max": 4}, step={"late_joiners": True}))),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_attack_is_refused(fleet, attack):
    host, words, begin = ATTACKS[attack]
    before = events(fleet.hosts[host])[-1]["sequence"]
    begin(fleet, fleet.thief)
    refusal(fleet, host, words, before)


def test_what_is_left_to_the_thief(fleet):
    """When, inside the signed window; and that what runs may be halted. Nothing else."""
    order = fleet.thief.order("web-1", signed(fleet, max_runs=1))
    assert wait_event(fleet.hosts["web-1"], order["run"], "fault.reverted")["body"]["ended_by"] == "deadline"
    order = fleet.thief.order("web-1", signed(fleet, step={"duration_ms": 60000}), length_s=60)
    wait_event(fleet.hosts["web-1"], order["run"], "fault.armed")
    fleet.thief.send("web-1", "halt", {"schema": "grivet.halt/1", "id": uuid(), "scope": "fleet", "issued_at": when(),
                                       "expires_at": when(60)}, [fleet.thief.halt_key])
    assert wait_event(fleet.hosts["web-1"], order["run"], "fault.reverted")["body"]["ended_by"] == "halt"


def test_the_real_one_hears_of_it(fleet):
    """Last: nothing was done but what is allowed, and each refusal is an event in the store."""
    fleet.thief.leave()
    fleet.serve()
    wanted = {name: events(host)[-1]["sequence"] for name, host in fleet.hosts.items()}
    runs = {event["run"] for host in fleet.hosts.values() for event in events(host, kind="fault.armed")}
    assert len(runs) == 3 and not events(fleet.hosts["web-2"], kind="fault.armed")

    def has_come():
        return all(len(fleet.stored(host)) >= wanted[name] for name, host in fleet.hosts.items())
    wait_until(has_come, 20, "the hosts' events", 0.5)
    stored = [json.loads(line) for host in fleet.hosts.values() for line in fleet.stored(host)]
    assert len([event for event in stored if event["kind"] == "order.refused"]) == len(ATTACKS)
