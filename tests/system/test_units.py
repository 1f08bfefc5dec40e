"""The units under a real systemd: they start, and whatever happens to the executor, its fault ends."""

import pytest

from installed import FAR

SECOND = 1_000_000_000
GRACE = 2 * SECOND  # RECORD_GRACE_NSEC of common/record.h
WATCHDOG = 10 * SECOND  # WatchdogSec= of grivetd.service and grivet-sweep.service
EARLY = 20_000_000  # timed elements of nftables are that exact
SHAPE = {"cidrs": [f"{FAR}/32"], "rate_kbit": 1000}  # its devices have no lifetime of their own


def test_units_are_well_formed(machine):
    said = machine.run(["sh", "-c", "systemd-analyze verify --man=no /usr/lib/systemd/system/grivet*"])
    assert not said.stdout + said.stderr


def test_units_start(machine):
    for name in ("grivetd", "grivet-sweep", "grivet-prober"):
        machine.wait_for(lambda name=name: machine.is_active(name), what=f"{name} to be active")
        assert machine.unit(name, "NRestarts") == {"NRestarts": "0"}
    assert machine.unit("grivet-sweep-boot", "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}


def test_fault_ends_at_its_deadline(machine):
    machine.block(3)
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    assert -EARLY < machine.opened_at() - machine.deadline < SECOND


@pytest.mark.parametrize("unit, most", [("grivetd", 2.7), ("grivet-sweep", 1.9), ("grivet-sweep-boot", 1.9), ("grivet-ready", 0.7),
                                        ("grivet-courier", 1.2), ("grivet-prober", 1.2)])
def test_exposure(machine, unit, most):
    said = machine.run(["systemd-analyze", "security", "--no-pager", f"--threshold={most * 10:.0f}", unit], check=False)
    assert said.returncode == 0, said.stdout


@pytest.mark.parametrize("fault, parameters", [("zone.block", {"zone": "z1"}), ("cpu.burn", {"load_percent": 50}),
                                               ("network.shape", {"cidrs": [f"{FAR}/32"], "delay_ms": 50})])
def test_fault_within_the_sandbox(machine, fault, parameters):
    answer = machine.answer(fault, parameters)
    assert answer["is_accepted"] and answer["summary"], answer
    machine.begin(fault, parameters, 3)
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]


# Listens, and is python3.
VICTIM = "import signal, socket; listener = socket.create_server(('', 7000)); signal.pause()"


@pytest.mark.parametrize("parameters", [{"exe": "*/python3*", "user": "daemon"}, {"listens_on": 7000}, {"unit": "victim.service"}])
def test_process_kill_within_the_sandbox(machine, parameters):
    """Asked first: the unit's /proc hides processes from those without rights, who are to plan all the same."""
    machine.run(["systemd-run", "--quiet", "--collect", "--unit=victim", "--uid=daemon", "python3", "-c", VICTIM])
    try:
        machine.wait_for(lambda: machine.run(["grep", ":1B58 ", "/proc/net/tcp"], check=False).stdout, what="a listener")
        answer = machine.answer("process.kill", parameters)
        assert answer["is_accepted"] and "how many can't be told" in answer["summary"][0], answer
        machine.begin("process.kill", parameters, 3)
        machine.wait_for(lambda: not machine.is_active("victim"), what="the victim's end")
    finally:
        machine.run(["systemctl", "stop", "victim"], check=False)


def test_readiness_within_the_sandbox(machine):
    machine.tell_contact()
    machine.run(["systemctl", "start", "grivet-ready"])
    assert machine.unit("grivet-ready", "ExecMainStatus") == {"ExecMainStatus": "0"}, machine.sh("journalctl -u grivet-ready")


def test_boot_sweep_within_the_sandbox(machine):
    """It ends another user's process, and removes what that leaves."""
    machine.begin("network.shape", SHAPE, 60)
    machine.signal("STOP", "grivetd", "grivet-sweep")
    machine.run(["systemctl", "start", "grivet-sweep-boot"])
    assert not machine.left()
    machine.signal("CONT", "grivetd", "grivet-sweep")
    assert [body["ended_by"] for body in machine.told()] == ["sweep"]


def test_executor_killed(machine):
    machine.block(30)
    at = machine.signal("KILL", "grivetd")
    assert machine.opened_at() < at + SECOND
    machine.wait_restarted("grivetd", 1)
    machine.connect()
    assert [body["ended_by"] for body in machine.told()] in (["kernel"], ["sweep"])  # the sweep removed the record


def test_everything_killed(machine):
    machine.block(30)
    at = machine.signal("KILL", "grivetd", "grivet-sweep", "holder")
    assert machine.opened_at() < at + SECOND
    for name in ("grivetd", "grivet-sweep"):
        machine.wait_restarted(name, 1)
    machine.connect()
    assert [body["ended_by"] for body in machine.told()] in (["kernel"], ["sweep"])  # the sweep removed the record


def test_executor_and_holder_hang(machine):
    """Timed elements let the packets through, the kernel's timer ends the holder, the watchdog the executor."""
    machine.block(4)
    at = machine.signal("STOP", "grivetd", "holder")
    assert -EARLY < machine.opened_at() - machine.deadline < SECOND
    machine.wait_for(lambda: not machine.left(), what="the kernel's timer and the sweep")
    assert machine.now() < machine.deadline + GRACE + SECOND
    machine.wait_for_watchdog("grivetd")
    assert machine.now() < at + WATCHDOG + 3 * SECOND
    machine.connect()
    assert len(machine.told()) == 1


def test_everything_killed_that_could_remove_a_device(machine):
    machine.begin("network.shape", SHAPE, 30)
    at = machine.signal("KILL", "grivetd", "grivet-sweep", "holder")
    machine.wait_for(lambda: not machine.left(), what="what the next lives do")
    assert machine.now() < at + 3 * SECOND
    for name in ("grivetd", "grivet-sweep"):
        machine.wait_restarted(name, 1)
    machine.connect()
    assert len(machine.told()) == 1


def test_sweep_hangs(machine):
    """Its watchdog starts it anew. It reads the records, and ends what executor and holder no longer can."""
    machine.begin("network.shape", SHAPE, 17)
    deadline = machine.record_deadline()
    at = machine.signal("STOP", "grivet-sweep")
    machine.wait_for_watchdog("grivet-sweep")
    assert WATCHDOG - SECOND < machine.now() - at < WATCHDOG + 3 * SECOND
    at = machine.signal("STOP", "grivetd", "holder")
    assert deadline + GRACE + SECOND < at + WATCHDOG, "the executor's own watchdog would be first"
    machine.wait_for(lambda: not machine.left(), what="what the sweep does")
    assert machine.now() < deadline + GRACE + SECOND
    machine.signal("CONT", "grivetd")
    assert [body["ended_by"] for body in machine.told()] == ["sweep"]


def test_stop_in_mid_fault(machine):
    machine.block(60)
    machine.run(["systemctl", "stop", "grivetd"])
    assert not machine.left()
    stopped = machine.now()
    assert machine.opened_at() <= stopped
    machine.run(["systemctl", "start", "grivetd"])
    machine.connect()
    assert [body["ended_by"] for body in machine.told()] == ["executor"]


def version(machine, name):
    """What the program says that runs, whatever file has its name by now."""
    return machine.sh(f"/proc/{machine.pid(name)}/exe --version").strip()


def test_upgrade_in_mid_fault(machine):
    old = version(machine, "grivetd")
    machine.block(60)
    machine.upgrade()
    assert machine.is_cut(), "new files alone end nothing"
    machine.run(["systemctl", "restart", "grivetd", "grivet-sweep"])
    assert not machine.left()
    machine.connect()
    assert [body["ended_by"] for body in machine.told()] == ["executor"]
    assert machine.seen("fault.interrupted")
    assert version(machine, "grivetd") == f"{old}+next" and version(machine, "grivet-sweep").endswith("+next")
    versions = [event["body"]["version"] for event in machine.courier.events() if event["kind"] == "agent.started"]
    assert versions == [word.removeprefix("grivetd ") for word in (old, f"{old}+next")], "one journal for both"


def test_new_sweep_beside_an_old_executor(machine):
    """It reads what that one has recorded, and touches nothing before it is due."""
    old = version(machine, "grivetd")
    machine.begin("network.shape", SHAPE, 8)
    machine.upgrade()
    machine.run(["systemctl", "restart", "grivet-sweep"])
    assert version(machine, "grivet-sweep").endswith("+next") and version(machine, "grivetd") == old
    (told,) = machine.told()
    assert told["ended_by"] == "deadline" and 0 <= told["revert_error_ms"] < 1000, told
    machine.begin("network.shape", SHAPE, 4)
    deadline = machine.record_deadline()
    machine.signal("STOP", "grivetd", "holder")
    machine.wait_for(lambda: not machine.left(), what="what the sweep does")
    assert deadline + GRACE <= machine.now() < deadline + GRACE + SECOND
    machine.signal("CONT", "grivetd")
    (told,) = machine.told()
    said = machine.sh("journalctl --no-pager --output=cat --unit=grivet-sweep")
    assert told["ended_by"] == "sweep" and "(deadline and grace were past)" in said, said


def test_executor_outlives_an_oom_kill_in_its_unit(machine):
    """OOMPolicy=: as when a load process of a fault is killed for memory."""
    machine.block(5)
    machine.run(["systemctl", "set-property", "--runtime", "grivetd", "MemoryMax=64M"])
    hog = "echo $$ >/sys/fs/cgroup/grivet.slice/grivetd.service/cgroup.procs; echo 1000 >/proc/$$/oom_score_adj; tail /dev/zero"
    assert machine.run(["sh", "-c", hog], check=False).returncode != 0
    machine.run(["systemctl", "set-property", "--runtime", "grivetd", "MemoryMax="])
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    assert machine.unit("grivetd", "NRestarts") == {"NRestarts": "0"}


def limit(machine, unit="grivetd", **properties):
    """The kernel tells of each page that it refuses: an emulated serial port has no time for that."""
    machine.run(["dmesg", "--console-off"])
    words = [f"{name}={value}" for name, value in properties.items()]
    machine.run(["systemctl", "set-property", "--runtime", unit, *words])


def test_no_more_tasks(machine):
    """TasksMax= is reached: nobody in the unit can fork."""
    machine.block(5)
    limit(machine, TasksMax=2)
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    assert -EARLY < machine.opened_at() - machine.deadline < SECOND
    machine.block(3)  # by the holder in reserve
    assert machine.told()
    machine.send_order("network.block", {"cidrs": [f"{FAR}/32"]}, 30)
    machine.wait_for(lambda: machine.seen("fault.failed"), what="the refusal")
    (failed,) = machine.seen("fault.failed")
    assert failed["is_reverted"] and failed["reason"] == "host: can't start a holder: Resource temporarily unavailable"
    assert not machine.left() and not machine.is_cut()
    limit(machine, TasksMax="infinity")
    machine.block(3)
    assert machine.told()


@pytest.mark.parametrize("fault, parameters", [("network.block", {"cidrs": [f"{FAR}/32"]}), ("network.shape", SHAPE),
                                               ("cpu.burn", {"load_percent": 50, "mode": "contend"})])
def test_no_more_memory(machine, fault, parameters):
    """MemoryMax= is below what the unit has locked: the kernel gives it not one page more, and finds nobody to kill.

    Meanwhile the unit takes the only processor: load of the mode `background` would not even get its share to die in.
    """
    machine.begin(fault, parameters, 6)
    deadline = machine.record_deadline()
    limit(machine, MemoryMax="3M")
    machine.wait_for(lambda: not machine.left(), what="the end")
    assert machine.now() < deadline + GRACE + SECOND
    assert "no killable processes" in machine.sh("dmesg"), "there was memory all the time"
    limit(machine, MemoryMax="infinity")
    assert len(machine.told()) == 1


def test_no_more_memory_for_a_load(machine):
    """The first that the kernel kills, and the last: the load and its holder have offered themselves."""
    machine.begin("cpu.burn", {"load_percent": 50}, 30)
    limit(machine, f"grivet-{machine.order}.scope", MemoryMax="4K")
    (told,) = machine.told()
    assert told["ended_by"] in ("kernel", "executor") and machine.seen("fault.interrupted"), machine.courier.events()
    machine.wait_for(lambda: not machine.left(), what="the end")
    assert machine.unit("grivetd", "NRestarts") == {"NRestarts": "0"}


def test_an_order_without_memory(machine):
    """An executor that gets no page can say nothing. Whatever the order came to is over, and the next life tells so."""
    pid = machine.pid("grivetd")
    limit(machine, MemoryMax="3M")
    machine.send_order("network.block", {"cidrs": [f"{FAR}/32"]}, 20)
    # The watchdog ends it, or a holder in reserve has taken the order nevertheless.
    machine.wait_for(lambda: machine.sh(f"[ -d /proc/{pid} ] || echo gone; ls /run/grivet/active").strip(), 60, "either")
    limit(machine, MemoryMax="infinity")
    machine.wait_for(lambda: machine.is_active("grivetd"), what="the executor's next life")
    machine.connect()
    machine.wait_for(lambda: machine.seen("order.refused", "fault.failed", "fault.reverted"), what="the word of it")
    assert not machine.left() and not machine.is_cut()


def test_memory_of_the_machine_exhausted(machine):
    machine.block(5)
    hog = "from mmap import *; [mmap(-1, 2**28, flags=MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE) for _ in range(3)]"
    machine.run(["systemd-run", "--quiet", "--wait", "python3", "-c", hog], check=False)
    assert "Out of memory" in machine.sh("dmesg")
    (told,) = machine.told()
    assert told["ended_by"] == "deadline" and told["revert_error_ms"] < 1000
    assert machine.opened_at() > machine.deadline - EARLY
    assert machine.unit("grivetd", "NRestarts") == {"NRestarts": "0"}
