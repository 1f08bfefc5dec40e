"""process.kill: how many it takes, whom it spares, and what it calls exercised."""

import os
import pathlib
import subprocess
import sys

import pytest

from lab.host import wait_until
from netns.fault_rig import own_parameters, spawn, net, start  # noqa: F401


@pytest.mark.parametrize("pick, count, killed", [("one", None, 1), ("n", 2, 2), ("all", None, 3)])
def test_kills_as_many_as_asked(net, start, pick, count, killed):
    victims = spawn(3)
    parameters = {**own_parameters("process.kill"), "pick": pick, "signal": "TERM"}
    driver = start("process.kill", parameters | ({"count": count} if count else {}))
    try:
        plan = driver.arm()
        assert plan["summary"][0] == f"send SIGTERM to {killed} of 3 matching processes"
        effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 3)
        pids = {process["pid"] for process in effect["processes"]}
        assert len(pids) == killed and all(process["is_gone"] for process in effect["processes"])
        assert {victim.pid for victim in victims if victim.poll() is not None} == pids
    finally:
        for victim in victims:
            victim.kill()
            victim.wait()


def test_protected_processes_survive_a_kill_of_all(net, start, tmp_path):
    """By the name of the program: a sshd, a grivetd and one that the policy names stay; the fourth goes."""
    names = ["sshd", "grivetd", "database", "worker"]
    processes = {}
    for name in names:
        (tmp_path / name).write_bytes(pathlib.Path("/usr/bin/sleep").read_bytes())
        (tmp_path / name).chmod(0o755)
        processes[name] = subprocess.Popen([tmp_path / name, "60"])
    driver = start("process.kill", {"exe": f"{tmp_path}/*", "pick": "all"}, protected_processes=["database"])
    try:
        plan = driver.arm()
        assert "3 matching processes are protected and stay" in plan["limits"]
        wait_until(lambda: "error" not in driver.ask("exercise"), 3)
        assert [name for name in names if processes[name].poll() is not None] == ["worker"]
    finally:
        for process in processes.values():
            process.kill()
            process.wait()


def test_a_signal_that_ends_nobody_is_not_exercised(net, start):
    victim = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGHUP, "
                               "signal.SIG_IGN); print(1, flush=True); time.sleep(60)", "EXAMPLE" + str(os.getpid())],
                              stdout=subprocess.PIPE)
    try:
        victim.stdout.readline()
        driver = start("process.kill", {"cmdline": f"EXAMPLE{os.getpid()}$", "signal": "HUP"})
        driver.arm()
        assert driver.ask("exercise")["error"] == "0 of 1 processes have ended"
        assert victim.poll() is None
    finally:
        victim.kill()
        victim.wait()
        victim.stdout.close()


def test_nothing_matches(net, start):
    driver = start("process.kill", {"exe": "/nowhere/*"})
    assert "no process matches" in driver.read("error")
