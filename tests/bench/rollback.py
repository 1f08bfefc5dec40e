"""How late a fault is proved to be gone: read back from the kernel, counted from its deadline."""

import contextlib
import os
import subprocess

from bench.many import agent, percentile
from lab.host import die_with_parent

COUNT = 1000
LOAD_S = 300  # more than the faults take together
HOG = ["stress-ng", "--vm", "1", "--vm-bytes", "90%", "--vm-keep", "--quiet", "--timeout", "0"]


def free_percent():
    fields = dict(line.split(":") for line in open("/proc/meminfo"))
    return 100 * int(fields["MemAvailable"].split()[0]) / int(fields["MemTotal"].split()[0])


@contextlib.contextmanager
def pressed(crowd):
    """Burns all CPUs and takes most of the memory; an error if not until the end."""
    burn = crowd.send("cpu.burn", {"load_percent": 100, "mode": "contend"}, LOAD_S)
    crowd.wait(burn, "armed")
    hog = subprocess.Popen(HOG, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    try:
        yield
        crowd.look()
        if hog.poll() is not None or "reverted" in crowd.facts[burn]:
            raise RuntimeError("the load was over before the measurement")
        print(f"  (until the end: all CPUs burned, {free_percent():.0f} % of the memory free)")
    finally:
        hog.terminate()
        hog.wait()


def measure():
    for load, goal in (("idle", 5), ("all CPUs burned, little memory free", 20)):
        with agent() as crowd, contextlib.nullcontext() if load == "idle" else pressed(crowd):
            errors = [fact["error_ms"] for fact in crowd.many(COUNT, 4, 0.6)]
        yield {"what": f"rollback error p50 of {COUNT}, {load}", "unit": "ms", "ours": percentile(errors, 50)}
        yield {"what": f"rollback error p99 of {COUNT}, {load}", "unit": "ms", "ours": percentile(errors, 99), "goal": goal}
        yield {"what": f"rollback error, worst of {COUNT}, {load} ({os.cpu_count()} CPUs)", "unit": "ms",
               "ours": max(errors)}
