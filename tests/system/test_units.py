"""The units under a real systemd: they start, and whatever happens to the executor, its fault ends."""

import pytest

from installed import FAR, Installed

SECOND = 1_000_000_000
GRACE = 2 * SECOND  # RECORD_GRACE_NSEC of common/record.h
WATCHDOG = 10 * SECOND  # WatchdogSec= of grivetd.service
EARLY = 20_000_000  # timed elements of nftables are that exact


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with Installed(tmp_path_factory.mktemp("units")) as made:
        made.boot()
        made.wire()
        made.install()
        made.configure()
        made.start()
        yield made


@pytest.fixture(autouse=True)
def clean(machine):
    """Every test finds and leaves a machine on which the executor runs and no fault does."""
    machine.run(["systemctl", "reset-failed", "grivetd", "grivet-sweep"])  # NRestarts as well
    machine.connect()
    yield
    assert machine.is_active("grivetd") and machine.is_active("grivet-sweep")
    assert not machine.left() and not machine.is_cut()


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


@pytest.mark.parametrize("unit, most", [("grivetd", 2.7), ("grivet-courier", 1.2), ("grivet-prober", 1.2)])
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
VICTIM = "import socket, time; listener = socket.create_server(('', 7000)); time.sleep(1000)"


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
    machine.wait_restarted("grivetd", 1)
    assert machine.now() < at + WATCHDOG + 3 * SECOND
    machine.connect()
    assert len(machine.told()) == 1


def test_stop_in_mid_fault(machine):
    machine.block(60)
    machine.run(["systemctl", "stop", "grivetd"])
    assert not machine.left()
    stopped = machine.now()
    assert machine.opened_at() <= stopped
    machine.run(["systemctl", "start", "grivetd"])
    machine.connect()
    assert [body["ended_by"] for body in machine.told()] == ["executor"]


def test_upgrade_in_mid_fault(machine):
    machine.block(60)
    machine.install()
    assert machine.is_cut(), "new files alone end nothing"
    machine.run(["systemctl", "restart", "grivetd", "grivet-sweep"])
    assert not machine.left()
    machine.connect()
    assert [body["ended_by"] for body in machine.told()] == ["executor"]
    assert machine.seen("fault.interrupted")
    for name in ("grivetd", "grivet-sweep"):
        assert machine.sh(f"readlink /proc/{machine.pid(name)}/exe") == f"/usr/sbin/{name}\n"


def test_executor_outlives_an_oom_kill_in_its_unit(machine):
    """OOMPolicy=: as when a load process of a fault is killed for memory."""
    machine.block(5)
    machine.run(["systemctl", "set-property", "--runtime", "grivetd", "MemoryMax=64M"])
    hog = "echo $$ >/sys/fs/cgroup/grivet.slice/grivetd.service/cgroup.procs; echo 1000 >/proc/$$/oom_score_adj; tail /dev/zero"
    assert machine.run(["sh", "-c", hog], check=False).returncode != 0
    machine.run(["systemctl", "set-property", "--runtime", "grivetd", "MemoryMax="])
    assert [body["ended_by"] for body in machine.told()] == ["deadline"]
    assert machine.unit("grivetd", "NRestarts") == {"NRestarts": "0"}


def test_memory_of_the_machine_exhausted(machine):
    machine.block(5)
    hog = "from mmap import *; [mmap(-1, 2**28, flags=MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE) for _ in range(3)]"
    machine.run(["systemd-run", "--quiet", "--wait", "python3", "-c", hog], check=False)
    assert "Out of memory" in machine.sh("dmesg")
    (told,) = machine.told()
    assert told["ended_by"] == "deadline" and told["revert_error_ms"] < 1000
    assert machine.opened_at() > machine.deadline - EARLY
    assert machine.unit("grivetd", "NRestarts") == {"NRestarts": "0"}
