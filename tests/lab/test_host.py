"""The lab's own promises: hosts share nothing by accident, their init does its work, and nothing outlives a lab."""

import os
import pathlib
import signal
import subprocess
import sys

import pytest

from lab.host import PYTHON, SOURCE, Host, Lab, LabError, find_cgroup, wait_until

NOTIFY = "import os, socket, time; s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); %s time.sleep(60)"
READY = NOTIFY % "s.sendto(b'READY=1', os.environ['NOTIFY_SOCKET']);"
SILENT = NOTIFY % ""


def test_hosts_share_nothing(lab):
    first, second = lab.host("first"), lab.host("second")
    for folder in ("/run", "/tmp", "/etc/grivet", "/var/lib/grivet", "/root", "/dev/shm"):
        path = f"{folder}/{lab.name}"
        first.sh(f"touch {path}")
        assert second.run(["ls", path], check=False).returncode != 0
        assert not os.path.exists(path)
    assert first.sh("hostname").stdout == "first\n"
    assert first.sh("id -un 64001").stdout == "grivet-courier\n"
    assert subprocess.run(["id", "-un", "64001"], capture_output=True, check=False).returncode != 0
    for name in ("net", "mnt", "pid", "uts", "ipc", "cgroup"):
        spaces = {os.readlink(f"/proc/{pid}/ns/{name}") for pid in (first.init_pid, second.init_pid, "self")}
        assert len(spaces) == 3, name


def test_machine_cannot_be_written(host):
    for path in ("/run/lab/etc/mark", "/run/lab/source/mark", "/run/lab/build/mark"):
        refused = host.run(["touch", path], check=False)
        assert "Read-only file system" in refused.stderr
    assert not (SOURCE / "mark").exists()


def test_users_and_input(host):
    assert host.run(["id", "-u"], user="grivet-prober").stdout == "64002\n"
    assert host.run(["cat"], text="hello").stdout == "hello"
    with pytest.raises(LabError, match="exit code 3\nout\nbad"):
        host.sh("echo out; echo bad >&2; exit 3")
    with pytest.raises(LabError, match="not done after 0.2 s"):
        host.run(["sleep", "60"], timeout=0.2)
    host.wait_for(lambda: "sleep" not in [p["name"] for p in host.processes()], what="the end of sleep")


def test_service_is_restarted(host):
    host.service("nap", ["sleep", "60"], user="grivet-prober")
    first = host.outside_pid("nap")
    assert os.stat(f"/proc/{first}").st_uid == 64002
    host.kill("nap")
    host.wait_for(lambda: host.status("nap")["starts"] == 2 and host.status("nap")["state"] == "active")
    host.set_restart("nap", False)
    host.kill("nap")
    host.wait_for(lambda: host.status("nap")["state"] == "exited")
    assert host.status("nap")["status"] == -signal.SIGKILL
    host.start("nap")
    host.stop("nap")
    assert host.status("nap")["state"] == "stopped"


def test_service_that_ignores_sigterm_is_killed(host):
    host.service("deaf", ["sh", "-c", "trap '' TERM; touch /run/deaf; while :; do sleep 0.05; done"])
    host.wait_for(lambda: host.path("/run/deaf").exists())
    host.stop("deaf", grace=0.2)
    assert host.status("deaf")["status"] == -signal.SIGKILL


def test_readiness_order_and_stop_post(host):
    host.service("later", ["sleep", "60"], after=["ready"], wait=False)
    assert host.status("later")["state"] == "waiting"
    host.service("ready", [PYTHON, "-c", READY], is_notify=True, stop_post=["touch", "/run/swept"])
    host.wait_for(lambda: host.status("later")["state"] == "active")
    host.kill("ready")
    host.wait_for(lambda: host.path("/run/swept").exists(), what="ExecStopPost")
    host.wait_for(lambda: host.status("ready")["starts"] == 2)
    with pytest.raises(LabError, match="silent on host to be active"):
        host.service("silent", [PYTHON, "-c", SILENT], is_notify=True, timeout=0.3)


def test_one_shot_that_fails_shows_its_log(host):
    with pytest.raises(LabError, match="(?s)ended with 1.*no such luck"):
        host.service("once", ["sh", "-c", "echo no such luck; exit 1"], is_oneshot=True)
    with pytest.raises(LabError, match="ended with 203"):
        host.service("absent", ["/nonexistent"], restart=False)


def test_orphans_are_reaped(host):
    host.service("parent", ["sh", "-c", "sleep 0.05 & exec sleep 60"])
    host.sh("sh -c 'sleep 0.1 >/dev/null 2>&1 &'")

    def count_zombies():
        return host.sh("grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l").stdout.strip()
    host.wait_for(lambda: [p["name"] for p in host.processes()].count("sleep") == 1)
    # a parent that never waits keeps its own zombie; the init has to take only what has come down to it
    host.stop("parent")
    host.wait_for(lambda: count_zombies() == "0", what="no zombies")


def test_wire_carries_both_families(lab):
    first, second = lab.host("first"), lab.host("second")
    lab.wire(first, "eth0", second, "eth0")
    first.ip("addr add 10.9.0.1/24 dev eth0", "addr add fd00:9::1/64 dev eth0 nodad")
    second.ip("addr add 10.9.0.2/24 dev eth0", "addr add fd00:9::2/64 dev eth0 nodad")
    first.run(["ping", "-c1", "-W2", "10.9.0.2"])
    first.run(["ping", "-c1", "-W2", "fd00:9::2"])


def processes_in(namespace):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") == namespace:
                found.append(pid)
        except OSError:
            pass
    return found


def test_killing_the_init_takes_everything_with_it(lab):
    host = Host("doomed", lab=lab)
    host.service("nap", ["sleep", "60"])
    namespace = os.readlink(f"/proc/{host.init_pid}/ns/pid")
    assert len(processes_in(namespace)) == 2
    os.kill(host.init_pid, signal.SIGKILL)
    wait_until(lambda: not processes_in(namespace), 5, "the host's end")
    with pytest.raises((LabError, OSError)):
        host.status()


CHILD = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins by ignoring it
sys.path.insert(0, sys.argv[1])
from lab.host import Lab
with Lab() as lab:
    host = lab.host("x")
    host.service("nap", ["sleep", "60"])
    print(os.readlink(f"/proc/{host.init_pid}/ns/pid"), lab.name, lab.logs, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_nothing_outlives_the_lab(number):
    folder = pathlib.Path(__file__).resolve().parents[1]
    child = subprocess.Popen([sys.executable, "-c", CHILD, folder], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, start_new_session=True)
    namespace, name, logs = child.stdout.readline().split()
    assert len(processes_in(namespace)) == 2
    os.killpg(child.pid, number)
    child.wait(10)
    child.stdout.close()
    wait_until(lambda: not processes_in(namespace), 20, "the host's end")
    wait_until(lambda: not os.path.exists(logs), 20, "the end of its folder")
    if find_cgroup():
        wait_until(lambda: not (find_cgroup() / name).exists(), 20, "the end of its cgroup")


def test_two_labs_at_once():
    with Lab() as first, Lab() as second:
        for lab in (first, second):
            host, peer = lab.host("same-name"), lab.host("peer")
            lab.wire(host, "eth0", peer, "eth0")
            host.ip("addr add 10.9.0.1/24 dev eth0")
        assert first.name != second.name
