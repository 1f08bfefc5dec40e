"""How near a CPU burner comes to the 50 % that it was told, alone on its CPU and beside somebody who wants all of it."""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

from netns.fault_rig import Driver, Net, burners

SECONDS = 8
TICK = os.sysconf("SC_CLK_TCK")
FIRST = min(os.sched_getaffinity(0))


def cpu_time(pid):
    """Seconds of @pid and of its children that live."""
    def own(folder):
        fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own(pathlib.Path(f"/proc/{pid}")) + sum(cpu_time(int(child)) for child in children)


def share(pid):
    time.sleep(0.5)
    at, used = time.monotonic(), cpu_time(pid)
    time.sleep(SECONDS)
    return 100 * (cpu_time(pid) - used) / (time.monotonic() - at)


def ours(net, folder):
    driver = Driver(net, folder, "cpu.burn", {"load_percent": 50, "cpus": 1, "mode": "contend"}, duration_ms=60000)
    driver.arm()
    taken = share(burners(driver.order)[0])
    driver.end()
    return taken


def stress_ng():
    process = subprocess.Popen(["stress-ng", "-q", "--cpu", "1", "--cpu-load", "50", "--taskset", str(FIRST), "-t", "60s"])
    try:
        return share(process.pid)
    finally:
        process.terminate()
        process.wait()


def measure():
    net = Net()
    try:
        with tempfile.TemporaryDirectory(prefix="grivet-bench-") as folder:
            for beside in ("alone", "beside a busy rival"):
                rival = beside != "alone" and subprocess.Popen(
                    [sys.executable, "-c", "while True: pass"],
                    preexec_fn=lambda: os.sched_setaffinity(0, {FIRST}))
                try:
                    yield {"what": f"50 % wanted, {beside}", "unit": "%", "ours": ours(net, pathlib.Path(folder)),
                           "others": {"stress-ng": stress_ng()}}
                finally:
                    if rival:
                        rival.kill()
                        rival.wait()
    finally:
        net.close()
