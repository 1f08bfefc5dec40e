"""A holder's bounds while it lives, and the jobs that it does not take."""

import os
import signal

import pytest

from lab.host import USERS, wait_until
from holder_rig import HolderRig
from scenarios import LONG_MS, back_at_once

CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 1 << 21, 1 << 24


def status(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_holder_is_confined(lab):
    rig = HolderRig(lab)
    rig.start(LONG_MS)
    found = status(rig.holder)
    assert found["Uid"].split() == [str(USERS["grivet-holder"])] * 4 and found["NoNewPrivs"] == "1"
    kept = int(found["CapEff"], 16)
    assert kept and not kept & CAP_SYS_ADMIN
    assert int(found["CapPrm"], 16) == int(found["CapBnd"], 16) == kept and int(found["CapAmb"], 16) == 0
    if int(status("self")["CapBnd"], 16) & CAP_SYS_RESOURCE:
        assert open(f"/proc/{rig.holder}/oom_score_adj").read() == "-900\n"
    timers = open(f"/proc/{rig.holder}/timers").read()
    assert f"signal: {int(signal.SIGKILL)}/" in timers and "ClockID: 7" in timers  # CLOCK_BOOTTIME
    kinds = [os.readlink(f"/proc/{rig.holder}/fd/{fd}") for fd in os.listdir(f"/proc/{rig.holder}/fd")]
    assert not [kind for kind in kinds if "memfd" in kind], "the job's memory is still open"


def test_record_says_how_to_undo(lab):
    rig = HolderRig(lab)
    rig.start(LONG_MS)
    lines = rig.host.read(f"/run/grivet/active/{rig.order}").splitlines()
    found = dict(line.partition(" ")[::2] for line in lines)
    assert found["order"] == rig.order and found["fault"] == "zone.block"
    assert found["holder_pid"] == status(rig.holder)["NSpid"].split()[-1]
    assert found["deadline_boot_nsec"] == str(rig.deadline)
    tables = {line.removeprefix("undo nft-table ") for line in lines if line.startswith("undo nft-table ")}
    assert {line.removeprefix("table ") for line in rig.tables()} <= tables


def test_sigterm_ends_like_a_halt(lab):
    rig = HolderRig(lab)
    rig.start(LONG_MS)
    back_at_once(rig, "SIGTERM to the holder", rig.signal(signal.SIGTERM))
    assert rig.wait_state("reverted")["revert_error_ms"] < 1000
    wait_until(lambda: rig.said("exit") == 0, 2, "the holder's exit")
    assert rig.records() == []


@pytest.mark.parametrize("left_ms, words", [(60, "ms are left until the deadline"), (-1000, "is already past")])
def test_jobs_without_time_are_refused(lab, left_ms, words):
    rig = HolderRig(lab)
    rig.start(left_ms, is_waiting=False)
    failed = rig.wait_state("failed")
    assert words in failed["reason"] and failed["is_reverted"]
    wait_until(lambda: rig.said("exit") == 1, 2, "the holder's exit")
    assert rig.records() == [] and rig.tables() == []
