"""cpu.burn: how much it takes, alone and beside a rival, and that nobody has to be alive to end it."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from lab.host import wait_until
from netns.fault_rig import burners, net, start  # noqa: F401
from netns.services import services  # noqa: F401

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def shares(*pids, seconds=2.0):
    """CPU shares by the kernel's books, not by their own."""
    at, used = time.monotonic(), [cpu_seconds(pid) for pid in pids]
    time.sleep(seconds)  # a share is used time by time that has passed
    return [(cpu_seconds(pid) - before) / (time.monotonic() - at) for pid, before in zip(pids, used)]


@pytest.fixture
def rival():
    """Somebody who wants all of the CPU that the burner will be on."""
    first = min(os.sched_getaffinity(0))
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"],
                               preexec_fn=lambda: os.sched_setaffinity(0, {first}))
    yield process
    process.kill()
    process.wait()


def burn(start, **parameters):
    driver = start("cpu.burn", {"cpus": 1, **parameters})
    plan = driver.arm()
    return driver, plan, burners(driver.order)[0]


def test_holds_its_share_beside_a_busy_rival(net, start, rival):
    """A loop that only sleeps and spins by the clock gets half of what it wants here."""
    driver, plan, pid = burn(start, load_percent=40, mode="contend")
    assert plan["summary"] == ["keep 1 CPU busy for 40 % of the time, against whatever else runs there"]
    assert plan["is_victim"]
    taken, left = shares(pid, rival.pid)
    effect = driver.ask("measure")
    print(f"40 % wanted beside a rival: {taken:.1%} taken, {left:.1%} left to it, {effect['achieved_percent']:.1f} % told")
    # Others may be busy here as well: then nobody gets more than his turn, and a rival who wants all shows how much that is.
    assert 0.7 * min(0.4, left) < taken < 0.5 and "error" not in driver.ask("exercise")
    driver.end()
    assert not burners(driver.order)


def test_background_yields_to_a_rival(net, start, rival):
    driver, _, pid = burn(start, load_percent=80)
    taken, = shares(pid)
    assert taken < 0.2, "a service that wants the CPU gets it"
    effect = driver.ask("exercise")
    assert "error" not in effect and effect["achieved_percent"] < 20 and effect["idle_percent"] < 20


@pytest.mark.parametrize("mode", ["contend", "background"])
def test_to_wait_for_others_is_no_interference(net, start, rival, mode):
    driver, _, pid = burn(start, load_percent=100, mode=mode)
    for _ in range(5):
        shares(pid, rival.pid, seconds=1)
        assert "error" not in driver.ask("verify")


def test_a_burner_that_never_runs_is_interference(net, services, start):
    driver, _, pid = burn(start, load_percent=20, mode="contend")
    frozen = services.top / "frozen"
    frozen.mkdir()
    (frozen / "cgroup.procs").write_text(str(pid))
    assert "error" not in driver.ask("verify")
    (frozen / "cgroup.freeze").write_text("1")
    begun = time.monotonic()
    found = wait_until(lambda: driver.ask("verify").get("error"), 6)
    assert found == f"the burner on CPU {min(os.sched_getaffinity(0))} is kept from running"
    assert time.monotonic() - begun > 2.5, "one look tells nothing"
    driver.end()
    wait_until(lambda: not (frozen / "cgroup.procs").read_text(), 5, "the cgroup to be empty")


def test_what_it_does_not_reach_is_not_exercised(net, start):
    driver, _, pid = burn(start, load_percent=100, mode="contend")
    os.kill(pid, signal.SIGSTOP)
    name = f"the burner on CPU {min(os.sched_getaffinity(0))}"
    stopped = f"{name} was stopped by a signal"
    assert wait_until(lambda: driver.ask("verify").get("error"), 2) == stopped
    # The rest of the machine may be busy enough by itself.
    assert wait_until(lambda: (e := driver.ask("exercise"))["error"] != "too early to tell" and e, 2)["error"] == stopped
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: driver.ask("verify").get("error"), 2) == f"{name} is gone"


def test_its_own_timer_ends_it_at_the_deadline(net, start):
    """Whoever could end it is stopped; the burner as well."""
    begun = time.clock_gettime(time.CLOCK_BOOTTIME)
    driver = start("cpu.burn", {"cpus": 2, "load_percent": 10}, duration_ms=1500)
    driver.arm()
    pids = burners(driver.order)
    assert len(pids) == 2
    os.kill(driver.process.pid, signal.SIGSTOP)
    os.kill(pids[0], signal.SIGSTOP)
    wait_until(lambda: not burners(driver.order), 4, "the kernel to end the burners")
    assert time.clock_gettime(time.CLOCK_BOOTTIME) - begun > 1.4


def test_more_cpus_than_there_are_is_refused(net, start):
    driver = start("cpu.burn", {"cpus": 1000, "load_percent": 10})
    assert driver.read("error").startswith("cpus: 1000 of ")


@pytest.mark.parametrize("load", [0, 101])
def test_load_is_a_percentage(net, start, load):
    assert "load_percent" in start("cpu.burn", {"load_percent": load}).read("error")
