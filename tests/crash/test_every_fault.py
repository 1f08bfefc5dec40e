"""Every fault in the holder that it has in earnest, with its rights and its system calls: from the question to the end."""

import pathlib
import re
import signal

import pytest

from executor_rig import ExecutorRig
from lab.host import LAB, PYTHON, SOURCE, wait_until
from scenarios import assert_clean

NETWORKS = ["10.9.2.0/24", "fd00:9:2::/64"]
MANY = [f"11.{i // 256}.{i % 256}.0/25" for i in range(3000)]
CASES = {
    "zone.block": {"zone": "apse2-az2"},
    "network.block": {"cidrs": NETWORKS, "protocol": "udp"},
    "network.block, many": {"cidrs": [*NETWORKS, *MANY]},
    "network.block, one service": {"cidrs": NETWORKS, "cgroup": "one.service"},
    "network.block, of containers": {"cidrs": NETWORKS, "scope": "containers"},
    "network.shape": {"cidrs": NETWORKS, "rate_kbit": 64},
    "network.shape, of containers": {"cidrs": NETWORKS, "rate_kbit": 64, "scope": "containers"},
    "cpu.burn": {"load_percent": 20, "cpus": 1, "mode": "background"},
    "cpu.burn, with systemd": {"load_percent": 20, "cpus": 1, "mode": "contend"},
    "process.kill": {"exe": "*/sleep", "cmdline": "sleep 12345"},
    "process.kill, one of two": {"user": "root", "listens_on": 4444, "pick": "one"},
}
TWO = "import os, signal, socket; listener = socket.create_server(('', 4444)); os.fork(); signal.pause()"


def test_no_fault_is_forgotten():
    names = re.search(r"faults_names = \[(.*?)\]", pathlib.Path(SOURCE, "faults/meson.build").read_text(), re.S).group(1)
    assert {name.replace("-", ".") for name in re.findall(r"'(.*?)'", names)} == {name.partition(",")[0] for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_whole_life(lab, name):
    rig = ExecutorRig(lab)
    rig.use(name, CASES[name])
    rig.host.service("victim", ["/usr/bin/sleep", "12345"], restart=False)
    rig.host.service("two", [PYTHON, "-c", TWO], restart=False)
    rig.host.wait_listening(4444)
    if "systemd" in name:
        rig.host.service("pid1", [PYTHON, f"{LAB}/source/tests/crash/pid1_stand_in.py"])
        rig.host.wait_for(rig.host.path("/run/systemd/system").exists)
    if "cgroup" in CASES[name]:
        rig.host.sh("mkdir /sys/fs/cgroup/one.service")
    answer = rig.ask(1500)
    assert answer["is_accepted"] and answer["summary"], answer
    rig.send_order(1500)
    rig.courier.wait_event("fault.armed", order=rig.order)
    end = wait_until(lambda: next((event for event in rig.courier.events() if event.get("order") == rig.order and
                                   event["kind"] in ("fault.reverted", "fault.ended", "fault.failed")), None), 8, "its end")
    assert end["kind"] == ("fault.ended" if "process.kill" in name else "fault.reverted"), end
    if "containers" in name:
        assert end["body"]["effect"]["forwarded"] == end["body"]["effect"]["directions"]["out"] == "exercised"
    assert (rig.host.status("victim")["status"] == -signal.SIGKILL) == (name == "process.kill")
    assert_clean(rig)


def test_a_name_alone_is_no_burner(lab):
    """Any user can give a process a burner's name: that keeps no fault from its end, and no halt waiting."""
    rig = ExecutorRig(lab)
    rig.use("cpu.burn", CASES["cpu.burn"])
    rig.send_order(10000)
    rig.courier.wait_event("fault.exercised", order=rig.order)
    name = f"burn-{rig.order[-10:]}"
    rig.host.sh(f"mkdir /run/x; cp /bin/sleep /run/x/{name}")
    rig.host.service("borrowed", [f"/run/x/{name}", "60"], user="grivet-prober", restart=False)
    rig.host.wait_for(lambda: rig.host.pid("borrowed"))
    rig.host.sh("pkill -KILL -x grivet-holder")  # so that the executor has to look by itself
    assert rig.told()["ended_by"] in ("executor", "kernel")
    assert rig.host.status("borrowed")["state"] == "active"
