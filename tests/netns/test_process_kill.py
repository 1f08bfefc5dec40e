"""process.kill: how many it takes, whom it spares, and what it calls exercised."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest

from lab.host import wait_until
from netns.fault_rig import own_parameters, spawn, net, start  # noqa: F401
from netns.services import services  # noqa: F401


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


def hold(*sockets):
    """A process that has them open."""
    return subprocess.Popen(["/usr/bin/sleep", "60"], pass_fds=[one.fileno() for one in sockets])


def is_killed(process):
    return process.wait(3) == -signal.SIGKILL


@pytest.fixture
def processes():
    made = []
    yield made
    for process in made:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_kills_who_listens(net, start, processes, kind, family):
    """Not the one on the port beside it, nor one with a connection to or from that port, nor one in another network."""
    address = "::1" if family == socket.AF_INET6 else "127.0.0.1"
    with net.listen(net.here, 7000, family, kind) as listener, net.listen(net.here, 7001, family, kind) as beside, \
            net.listen(net.there, 7000, family, kind) as there, net.open(net.here, family, kind) as client:
        client.connect((address, 7000))
        accepted = listener.accept()[0] if kind == socket.SOCK_STREAM else client
        processes += [hold(beside, listener), hold(beside), hold(client), hold(accepted), hold(there)]
        accepted.close()
    driver = start("process.kill", {"listens_on": 7000, "exe": "*/sleep", "pick": "all"})
    plan = driver.arm()
    assert plan["summary"][0] == "send SIGKILL to 1 of 1 matching processes"
    assert "listens_on: sockets in a container's own network are not seen" in plan["limits"]
    assert is_killed(processes[0]) and all(one.poll() is None for one in processes[1:])


@pytest.mark.parametrize("more, count", [({"pick": "all"}, 501), ({"pick": "percent", "percent": 99}, 496),
                                         ({"pick": "n", "count": 500}, 500)])
def test_more_than_can_be_held_are_refused(net, start, processes, more, count):
    """Before anybody is signalled. As many as can be are killed and told."""
    processes += spawn(501)
    parameters = {**own_parameters("process.kill"), **more}
    wait_until(lambda: all(os.readlink(f"/proc/{one.pid}/exe") == "/usr/bin/sleep" for one in processes), 5)
    driver = start("process.kill", parameters)
    if count == 501:
        assert driver.read("error") == "501 of 501 matching processes are meant, and at most 500 can be killed at once: " \
            "match fewer of them, or take fewer with `pick: n`"
        assert all(one.poll() is None for one in processes)
        return
    driver.arm()
    effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 10)
    told = len(effect["processes"]) + effect.get("more_processes", 0)
    assert told == count == len([one for one in processes if one.poll() is not None])
    assert 5000 < len(json.dumps(effect)) < 32768


def test_what_one_event_has_no_room_for_is_counted(net, start, processes, tmp_path):
    program = tmp_path / ("long" * 30) / "sleep"
    program.parent.mkdir()
    program.write_bytes(pathlib.Path("/usr/bin/sleep").read_bytes())
    program.chmod(0o755)
    processes += [subprocess.Popen([program, "60"]) for _ in range(200)]
    driver = start("process.kill", {"exe": f"{tmp_path}/*", "pick": "all"})
    driver.arm()
    effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 10)
    assert len(effect["processes"]) + effect["more_processes"] == 200 and effect["more_processes"] > 50
    assert 20000 < len(json.dumps(effect, separators=(",", ":"))) < 32768 - 4000
    assert all(one.poll() is not None for one in processes)


def test_a_program_whose_name_is_no_text(net, start, processes, tmp_path):
    program = bytes(tmp_path) + b"/sl\xff\xc3\xa9p"
    pathlib.Path(os.fsdecode(program)).write_bytes(pathlib.Path("/usr/bin/sleep").read_bytes())
    os.chmod(program, 0o755)
    processes.append(subprocess.Popen([program, "60"]))
    driver = start("process.kill", {"exe": f"{tmp_path}/*"})
    assert driver.arm()["summary"][1] == f"matches: {processes[0].pid} {tmp_path}/sl???p"
    effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 3)
    assert effect == {"processes": [{"pid": processes[0].pid, "exe": f"{tmp_path}/sl???p", "is_gone": True}]}


def test_nobody_listens(net, start):
    assert "no process matches" in start("process.kill", {"listens_on": 7000}).read("error")


@pytest.mark.parametrize("user", [64005, "daemon"])
def test_kills_processes_of_a_user(net, start, processes, user):
    own = own_parameters("process.kill")
    argv0 = own["cmdline"].strip("^")
    for uid in (user, 64006):
        processes.append(subprocess.Popen([argv0.strip() + " ", "60"], executable="/usr/bin/sleep", user=uid))
    driver = start("process.kill", {"user": user, **own, "pick": "all"})
    driver.arm()
    assert is_killed(processes[0]) and processes[1].poll() is None


def test_unknown_user(net, start):
    assert start("process.kill", {"user": "nobody-of-ours"}).read("error") == \
        "user: /etc/passwd has no 'nobody-of-ours', and no other source of names is asked"


@pytest.mark.parametrize("percent, killed", [(1, 1), (25, 1), (26, 2), (50, 2), (100, 4)])
def test_kills_a_share_rounded_up(net, start, processes, percent, killed):
    processes += spawn(4)
    driver = start("process.kill", {**own_parameters("process.kill"), "pick": "percent", "percent": percent})
    assert driver.arm()["summary"][0] == f"send SIGKILL to {killed} of 4 matching processes"
    effect = wait_until(lambda: (e := driver.ask("exercise")) and "error" not in e and e, 3)
    assert len(effect["processes"]) == killed
    assert len([one for one in processes if one.poll() is not None]) == killed


def test_kills_processes_of_a_unit(net, start, services, processes):
    """The last part of the cgroup's path is the unit's name: no part of it, and no cgroup below."""
    name = f"{services.top.name}.service"
    unit, below, other = (services(path) for path in (f"a.slice/{name}", f"a.slice/{name}/below", f"a.slice/x{name}"))
    driver = start("process.kill", {"unit": name, "pick": "all"})
    plan = driver.arm()
    assert any(words.startswith("unit: processes in cgroups of their own below") for words in plan["limits"])
    assert is_killed(unit.process) and below.process.poll() is None and other.process.poll() is None
