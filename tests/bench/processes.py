"""What the agent costs a host on which nothing happens: memory (PSS) and CPU of each of its processes."""

import os
import re
import time

from bench.many import agent
from lab import agent as installer
from lab.host import wait_until

SECONDS = 20
TICK = os.sysconf("SC_CLK_TCK")


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1)) / 1024


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure():
    with agent() as crowd:
        host = crowd.rig.host
        for name in ("grivet-sweep", "grivet-prober"):
            installer.unit_service(host, name)
        wait_until(lambda: {"grivet-sweep", "grivet-prober"} <= {p["name"] for p in host.processes()}, 10, "the programs")
        processes = [p for p in host.processes() if p["argv"] and "grivet" in p["argv"][0]]
        before = {p["pid"]: cpu_seconds(p["pid"]) for p in processes}
        time.sleep(SECONDS)
        total = 0.0
        for process in processes:
            memory = pss_mib(process["pid"])
            total += memory
            used = 100 * (cpu_seconds(process["pid"]) - before[process["pid"]]) / SECONDS
            yield {"what": f"{process['name']}: PSS (CPU {used:.2f} %)", "unit": "MiB", "ours": memory}
        yield {"what": "all of them, without a courier: PSS", "unit": "MiB", "ours": total, "goal": 8}
