"""A holder's bounds while it lives, and the jobs that it does not take."""

import os
import signal
import stat

from executor_rig import ExecutorRig
from lab.host import USERS, wait_until
from scenarios import LONG_MS, back_at_once

CAP_SYS_ADMIN, CAP_SYS_RESOURCE = 1 << 21, 1 << 24


def status_of(pid):
    lines = open(f"/proc/{pid}/status").read().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def test_holder_is_confined(lab):
    rig = ExecutorRig(lab)
    rig.start(LONG_MS)
    found = status_of(rig.holder)
    assert found["Uid"].split() == [str(USERS["grivet-holder"])] * 4 and found["NoNewPrivs"] == "1"
    kept = int(found["CapEff"], 16)
    assert kept and not kept & CAP_SYS_ADMIN
    assert int(found["CapPrm"], 16) == int(found["CapBnd"], 16) == kept and int(found["CapAmb"], 16) == 0
    if int(status_of("self")["CapBnd"], 16) & CAP_SYS_RESOURCE:
        assert open(f"/proc/{rig.holder}/oom_score_adj").read() == "-1000\n"
    timers = open(f"/proc/{rig.holder}/timers").read()
    assert f"signal: {int(signal.SIGKILL)}/" in timers and "ClockID: 7" in timers  # CLOCK_BOOTTIME
    kinds = [os.readlink(f"/proc/{rig.holder}/fd/{fd}") for fd in os.listdir(f"/proc/{rig.holder}/fd")]
    assert not [kind for kind in kinds if "memfd" in kind], "the job's memory is still open"


def test_record_says_how_to_undo(lab):
    rig = ExecutorRig(lab)
    rig.start(LONG_MS)
    lines = rig.host.read(f"/run/grivet/active/{rig.order}").splitlines()
    found = dict(line.partition(" ")[::2] for line in lines)
    assert found["order"] == rig.order and found["fault"] == "zone.block"
    assert found["holder_pid"] == status_of(rig.holder)["NSpid"].split()[-1]
    assert found["deadline_boot_nsec"] == str(rig.deadline)
    tables = {line.removeprefix("undo nft-table ") for line in lines if line.startswith("undo nft-table ")}
    assert {line.removeprefix("table ") for line in rig.tables()} <= tables


def test_holder_can_not_write_but_to_its_own_record(lab):
    """The record is root's, and all that a holder can do is append."""
    rig = ExecutorRig(lab)
    rig.start(LONG_MS)
    own = rig.host.path(f"/run/grivet/active/{rig.order}").stat()
    assert (own.st_uid, own.st_mode & 0o777) == (0, 0o644)
    folder = rig.host.path("/run/grivet/active").stat()
    assert (folder.st_uid, folder.st_mode & 0o7777) == (0, 0o755)
    written = []
    for fd in sorted(set(os.listdir(f"/proc/{rig.holder}/fd")) - {"0", "1", "2"}):
        flags = int(open(f"/proc/{rig.holder}/fdinfo/{fd}").read().split("flags:")[1].split()[0], 8)
        file = os.stat(f"/proc/{rig.holder}/fd/{fd}")
        if stat.S_ISREG(file.st_mode) and flags & os.O_ACCMODE:
            written.append((file.st_ino, bool(flags & os.O_APPEND)))
    assert written == [(own.st_ino, True)]


def test_sigterm_ends_like_a_halt(lab):
    rig = ExecutorRig(lab)
    rig.start(LONG_MS)
    back_at_once(rig, "SIGTERM to the holder", rig.signal("holder", number=signal.SIGTERM))
    body = rig.told()
    assert body["revert_error_ms"] < 1000 and body["ended_by"] == "halt"
    wait_until(lambda: not rig.records(), 2, "the record's removal")


def test_too_little_time_is_not_used(lab):
    """An order that takes almost all of its time to arrive; how long that is depends on the machine. The executor lets it in,
    and a millisecond or two later the holder finds too little left."""
    rig = ExecutorRig(lab)
    length_ms = 105
    ends = {"order.refused": 1, "fault.reverted": -1, "fault.failed": 0}  # it came too late, early, just so

    def end():
        return next((event for event in rig.courier.events()
                     if event.get("order") == rig.order and event["kind"] in ends), None)

    def failed():
        nonlocal length_ms
        rig.send_order(1000, length_ms=length_ms)
        event = wait_until(end, 5, "the order's end")
        length_ms += ends[event["kind"]]
        return event if event["kind"] == "fault.failed" else None
    body = wait_until(failed, 20, "an order that comes just before its end")["body"]
    assert "ms are left until the deadline" in body["reason"] and body["is_reverted"]
    wait_until(lambda: not rig.records(), 2, "the record's removal")
    assert rig.tables() == []
