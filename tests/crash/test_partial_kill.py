"""process.kill that can't be done whole: nobody dies, or who did is told."""

import pytest

from executor_rig import ExecutorRig
from lab.host import wait_until
from tracer import Tracer

VICTIMS = 3


@pytest.fixture
def rig(lab):
    rig = ExecutorRig(lab)
    rig.host.service("victims", ["bash", "-c", f"for ((i = 0; i < {VICTIMS}; i++)); do exec -a victim sleep 60 & done; wait"],
                     restart=False)
    wait_until(lambda: len(sleepers(rig)) == VICTIMS, 5, "the victims")
    rig.use("process.kill", {"cmdline": "^victim", "pick": "all"})
    return rig


def sleepers(rig):
    return {process["pid"] for process in rig.host.processes() if process["name"] == "sleep"}


def fail_at(rig, nth, error):
    """An order whose holder's @nth attempt to signal somebody fails; returns what it said in the end."""
    tracer = Tracer(wait_until(rig.find_reserve, 5), 0, ("pidfd_send_signal", nth, error))
    try:
        assert tracer.is_attached
        rig.send_order(20000)
        body = rig.courier.wait_event("fault.failed", order=rig.order)["body"]
    finally:
        hit = tracer.finish()[0]
    assert hit and body["reason"].startswith("can't signal process "), body
    return body


@pytest.mark.parametrize("nth", [1, VICTIMS])
def test_nobody_dies_when_one_can_not_be_signalled(rig, nth):
    """Each is tried before the first is signalled."""
    body = fail_at(rig, nth, "EPERM")
    assert body["is_reverted"] is True and "effect" not in body, body
    rig.send_order(20000)
    effect = rig.courier.wait_event("fault.exercised", order=rig.order)["body"]["effect"]
    assert len(effect["processes"]) == VICTIMS, "all were there"


def test_who_died_before_a_failure_is_told(rig):
    before = sleepers(rig)
    body = fail_at(rig, VICTIMS + 3, "EPERM")
    wait_until(lambda: len(sleepers(rig)) == 1, 5, "two deaths")
    assert body["is_reverted"] is None, body
    assert [victim["exe"] for victim in body["effect"]["processes"]] == ["/usr/bin/sleep"] * 2, body
    assert len(body["effect"]["processes"]) == len(before - sleepers(rig))


def test_who_outlived_the_signal_is_told(rig):
    """No effect by the deadline: they were signalled even so."""
    rig.host.service("deaf", ["bash", "-c", "trap '' TERM; exec -a deaf sleep 60"], restart=False)
    wait_until(lambda: len(sleepers(rig)) == VICTIMS + 1, 5, "the deaf one")
    rig.use("process.kill", {"cmdline": "^deaf", "signal": "TERM"})
    rig.send_order(1500)
    body = rig.courier.wait_event("fault.failed", order=rig.order)["body"]
    assert body["reason"] == "no effect could be measured: 0 of 1 processes have ended" and body["is_reverted"] is None, body
    (victim,) = body["effect"]["processes"]
    assert victim["exe"] == "/usr/bin/sleep" and not victim["is_gone"], body
