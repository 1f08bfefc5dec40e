"""Each hand that ends a fault has a test that turns red without it: builds with the hand taken away, same scenarios."""

import signal
import subprocess

import pytest

import lab.host
from executor_rig import ExecutorRig
from lab.host import wait_until
from many import Late
from points import NSEC_PER_MSEC, WHOLE_MS, Left, Point, PointRig
from rig import GATE_MS, GRACE_MS
from scenarios import kill, stop, unsigned
from test_rollback_faults import cell

pytestmark = pytest.mark.xdist_group("mutations")  # one build folder

FOLDER = lab.host.BUILD / "mutations"
TARGETS = ["agent/grivetd", "agent/grivet-sweep"]
STOPPED, KILLED = stop("executor", "holder"), kill("executor", "holder")
ORPHANED = kill("executor", stopped=("holder",))


def devices(rig):
    """What has no lifetime of its own goes by its record, and nobody is left to read it but the sweep."""
    cell(rig, "network.shape", "executor and holder stopped")


def devices_at_once(rig):
    """The executor need not wait for the sweep."""
    cell(rig, "network.shape", "holder killed")


def burners(rig):
    """Their own timers end them, with everybody else stopped."""
    cell(rig, "cpu.burn", "all stopped")


def burners_at_once(rig):
    """They die with their holder."""
    cell(rig, "cpu.burn", "executor and holder killed")


def build_without(hands):
    """The build folder for mutations, without these hands."""
    again = ["--reconfigure"] if (FOLDER / "build.ninja").exists() else []
    options = [f"-Dmutations={','.join(hands)}", "-Dtests=false", "-Dtest_hooks=true"]  # points are let through by the hooks
    for command in (["meson", "setup", *again, FOLDER, lab.host.SOURCE, *options], ["ninja", "-C", FOLDER, *TARGETS]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return FOLDER


# hands taken away, scenario, does the sweep run?, what the failure says (None = another hand does the work)
CASES = {
    "timer": (["timer"], STOPPED, False, "left 3000 ms after the deadline"),
    "timer, but the sweep is there": (["timer"], STOPPED, True, None),
    "timer, and burners": (["timer"], burners, True, "left 1000 ms later|what the kernel ends is left"),
    "timer and sweep": (["timer", "sweep"], STOPPED, True, "left 3000 ms after the deadline"),
    "sweep, and devices": (["sweep"], devices, True, "left 1000 ms later"),
    "owner": (["owner"], KILLED, False, "traffic was not back 1000 ms after the kill"),
    "signature": (["signature"], unsigned, False, "an order whose mandate nobody signed"),
    "timeout": (["timeout"], STOPPED, False, "traffic was not back 1000 ms after the deadline"),
    "parent": (["parent"], ORPHANED, False, "traffic was not back 1000 ms after the kill"),
    "parent, and burners": (["parent"], burners_at_once, False, "left 1000 ms later"),
    "undo": (["undo"], devices_at_once, True, "left 1000 ms later"),
}


@pytest.mark.parametrize("name", CASES)
def test_mutation(tmp_path, monkeypatch, name):
    hands, scenario, has_sweep, words = CASES[name]
    monkeypatch.setattr(lab.host, "BUILD", build_without(hands))
    with lab.host.Lab(logs=tmp_path / "logs") as made:
        rig = ExecutorRig(made, has_sweep)
        if words is None:
            scenario(rig)
            result = rig.wait_result()
            assert result["fault"] == "zone.block" and int(result["reverted_usec"]) > 0
            print(f"{name}: the sweep was done {int(result['revert_error_nsec']) / 1e6:.1f} ms after the deadline")
            return
        with pytest.raises(AssertionError, match=words) as failure:
            scenario(rig)
        print(f"{name}: red as it should be: {failure.value}")


def test_points_see(tmp_path, monkeypatch):
    """What looks after each point sees a device that nobody undoes."""
    monkeypatch.setattr(lab.host, "BUILD", build_without(["sweep"]))
    with lab.host.Lab(logs=tmp_path / "logs") as made, pytest.raises(Late, match="left: .*grivet-"):
        PointRig(made).run(Point("sweep", "network.shape", None, 0, None), False)


def leave_alone(rig):
    pass


def hide_burners(rig):
    """As a holder would that was taken over: its record, which is its own word, names none."""
    rig.host.sh(f"sed -i /^undo/d /run/grivet/active/{rig.order}")
    rig.send_signal(rig.holder_pid(), signal.SIGKILL)


def test_a_look_that_fails_is_done_again(tmp_path):
    """No descriptor, no memory for a moment: what is undone is not told as a failure."""
    with lab.host.Lab(logs=tmp_path / "logs") as made:
        rig = PointRig(made)
        calls, _ = rig.list_calls(Point("holder", "network.block", None, 0, None))
        last = Point("holder", "network.block", "socket", calls.count("socket"), "EMFILE")
        _, said = wait_until(lambda: found if (found := rig.run(last, False))[0][0] else None, 20, "a run of as many calls")
    assert "fault.reverted" in said and "fault.failed" not in said, said


# Who can't undo it, so that a word too early is seen; what becomes of the holder, and then; what must be told; what is a lie.
LOOKS = {
    "at the end": (["revert", "undo"], Point("holder", "network.shape", None, 0, None), leave_alone, "fault.failed",
                   "fault.reverted"),
    "after a failure": (["revert", "undo"], Point("holder", "network.shape", "ppoll", 1, "EIO"), leave_alone, "fault.failed",
                        "fault.failed"),
    "by the executor": (["parent"], Point("holder", "cpu.burn", None, 0, None), hide_burners, "fault.interrupted", "fault.reverted"),
}


@pytest.mark.parametrize("name", LOOKS)
def test_looks(tmp_path, monkeypatch, name):
    """An undo that does nothing is no lie; not to look afterwards is one, and the points see it."""
    hands, point, meddle, told, lie = LOOKS[name]

    def live():
        with lab.host.Lab(logs=tmp_path / "logs") as made:
            rig = PointRig(made)
            rig.duration_ms = WHOLE_MS[1]
            rig.wait_ready()
            deadline_ns = rig.begin(point)
            rig.wait_armed(deadline_ns)
            meddle(rig)
            rig.wait_gone(deadline_ns + (GRACE_MS + GATE_MS) * NSEC_PER_MSEC)
            rig.tracer.finish()
            return rig.check_said(False)
    monkeypatch.setattr(lab.host, "BUILD", build_without(hands))
    said = live()
    assert told in said and "fault.reverted" in said and not said.get("fault.failed", {}).get("is_reverted"), said
    monkeypatch.setattr(lab.host, "BUILD", build_without([*hands, "look"]))
    with pytest.raises(Left, match=f"{lie}: said to be reverted"):
        live()
