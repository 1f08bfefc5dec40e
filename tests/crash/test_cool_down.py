"""Cool-down and concurrency with two steps of one class: what an answer accepts, the start accepts too."""

import base64
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from agent_rig import Agent  # noqa: E402
from executor_client import ANSWER, ASK, ORDER, POLICY, uuid  # noqa: E402

STEP = {"name": "lose", "fault": "network.block", "parameters": {"cidrs": ["10.1.0.0/24"], "direction": "out"},
        "duration_ms": 1500, "hosts": ["host"], "late_joiners": False}
# Another net: of two faults that drop the same packets, only one would see its own dropped.
SECOND = {**STEP, "name": "lose-too", "parameters": {"cidrs": ["192.0.2.0/24"], "direction": "out"}}


def test_steps_of_one_run_do_not_cool_each_other_down(host):
    agent = Agent(host)
    policy = POLICY.format(name="host", lost=60).replace("concurrency: 1, cool_down_s: 0", "concurrency: 2, cool_down_s: 60")
    host.write("/etc/grivet/agent.yaml", policy)
    agent.start()
    papers = agent.papers
    mandate = papers.mandate(steps=[STEP, SECOND], max_runs=2)

    def answer():
        agent.courier.send(ASK, data=papers.ask_bundle(mandate, [papers.alice, papers.bob], "start"))
        return json.loads(base64.b64decode(json.loads(agent.courier.expect(ANSWER))["payload"]))

    def order(step, run):
        payload = papers.order_payload(mandate, step=step, run=run)
        agent.courier.send(ORDER, data=papers.order_bundle(mandate, payload))
        return json.loads(payload)["id"]
    assert [step["is_accepted"] for step in answer()["steps"]] == [True, True]
    run = uuid()
    orders = [order("lose", run), order("lose-too", run)]
    for each in orders:
        agent.courier.wait_event("order.accepted", order=each)
    for each in orders:
        agent.courier.wait_event("fault.reverted", order=each)
    late = agent.courier.wait_event("order.refused", order=order("lose", uuid()))
    assert "classes.network.cool_down_s: not before" in late["body"]["reason"]
    assert ["cool_down_s" in step["reason"] for step in answer()["steps"]] == [True, True]
    # It outlives the executor, and what is in /run, which a boot takes.
    host.kill("grivetd")
    agent.restart()
    assert ["cool_down_s: not before" in step["reason"] for step in answer()["steps"]] == [True, True]
    host.stop("grivetd")
    host.run(["sh", "-c", "rm -r /run/grivet/*"])
    agent.start()
    assert ["cool_down_s: not before" in step["reason"] for step in answer()["steps"]] == [True, True]
    late = agent.courier.wait_event("order.refused", order=order("lose", uuid()))
    assert "classes.network.cool_down_s: not before" in late["body"]["reason"]


def test_steps_that_follow_one_another_are_never_two_at_once(host):
    """One at a time is allowed: what follows has its turn, what would run beside is refused when it is asked for."""
    agent = Agent(host)
    policy = POLICY.format(name="host", lost=60).replace("cool_down_s: 0", "cool_down_s: 60")
    host.write("/etc/grivet/agent.yaml", policy)
    agent.start()
    papers = agent.papers
    beside = papers.mandate(steps=[STEP, SECOND])
    mandate = papers.mandate(steps=[STEP, {**SECOND, "after": ["lose"]}])

    def ask(asked, **changes):
        agent.courier.send(ASK, data=papers.ask_bundle(asked, [papers.alice, papers.bob], "start", **changes))
        return json.loads(base64.b64decode(json.loads(agent.courier.expect(ANSWER))["payload"]))["steps"]
    first, refused = ask(beside)
    assert first["is_accepted"] and "classes.network.concurrency: 1 under way" in refused["reason"]
    run = uuid()
    assert [step["is_accepted"] for step in ask(mandate, run=run)] == [True, True]
    for step in ("lose", "lose-too"):
        # Asked once more before it starts: what this run did here stands in nobody's way, another run would be one too many.
        assert [(one["step"], one["is_accepted"]) for one in ask(mandate, run=run, steps=[step])] == [(step, True)]
        payload = papers.order_payload(mandate, step=step, run=run)
        agent.courier.send(ORDER, data=papers.order_bundle(mandate, payload))
        agent.courier.wait_event("fault.armed", order=json.loads(payload)["id"])
        assert "concurrency" in ask(mandate, run=run, steps=[step])[0]["reason"]
        agent.courier.wait_event("fault.reverted", order=json.loads(payload)["id"])
        assert "cool_down_s" in ask(mandate, run=uuid(), steps=[step])[0]["reason"]
    assert ask(mandate, run=run, steps=["none"])[0]["reason"] == "mandate: has no step for host host"
