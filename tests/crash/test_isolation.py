"""isolate: full through the executor: only where the host's policy allows it, and root's halt ends it at once."""

import base64
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from agent_rig import Agent  # noqa: E402
from executor_client import ANSWER, ASK, ORDER, POLICY, when  # noqa: E402

PARAMETERS = {"zone": "z1", "isolate": "full"}


def answer(agent, mandate):
    agent.courier.send(ASK, data=agent.papers.ask_bundle(mandate, [agent.papers.alice, agent.papers.bob], "start"))
    return json.loads(base64.b64decode(json.loads(agent.courier.expect(ANSWER))["payload"]))["steps"][0]


def isolating_agent(host, is_allowed):
    agent = Agent(host)
    policy = POLICY.format(name="host", lost=60)
    if is_allowed:
        policy = policy.replace("cool_down_s: 0", "cool_down_s: 0, allows_isolation: true")
    host.write("/etc/grivet/agent.yaml", policy)
    agent.start()
    return agent, agent.papers.mandate(step={"parameters": PARAMETERS, "duration_ms": 30000}, not_after=when(600))


def test_an_answer_refuses_what_the_policy_does_not_allow(host):
    agent, mandate = isolating_agent(host, False)
    step = answer(agent, mandate)
    assert not step["is_accepted"] and "classes.network.allows_isolation" in step["reason"]


def test_allowed_it_is_shouted_and_root_can_halt_it(host):
    agent, mandate = isolating_agent(host, True)
    step = answer(agent, mandate)
    assert step["is_accepted"] and step["summary"][0].startswith("ISOLATION: THE LIFELINE IS CUT TOO.")
    payload = agent.papers.order_payload(mandate, length_s=30)
    order = json.loads(payload)["id"]
    agent.courier.send(ORDER, data=agent.papers.order_bundle(mandate, payload))
    armed = agent.courier.wait_event("fault.armed", order=order)
    assert armed["body"]["summary"][0].startswith("ISOLATION")
    agent.courier.wait_event("fault.exercised", order=order)
    host.run(["touch", "/run/grivet/halt"])
    reverted = agent.courier.wait_event("fault.reverted", order=order)
    assert reverted["body"]["ended_by"] == "halt"
