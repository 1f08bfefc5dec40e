"""A disk that hangs: a write, a new file or fdatasync takes seconds, and a halt doesn't wait for it."""

import json
import time

import pytest

from agent_rig import Agent
from executor_client import ACK, HALT, ORDER, STATUS, STATUS_IS, Channel, digest

HANG_S = 1.5
UNDONE_S = 0.3
SHAPE = {"fault": "network.shape", "parameters": {"cidrs": ["10.1.0.0/24"], "rate_kbit": 64}}  # has an undo record
EVENTS = "/var/lib/grivet/events"
SEGMENT_BYTES = 1 << 20
FILLED = 10  # events that leave the first segment almost full


def segment(first):
    return f"{EVENTS}/{first:020}"


# What hangs, and of which files: holders write as well.
SLOW = {"fdatasync": [], "write": ["/var/lib/grivet/replay", segment(1)],
        "openat": [segment(first) for first in range(FILLED + 1, FILLED + 60)], "unlinkat": [segment(1)]}


def slow(call):
    paths = [word for path in SLOW[call] for word in ("-P", path)]
    return ["strace", "-D", "-f", "-qq", "-o", "/dev/null", *paths, "-e", f"trace={call}", "-e",
            f"inject={call}:delay_enter={int(HANG_S * 1000000)}"]


@pytest.fixture
def agent(host, request):
    made, call = Agent(host), getattr(request, "param", "fdatasync")
    if call in ("openat", "unlinkat"):
        fill(host)
    host.service("grivetd", slow(call) + ["grivetd"], is_notify=True)
    made.courier, made.root = Channel(host), Channel(host, "root")
    return made


def fill(host):
    """A first segment that has room for a few more events."""
    lines, previous = [], "0" * 64
    for sequence in range(1, FILLED + 1):
        lines.append(json.dumps({"sequence": sequence, "previous": previous, "kind": "test.filler", "body": {"text": "x" * 103900}}))
        previous = digest(lines[-1].encode())
    host.path(EVENTS).mkdir(mode=0o700)
    host.write(segment(1), "".join(line + "\n" for line in lines))
    assert 4000 < SEGMENT_BYTES - host.path(segment(1)).stat().st_size < 10000


def status(agent):
    agent.root.send(STATUS, {})
    return json.loads(agent.root.expect(STATUS_IS))


def long_order(agent, **step):
    return agent.order(agent.papers.mandate(step={"duration_ms": 50000, **step}), length_s=50)


def by_file(agent):
    agent.host.write("/run/grivet/halt", "")


def by_command(agent):
    agent.host.run(["grivet", "halt"])


def by_signature(agent):
    agent.courier.send(HALT, data=agent.papers.halt_bundle())


def end_at_once(agent, halt):
    at = time.monotonic()
    halt(agent)
    agent.host.wait_for(lambda: not agent.records(), what="the undo")
    took = time.monotonic() - at
    print(f"undone after {took * 1000:.0f} ms")
    assert took < UNDONE_S


@pytest.mark.parametrize("agent", ["fdatasync", "write"], indirect=True)
@pytest.mark.parametrize("halt,step", [(by_file, {}), (by_command, {}), (by_signature, {}), (by_signature, SHAPE)])
def test_halt_while_the_disk_hangs(agent, halt, step):
    order, since = long_order(agent, **step), time.monotonic()
    agent.host.wait_for(lambda: [f for f in status(agent)["faults"] if f["state"] in ("armed", "exercised")], 15,
                        "the fault")
    assert time.monotonic() - since > HANG_S, "it started before the memory of it was durable"
    durable = status(agent)["journal"]["last"]
    end_at_once(agent, halt)
    assert status(agent)["journal"]["last"] == durable, "the disk did not hang meanwhile: this proves nothing"
    reverted = agent.courier.wait_event("fault.reverted", 15, order=order["id"])
    assert reverted["body"]["ended_by"] == "halt"


def wait_event(agent, kind, order, after=FILLED):
    """A fetch gets no farther than a segment."""
    agent.host.wait_for(lambda: [event for event in agent.courier.events(after) if event["kind"] == kind and
                                 event.get("order") == order["id"]], 15, kind)


def fill_up(agent):
    """Until the next event begins another segment; a fault is in force then."""
    order = long_order(agent)
    wait_event(agent, "fault.exercised", order)
    while agent.host.path(segment(1)).stat().st_size < SEGMENT_BYTES:
        wait_event(agent, "order.refused", agent.order(people=[]))
    return order, status(agent)["journal"]["last"]


@pytest.mark.parametrize("agent", ["openat"], indirect=True)
def test_halt_while_the_next_segment_is_made(agent):
    def refused():
        return agent.host.log("grivetd").count("order refused")
    order, durable = fill_up(agent)
    before = refused()
    agent.order(people=[])
    agent.host.wait_for(lambda: refused() > before, what="an event for the next segment")
    end_at_once(agent, by_signature)
    assert status(agent)["journal"]["last"] == durable, "the disk did not hang meanwhile: this proves nothing"
    wait_event(agent, "fault.reverted", order, durable)
    assert agent.host.path(segment(durable + 1)).exists()


@pytest.mark.parametrize("agent", ["unlinkat"], indirect=True)
def test_halt_while_a_segment_is_removed(agent):
    order, durable = fill_up(agent)
    wait_event(agent, "order.refused", agent.order(people=[]), durable)
    last = agent.host.read(segment(1)).splitlines()[-1]
    agent.courier.send(ACK, data=agent.papers.ack_bundle(durable, digest(last.encode())))
    end_at_once(agent, by_signature)
    assert agent.host.path(segment(1)).exists(), "the disk did not hang meanwhile: this proves nothing"
    wait_event(agent, "fault.reverted", order, durable)
    assert not agent.host.path(segment(1)).exists()


def test_halt_before_the_start(agent):
    """An order that waits for the disk does not start any more when a halt comes."""
    order = long_order(agent)
    agent.courier.events()  # it was read
    by_command(agent)
    refused = agent.courier.wait_event("order.refused", 15, order=order["id"])
    assert "a halt came before it was started" in refused["body"]["reason"]
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")


def test_end_before_the_start(agent):
    """An order whose end comes while it waits for the disk does nothing."""
    order = agent.order(agent.papers.mandate(step={"duration_ms": 1000}), length_s=1)
    refused = agent.courier.wait_event("order.refused", 15, order=order["id"])
    assert "over while the disk took its time" in refused["body"]["reason"]
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")


def test_holder_needs_no_executor_to_see_the_file(agent):
    long_order(agent)
    agent.host.wait_for(agent.holder, 15, "the holder")
    agent.host.wait_for(lambda: [f for f in status(agent)["faults"] if f["state"] == "exercised"], 15, "its effect")
    agent.host.sh(f"kill -STOP {agent.host.pid('grivetd')}")
    try:
        at = time.monotonic()
        by_file(agent)
        agent.host.wait_for(lambda: "grivet" not in agent.host.sh("nft list tables").stdout, what="the undo")
        assert time.monotonic() - at < UNDONE_S
    finally:
        agent.host.sh(f"kill -CONT {agent.host.pid('grivetd')}")


def test_repeated_while_it_waits_and_when_nothing_was_told(agent):
    """An order whose memory was durable when the executor died: nobody would ever hear of it, so that it is refused."""
    agent.courier.wait_event("agent.started")
    mandate = agent.papers.mandate(step={"duration_ms": 20000})
    payload = agent.papers.order_payload(mandate, length_s=20)
    data, order = agent.papers.order_bundle(mandate, payload), json.loads(payload)
    for _ in range(2):
        agent.courier.send(ORDER, data=data)
    agent.host.wait_for(lambda: "came again" in agent.host.log("grivetd"), what="word of the second")
    assert order["run"] in agent.host.read("/var/lib/grivet/replay") and not agent.holder()
    agent.host.kill("grivetd")
    agent.restart()
    agent.courier.send(ORDER, data=data)
    assert "replayed" in agent.courier.wait_event("order.refused", order=order["id"])["body"]["reason"]
    assert [event["kind"] for event in agent.courier.events() if event.get("order") == order["id"]] == ["order.refused"]
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")


@pytest.mark.parametrize("agent", ["write"], indirect=True)
def test_killed_while_a_write_hangs(agent):
    """What the old life was writing is there before the new one reads; nothing is lost or written over."""
    agent.courier.wait_event("agent.started")
    refused = agent.order(people=[])
    agent.host.wait_for(lambda: "order refused" in agent.host.log("grivetd"), what="an event that hangs")
    agent.host.sh(f"kill -KILL {agent.host.pid('grivetd')}")
    agent.restart()
    agent.courier.wait_event("agent.started", is_unclean=True)
    kinds = [(event["kind"], event.get("order")) for event in agent.courier.events()]
    assert kinds == [("agent.started", None), ("order.refused", refused["id"]), ("agent.started", None)]
