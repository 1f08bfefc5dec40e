"""The executor alone on a lab host: what it lets in, what it refuses, and how everything ends."""

import base64
import json
import os
import pathlib
import signal
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from agent_rig import Agent, agent  # noqa: E402, F401
from executor_client import (ACK, ANSWER, ASK, CLOCK, CONTACT, FETCH, HALT, HALT_LOCAL, HALTED, HEAD, NONCE,  # noqa: E402
                             ORDER, READY, SAMPLES, STATUS, STATUS_IS, UNWATCH, WAIT_READY, WATCH, Channel, digest, uuid, when)
from lab.keys import pre_authentication  # noqa: E402


def test_life_of_an_order(agent):
    order = agent.order()
    accepted = agent.courier.wait_event("order.accepted", order=order["id"])
    assert accepted["run"] == order["run"] and accepted["step"] == "lose"
    assert accepted["body"]["fault"] == "zone.block" and not accepted["body"]["is_late_joiner"]
    reverted = agent.courier.wait_event("fault.reverted", order=order["id"])
    assert reverted["body"]["ended_by"] == "deadline" and 0 <= reverted["body"]["revert_error_ms"] < 1000
    kinds = [event["kind"] for event in agent.courier.events() if event.get("order") == order["id"]]
    assert kinds == ["order.accepted", "fault.armed", "fault.exercised", "fault.reverted"]
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), what="the holder's end")


def refusals(papers):
    """What is wrong with each, the reason's words, and the order."""
    mandate = papers.mandate()

    def order(mandate=mandate, people=None, keys=None, **changes):
        return papers.order_bundle(mandate, papers.order_payload(mandate, **changes), people, keys)

    def step(**changes):
        return order(papers.mandate(step=changes))
    yield "mandate unsigned", "signed by 0 of 1", order(people=[])
    yield "one signature of two", "signed by 1 of 2", order(people=[papers.alice])
    yield "two keys of one person", "signed by 1 of 2", order(people=[papers.alice, papers.alice_again])
    yield "one signature twice", "signed by 1 of 2", order(people=[papers.alice, papers.alice])
    yield "a stranger signed", "signed by 1 of 2", order(people=[papers.alice, papers.stranger])
    yield "the coordinator signed", "signed by 0 of 1", order(people=[papers.order])
    yield "order unsigned", "signed by 0 of 1", order(keys=[])
    yield "order signed by a person", "signed by 0 of 1", order(keys=[papers.alice])
    yield "garbled signature", "signed by 1 of 2", order(people=[papers.alice, os.urandom(64)])
    yield "expired", "start_before: expired", order(started_s=-100, length_s=101, window_s=60,
                                                    mandate=papers.mandate(not_before=when(-200), step={"duration_ms": 200000}))
    yield "over", "end_at", order(started_s=-2)
    yield "early", "too early", order(started_s=30)
    yield "not yet valid", "mandate", order(papers.mandate(not_before=when(100)))
    yield "no longer valid", "mandate", order(papers.mandate(not_before=when(-100), not_after=when(-50)))
    yield "other host", "another host", order(host="other")
    yield "host not in the mandate", "not among the hosts", step(hosts=["other"])
    yield "other environment", "environment: 'production', but this host is in 'lab'", order(
        papers.mandate(environment="production"))
    yield "other mandate", "hash of another mandate", papers.order_bundle(papers.mandate(), papers.order_payload(mandate))
    yield "longer than signed", "later than the duration that was signed", order(length_s=60)
    yield "huge duration", "duration_ms", step(duration_ms=10**12)
    yield "zero duration", "duration_ms", step(duration_ms=0)
    yield "negative duration", "duration_ms", step(duration_ms=-5)
    yield "longer than the policy allows", "longest_duration_s", step(duration_ms=61000)
    yield "unknown fault", "fault 'disk.melt' is unknown", step(fault="disk.melt")
    yield "class not allowed", "classes.process: not allowed", step(
        fault="process.kill", parameters={"exe": "/usr/bin/sleep"})
    yield "isolation not allowed", "classes.network.allows_isolation: step lose would cut the lifeline", step(
        parameters={"zone": "z1", "isolate": "full"})
    yield "unknown zone", "zone", step(parameters={"zone": "z9"})
    yield "unknown parameter", "parameters", step(parameters={"zone": "z1", "colour": 1})
    yield "unknown step", "no step of the mandate", order(step="other")
    yield "unknown field", "surprise", order(surprise=1)
    yield "no JSON", "order", papers.order_bundle(mandate, b"{")
    yield "duplicate key", "order", papers.order_bundle(mandate, b'{"schema": "grivet.order/1", "schema": "grivet.order/1"}')
    yield "address block with host bits", "10.1.0.0/24", order(papers.mandate(zones={"z1": ["10.1.0.7/24"]}))


def test_bad_orders_are_refused(agent):
    agent.courier.wait_event("agent.started")
    for what, words, data in refusals(agent.papers):
        last = agent.courier.events()[-1]["sequence"]
        agent.courier.send(ORDER, data=data)
        agent.host.wait_for(lambda: agent.courier.events(last), what=f"the refusal of: {what}")
        event = agent.courier.events(last)[0]
        assert event["kind"] == "order.refused", (what, event)
        assert words in event["body"]["reason"], (what, event["body"])
        assert "\n" not in event["body"]["reason"]
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")
    agent.order()
    agent.courier.wait_event("fault.armed")


def test_replay_and_runs(agent):
    mandate = agent.papers.mandate(max_runs=2, step={"duration_ms": 300})
    payload = agent.papers.order_payload(mandate, length_s=0.3)
    data = agent.papers.order_bundle(mandate, payload)
    agent.courier.send(ORDER, data=data)
    agent.courier.wait_event("fault.reverted", order=json.loads(payload)["id"])
    # The same bytes are the same order, which a courier that was started anew brings again: told already, and nothing else.
    before = agent.courier.events()
    agent.courier.send(ORDER, data=data)
    agent.host.wait_for(lambda: f"order {json.loads(payload)['id']} came again" in agent.host.log("grivetd"), what="its word")
    assert agent.courier.events() == before
    agent.host.wait_for(lambda: not agent.holder(), what="no holder")
    # A new order for the same step of the same run is the same thing under another name.
    again = agent.order(mandate, length_s=0.3, run=json.loads(payload)["run"])
    assert "replayed" in agent.courier.wait_event("order.refused", order=again["id"])["body"]["reason"]
    agent.courier.wait_event("fault.reverted", order=agent.order(mandate, length_s=0.3)["id"])
    third = agent.order(mandate, length_s=0.3)
    assert "max_runs: 2 of 2" in agent.courier.wait_event("order.refused", order=third["id"])["body"]["reason"]
    # Memory outlives the process.
    agent.host.kill("grivetd")
    agent.restart()
    fourth = agent.order(mandate, length_s=0.3, run=json.loads(payload)["run"])
    assert "replayed" in agent.courier.wait_event("order.refused", order=fourth["id"])["body"]["reason"]
    before = agent.courier.events()
    agent.courier.send(ORDER, data=data)  # told by the life before
    agent.host.wait_for(lambda: agent.host.log("grivetd").count("came again") == 2, what="its word")
    assert agent.courier.events() == before
    agent.host.wait_for(lambda: not agent.holder(), what="no holder")


def test_stolen_coordinator(agent):
    """All keys of the coordinator, and a mandate that people signed: other host, fault, longer, later, again."""
    papers, mandate = agent.papers, agent.papers.mandate()
    signatures = [key.sign(pre_authentication("mandate", mandate)) for key in (papers.alice, papers.bob)]

    def refused(words, wanted=mandate, **changes):
        order = agent.order(wanted, people=signatures, **changes)
        event = agent.courier.wait_event("order.refused", order=order["id"])
        assert words in event["body"]["reason"], event["body"]
    refused("another host", host="elsewhere")
    refused("later than the duration", length_s=3)
    refused("mandate", started_s=0, step="drain")
    agent.courier.send(ORDER, data=papers.order_bundle(
        papers.mandate(step={"fault": "network.block", "parameters": {}}), papers.order_payload(mandate), signatures))
    event = agent.courier.wait_event("order.refused", document="mandate")
    assert "signed by 0 of 1" in event["body"]["reason"]  # another mandate under the old signatures
    late = json.loads(mandate)
    late.update(not_before=when(-900), not_after=when(-600))
    late = json.dumps(late).encode()
    signatures_late = [key.sign(pre_authentication("mandate", late)) for key in (papers.alice, papers.bob)]
    order = agent.order(late, people=signatures_late)
    assert "mandate" in agent.courier.wait_event("order.refused", order=order["id"])["body"]["reason"]
    good = agent.order(mandate, people=signatures)
    agent.courier.wait_event("fault.reverted", order=good["id"])
    agent.host.wait_for(lambda: not agent.records(), what="the holder's end")  # under sanitizers it takes a moment
    refused("max_runs: 1 of 1")
    refused("replayed", run=good["run"])


def test_concurrency(agent):
    agent.order(agent.papers.mandate(step={"duration_ms": 20000}), length_s=20)
    agent.courier.wait_event("fault.armed")
    second = agent.order()
    assert "concurrency" in agent.courier.wait_event("order.refused", order=second["id"])["body"]["reason"]


def long_fault(agent):
    order = agent.order(agent.papers.mandate(step={"duration_ms": 50000}), length_s=50)
    agent.courier.wait_event("fault.armed", order=order["id"])
    return order


def test_halts(agent):
    papers = agent.papers
    order = long_fault(agent)
    for bad in (papers.halt_bundle(keys=[papers.alice]), papers.halt_bundle(expires_s=-1), papers.halt_bundle(
            scope="run", run=uuid())):
        agent.courier.send(HALT, data=bad)
    agent.courier.send(HALT, data=papers.halt_bundle(scope="host", host="elsewhere"))
    agent.courier.events()  # all of them were read
    assert agent.holder()
    agent.courier.send(HALT, data=papers.halt_bundle(scope="run", run=order["run"]))
    reverted = agent.courier.wait_event("fault.reverted", order=order["id"])
    assert reverted["body"]["ended_by"] == "halt" and reverted["body"]["revert_error_ms"] < 1000
    order = long_fault(agent)
    root = Channel(agent.host, "root")
    root.send(HALT_LOCAL, {})
    assert root.expect(HALTED) == {"ended": 1}
    assert agent.courier.wait_event("fault.reverted", order=order["id"])["body"]["ended_by"] == "halt"
    order = long_fault(agent)
    agent.host.write("/run/grivet/halt", "")
    agent.courier.wait_event("fault.reverted", order=order["id"])
    refused = agent.order()
    assert "/run/grivet/halt" in agent.courier.wait_event("order.refused", order=refused["id"])["body"]["reason"]
    agent.host.path("/run/grivet/halt").unlink()
    agent.courier.wait_event("fault.armed", order=agent.order()["id"])


def test_asking_again_gives_a_hung_holder_no_more_time(agent):
    """What was asked to end and hangs is killed 2 s later, however often a worried operator asks."""
    order = long_fault(agent)
    holder = agent.holder()["pid"]
    os.kill(holder, signal.SIGSTOP)
    asked, asks = time.monotonic(), 0

    def is_gone():
        nonlocal asks
        if time.monotonic() - asked > 0.5 * asks:
            agent.courier.send(HALT, data=agent.papers.halt_bundle())
            asks += 1
        return not agent.holder()
    agent.host.wait_for(is_gone, 5, "the holder's end")
    assert asks > 3
    agent.courier.wait_event("fault.reverted", order=order["id"])
    assert agent.host.status("grivetd")["starts"] == 1, "the executor killed it, and lives"


def test_late_order_of_a_halted_run(agent):
    mandate, run = agent.papers.mandate(), uuid()
    agent.courier.send(HALT, data=agent.papers.halt_bundle(scope="run", run=run))
    order = agent.order(mandate, run=run)
    assert "halt" in agent.courier.wait_event("order.refused", order=order["id"])["body"]["reason"]


def by_root(agent):
    agent.host.run(["grivet", "halt"])


def by_file(agent):
    agent.host.write("/run/grivet/halt", "")
    agent.courier.wait_event("halt.received")
    agent.host.run(["rm", "/run/grivet/halt"])


@pytest.mark.parametrize("halt", [by_root, by_file])
def test_late_order_of_what_root_halted(agent, halt):
    mandate = agent.papers.mandate()
    late = agent.papers.order_payload(mandate)
    halt(agent)
    agent.courier.send(ORDER, data=agent.papers.order_bundle(mandate, late))
    refused = agent.courier.wait_event("order.refused", order=json.loads(late)["id"])
    assert refused["body"]["reason"] == "host: a halt came after this order's step had been started"
    agent.courier.wait_event("fault.armed", order=agent.order()["id"])


def test_holder_killed(agent):
    order = long_fault(agent)
    os.kill(agent.holder()["pid"], signal.SIGKILL)
    agent.courier.wait_event("fault.interrupted", order=order["id"], reason="its holder was killed by signal 9")
    assert agent.courier.wait_event("fault.reverted", order=order["id"])["body"]["ended_by"] in ("kernel", "executor")
    assert not agent.records()


def test_executor_killed(agent):
    order = long_fault(agent)
    agent.host.kill("grivetd")
    agent.restart()
    agent.courier.wait_event("agent.started", is_unclean=True)
    agent.courier.wait_event("fault.interrupted", order=order["id"])
    agent.courier.wait_event("fault.reverted", order=order["id"])
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")
    assert [event["sequence"] for event in agent.courier.events()] == list(range(1, len(agent.courier.events()) + 1))


def test_stop_waits_for_the_end(agent):
    order = long_fault(agent)
    agent.host.stop("grivetd")
    agent.host.wait_for(lambda: not agent.holder() and not agent.records(), 5, "no holder and no record")
    agent.host.start("grivetd")
    agent.courier = Channel(agent.host)
    agent.courier.wait_event("fault.interrupted", order=order["id"], reason="grivetd is being stopped")
    assert agent.courier.wait_event("fault.reverted", order=order["id"])["body"]["ended_by"] == "executor"

    def starts():
        return [event["body"]["is_unclean"] for event in agent.courier.events() if event["kind"] == "agent.started"]
    agent.host.wait_for(lambda: len(starts()) == 2, what="the second life's first event to be durable")
    assert starts() == [False, False]


def test_lost_contact(host):
    agent = Agent(host, lost=1).start()
    order = long_fault(agent)
    agent.courier.wait_event("contact.lost")
    assert agent.courier.wait_event("fault.reverted", order=order["id"])["body"]["ended_by"] == "executor"


def test_asks(agent):
    papers, mandate = agent.papers, agent.papers.mandate()

    def answer(data):
        agent.courier.send(ASK, data=data)
        envelope = json.loads(agent.courier.expect(ANSWER))
        payload = base64.b64decode(envelope["payload"])
        assert base64.b64decode(envelope["signatures"][0]["sig"]) == papers.host.sign(pre_authentication("answer", payload))
        return json.loads(payload)
    good = answer(papers.ask_bundle(mandate))
    assert good["is_accepted"] and good["mandate"] == digest(mandate) and "coordinator 10.0.0.2:8443" in good["lifeline"]
    assert good["steps"][0]["step"] == "lose" and good["steps"][0]["summary"]
    unsigned = answer(papers.ask_bundle(mandate, purpose="start"))
    assert not unsigned["is_accepted"] and "signed by 0 of 1" in unsigned["steps"][0]["reason"]
    assert answer(papers.ask_bundle(mandate, [papers.alice, papers.bob], "start"))["is_accepted"]
    unknown = answer(papers.ask_bundle(papers.mandate(step={"fault": "disk.melt"})))
    assert not unknown["is_accepted"] and "disk.melt" in unknown["steps"][0]["reason"]
    elsewhere = answer(papers.ask_bundle(papers.mandate(step={"hosts": ["other"]})))
    assert "no step for host" in elsewhere["steps"][0]["reason"]
    agent.courier.send(ASK, data=papers.ask_bundle(mandate, keys=[papers.alice]))  # no answer for strangers
    agent.courier.send(NONCE, {"nonce": "n"})
    assert agent.courier.receive()[0] == HEAD
    assert not agent.holder() and not any("order" in event["kind"] for event in agent.courier.events())


def test_heads_and_acknowledgements(agent):
    papers = agent.papers
    agent.courier.send(CLOCK, {"offset_usec": -5, "bound_usec": 900})
    agent.courier.wait_event("fault.reverted", order=agent.order()["id"])
    agent.courier.send(NONCE, {"nonce": "fresh"})
    envelope = json.loads(agent.courier.expect(HEAD))
    head = json.loads(base64.b64decode(envelope["payload"]))
    events = agent.courier.events()
    assert head["nonce"] == "fresh" and head["sequence"] == events[-1]["sequence"]
    assert events[-1]["clock"] == {"offset_usec": -5, "bound_usec": 900}
    root = Channel(agent.host, "root")

    def acknowledged():
        root.send(STATUS, {})
        return json.loads(root.expect(STATUS_IS))["journal"]["acknowledged"]
    for forged in (papers.ack_bundle(head["sequence"], head["hash"], [papers.stranger]),
                   papers.ack_bundle(head["sequence"], digest(b"other")), papers.ack_bundle(10**6, head["hash"])):
        agent.courier.send(ACK, data=forged)
        agent.courier.events()
        assert acknowledged() == 0
    agent.courier.send(ACK, data=papers.ack_bundle(head["sequence"], head["hash"]))
    agent.courier.events()
    assert acknowledged() == head["sequence"]


def test_roles_and_forms(agent):
    agent.courier.send(STATUS, {})
    assert agent.courier.is_closed()
    prober = Channel(agent.host, "grivet-prober")
    prober.send(ORDER, data=b"")
    assert prober.is_closed()
    stranger = Channel(agent.host, "grivet-coordinator")
    assert stranger.is_closed()
    for kind, body, data in ((999, {}, None), (CONTACT, {"coordinator": "x" * 300}, None), (CONTACT, {}, b"fd"),
                             (ORDER, None, None), (FETCH, {"after": -1}, None), (CLOCK, {"offset_usec": "x"}, None)):
        courier = Channel(agent.host)
        courier.send(kind, body, data)
        assert courier.is_closed(), (kind, body)
    first, second = Channel(agent.host), Channel(agent.host)
    assert first.is_closed()
    second.send(ORDER, data=b"GVB2", seals=0)
    second.wait_event("order.refused")


def test_observe(agent):
    prober = Channel(agent.host, "grivet-prober")
    probe = {"name": "shop", "kind": "http", "url": "http://10.0.0.5/", "interval_ms": 200, "timeout_ms": 100,
             "unhealthy_after": 2, "healthy_after": 2, "stable_s": 1, "connection": "fresh", "expect": {"status": 200}}
    mandate = agent.papers.mandate(observers=["host"], probes=[probe])
    order = agent.order(mandate, step="observe", length_s=2)
    watch = json.loads(prober.expect(WATCH))
    assert watch["order"] == order["id"] and watch["run"] == order["run"] and watch["probes"] == [probe]
    prober = Channel(agent.host, "grivet-prober")  # a prober that was restarted hears it again
    assert json.loads(prober.expect(WATCH)) == watch
    prober.send(SAMPLES, {"order": order["id"], "probe": "shop", "samples": [[1, 2, 200, 1], [3, 4, 0, 0]]})
    event = agent.courier.wait_event("probe.samples", order=order["id"])
    assert event["body"] == {"probe": "shop", "samples": [[1, 2, 200, 1], [3, 4, 0, 0]]}
    prober.send(SAMPLES, {"order": uuid(), "probe": "shop", "samples": [[1, 2, 200, 1]]})
    assert prober.expect(UNWATCH) == {"order": order["id"]}
    agent.courier.wait_event("fault.ended", order=order["id"], fault="observe")
    assert len([event for event in agent.courier.events() if event["kind"] == "probe.samples"]) == 1
    prober.send(SAMPLES, {"order": order["id"], "probe": "shop", "samples": [[1, 2, 200, 7]]})
    assert prober.is_closed()


def test_readiness(agent):
    root = Channel(agent.host, "root")
    root.send(WAIT_READY, {})
    agent.order()
    agent.courier.wait_event("fault.armed")
    agent.courier.send(CONTACT, {"coordinator": "10.0.0.2:8443"})
    assert root.expect(READY)["is_ready"]
    assert agent.courier.wait_event("agent.ready")["body"]["is_ready"]
