"""Who may say something says it without end, while the disk takes nothing: no other fault's word is lost for that."""

import ctypes
import json
import os
import select
import signal
import socket
import struct

import pytest

from agent_rig import Agent, agent  # noqa: F401
from executor_client import HALT, SAMPLES, VERSION, WATCH, Channel, uuid

STATE = 112
CHANNEL_FD = 3  # agent/job.h
WAITING_BYTES = 3 << 20  # LINES_WAITING_MAX of agent/lines.h
SYS_PIDFD_GETFD = 438
CLASSES = "".join(f"  {name}: {{is_allowed: true, signatures: 1, longest_duration_s: 600, concurrency: 1, cool_down_s: 0}}\n"
                  for name in ("cpu", "observe"))
PROBE = {"name": "shop", "kind": "http", "url": "http://10.0.0.5/", "interval_ms": 200, "timeout_ms": 100,
         "unhealthy_after": 2, "healthy_after": 2, "stable_s": 1, "connection": "fresh", "expect": {"status": 200}}


def take_channel(pid):
    """A holder's end of its channel, as whoever has taken the holder over has it."""
    pidfd = os.pidfd_open(pid)
    fd = ctypes.CDLL(None, use_errno=True).syscall(SYS_PIDFD_GETFD, pidfd, CHANNEL_FD, 0)
    os.close(pidfd)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return socket.socket(fileno=fd)


def say(channel, word, body):
    select.select([], [channel], [])  # the holder's end does not wait
    text = json.dumps({"state": word, "body": body}).encode()
    channel.send(struct.pack("=HHI", VERSION, STATE, len(text)) + text)


def flood(send):
    """More than may wait for the disk, unless nobody listens any more."""
    for _ in range(2 * WAITING_BYTES // 30000):
        try:
            send()
        except (BrokenPipeError, ConnectionResetError):
            return


def holder(agent, word):
    mandate = agent.papers.mandate(step={"fault": "cpu.burn", "parameters": {"load_percent": 1, "cpus": 1}, "duration_ms": 50000})
    order = agent.order(mandate, length_s=50)
    agent.courier.wait_event("fault.exercised", order=order["id"])
    channel = take_channel(agent.holder()["pid"])
    return order, lambda: say(channel, word, {"reason": "x" * 30000})


def prober(agent):
    peer = Channel(agent.host, "grivet-prober")
    order = agent.order(agent.papers.mandate(observers=["host"], probes=[PROBE]), step="observe", length_s=50)
    peer.expect(WATCH)
    return order, lambda: peer.send(SAMPLES, {"order": order["id"], "probe": "shop", "samples": [[1 << 40, 1 << 20, 200, 1]] * 900})


def courier(agent):
    halt = agent.papers.halt_bundle(scope="run", run=uuid())

    def send():
        for _ in range(100):  # an event of it takes some 400 bytes
            agent.courier.send(HALT, data=halt)
    return None, send


FLOODERS = {"exercised": lambda agent: holder(agent, "exercised"), "interrupted": lambda agent: holder(agent, "interrupted"),
            "samples": prober, "halts": courier}


@pytest.mark.parametrize("flooder", FLOODERS)
def test_a_flood_costs_no_other_fault_its_word(host, flooder):
    agent = Agent(host, policy=CLASSES).start()
    order, send = FLOODERS[flooder](agent)
    victim = agent.order(agent.papers.mandate(step={"duration_ms": 4000}), length_s=4)
    agent.courier.wait_event("fault.exercised", order=victim["id"])
    syncer = next(process["pid"] for process in host.processes() if process["name"].startswith("grivetd-sync"))
    os.kill(syncer, signal.SIGSTOP)
    flood(send)
    host.wait_for(lambda: victim["id"] not in agent.records(), what="the fault's end")
    os.kill(syncer, signal.SIGCONT)
    agent.courier.wait_event("fault.reverted", order=victim["id"])
    if flooder in ("exercised", "interrupted"):  # it is ended for it
        agent.courier.wait_event("fault.reverted", order=order["id"])


def samples(agent):
    """How many of each message that was taken."""
    return [len(event["body"]["samples"]) for event in agent.courier.events() if event["kind"] == "probe.samples"]


def test_a_prober_is_heard_as_far_as_a_watch_goes(agent):
    peer = Channel(agent.host, "grivet-prober")
    order = agent.order(agent.papers.mandate(observers=["host"], probes=[PROBE]), step="observe", length_s=50)
    peer.expect(WATCH)

    def send(count):
        peer.send(SAMPLES, {"order": order["id"], "probe": "shop", "samples": [[1 << 40, 1 << 20, 200, 1]] * count})
    for _ in range(16):  # all that it keeps while the executor stays away
        send(64)
    agent.host.wait_for(lambda: sum(samples(agent)) == 1024, what="all samples of a watch")
    for _ in range(2000):
        send(1)
    dropped = f"order {order['id']}: samples are dropped"
    agent.host.wait_for(lambda: dropped in agent.host.log("grivetd"), what="the word that samples are dropped")
    peer.send(999)
    assert peer.is_closed()  # all was read
    assert agent.host.log("grivetd").count(dropped) == 1 and len(samples(agent)) < 100
