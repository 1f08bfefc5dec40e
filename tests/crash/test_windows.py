"""Windows of a class: what would not lie inside from its start to its end is refused, by the real executor's clock and zone."""

import base64
import datetime
import json
import pathlib
import sys
import zoneinfo

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from agent_rig import Agent  # noqa: E402
from executor_client import ANSWER, ASK, POLICY, when  # noqa: E402
from lab.host import LAB  # noqa: E402

KOLKATA = zoneinfo.ZoneInfo("Asia/Kolkata")


def window(from_minutes, until_minutes, zone=datetime.timezone.utc):
    """Hours of every day, counted from now; seconds are cut off."""
    now = datetime.datetime.now(zone)
    hours = [f"{now + datetime.timedelta(minutes=minutes):%H:%M}" for minutes in (from_minutes, until_minutes)]
    return "Mon..Sun " + "..".join(hours)


@pytest.fixture
def agent(host):
    return Agent(host)


def start(agent, text, zone="UTC"):
    policy = POLICY.format(name="host", lost=60).replace(
        "longest_duration_s: 60, concurrency: 1, cool_down_s: 0",
        f"longest_duration_s: 300, concurrency: 1, cool_down_s: 0, windows: ['{text}']")
    agent.host.write("/etc/grivet/agent.yaml", f"time_zone: {zone}\n{policy}")
    agent.start()


def refusal(agent, **changes):
    return agent.courier.wait_event("order.refused", order=agent.order(**changes)["id"])["body"]["reason"]


def answer(agent, mandate, purpose, **changes):
    signers = [agent.papers.alice, agent.papers.bob] if purpose == "start" else []
    agent.courier.send(ASK, data=agent.papers.ask_bundle(mandate, signers, purpose, **changes))
    return json.loads(base64.b64decode(json.loads(agent.courier.expect(ANSWER))["payload"]))["steps"][0]


def test_inside(agent):
    text = window(-5, 5)
    start(agent, text)
    assert f"only within {text} (UTC)" in answer(agent, agent.papers.mandate(), "plan")["limits"]
    assert answer(agent, agent.papers.mandate(), "start")["is_accepted"]
    agent.courier.wait_event("fault.reverted", order=agent.order()["id"])
    said = agent.host.run([f"{LAB}/bin/grivet", "doctor"], check=False).stdout
    assert f"network: {text} (UTC), open now" in said, said


def test_outside(agent):
    text = window(60, 70)
    opens = when(3600)[:13]  # the hour
    start(agent, text)
    reason = refusal(agent)
    assert reason.startswith(f"policy: classes.network.windows: step lose does not fit into {text} (UTC); the next one opens at {opens}")
    mandate = agent.papers.mandate()
    for purpose in ("plan", "start"):
        assert answer(agent, mandate, purpose)["reason"][:100] == reason[:100]
    # What is planned for later is no reason to refuse now, but it can't be started yet.
    tomorrow = agent.papers.mandate(not_after=when(86400))
    assert answer(agent, tomorrow, "plan")["is_accepted"]
    assert "windows" in answer(agent, tomorrow, "start")["reason"]
    said = agent.host.run([f"{LAB}/bin/grivet", "doctor"], check=False).stdout
    assert f"(UTC), opens at {opens}" in said, said


def test_ends_too_late(agent):
    """The window is open, but closes before the fault would end: in the same window a shorter one is let in."""
    start(agent, window(-5, 2))
    long = agent.papers.mandate(step={"duration_ms": 200000})
    assert "does not fit into" in refusal(agent, mandate=long, length_s=200)
    assert "does not fit into" in answer(agent, long, "start")["reason"]
    agent.courier.wait_event("fault.reverted", order=agent.order()["id"])


def test_a_step_that_follows_has_its_own_time(agent):
    """Its predecessor, elsewhere, takes until after the window closes; once that is over, only what is left counts."""
    start(agent, window(-5, 2))
    step = {"fault": "zone.block", "parameters": {"zone": "z1"}, "late_joiners": False}
    mandate = agent.papers.mandate(expect={"hosts": 2}, steps=[
        {**step, "name": "long", "duration_ms": 200000, "hosts": ["elsewhere"]},
        {**step, "name": "lose", "duration_ms": 1500, "hosts": ["host"], "after": ["long"]}])
    assert "does not fit into" in answer(agent, mandate, "start")["reason"]
    assert answer(agent, mandate, "start", steps=["lose"])["is_accepted"]


def test_never_fits(agent):
    start(agent, window(-1, 1))
    long = agent.papers.mandate(step={"duration_ms": 200000}, not_after=when(86400))
    assert "step lose takes 200.0 s, longer than any of" in answer(agent, long, "plan")["reason"]


def test_in_the_hosts_own_time_zone(agent):
    """Five and a half hours ahead of UTC: the same words mean another time."""
    start(agent, window(-5, 5, KOLKATA), "Asia/Kolkata")
    assert "(Asia/Kolkata)" in answer(agent, agent.papers.mandate(), "plan")["limits"][-1]
    agent.courier.wait_event("fault.reverted", order=agent.order()["id"])
    agent.host.stop("grivetd")
    start(agent, window(-5, 5), "Asia/Kolkata")
    assert "(Asia/Kolkata); the next one opens at" in refusal(agent)
