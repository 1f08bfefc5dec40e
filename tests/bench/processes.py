"""What the agent costs a host that has joined and on which nothing happens: memory (PSS) and CPU of each of its processes.

The coordinator is on the same machine: what its programs share with the agent's counts for both by halves.
"""

import os
import re
import time

from lab.host import Lab, wait_until
from lab.small import Small

SECONDS = 40  # more than a long poll takes
TICK = os.sysconf("SC_CLK_TCK")
NAMES = {"grivetd", "grivetd-syncer", "grivet-reserve", "grivet-sweep", "grivet-courier", "grivet-prober"}


def pss_mib(pid):
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return int(re.search(r"^Pss:\s+(\d+)", rollup.read(), re.M).group(1)) / 1024


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def measure():
    with Lab() as lab:
        fleet = Small(lab)
        host = fleet.add_agent("web-1", 1, 11)
        fleet.wait_ready()
        found = wait_until(lambda: NAMES <= {one["name"] for one in host.processes()} and host.processes(), 10, "the programs")
        processes = [process for process in found if process["name"] in NAMES]
        before = {process["pid"]: cpu_seconds(process["pid"]) for process in processes}
        time.sleep(SECONDS)
        total = 0.0
        for process in processes:
            memory = pss_mib(process["pid"])
            total += memory
            used = 100 * (cpu_seconds(process["pid"]) - before[process["pid"]]) / SECONDS
            yield {"what": f"{process['name']}: PSS (CPU {used:.2f} %)", "unit": "MiB", "ours": memory}
        yield {"what": "all of them: PSS", "unit": "MiB", "ours": total, "goal": 8}
