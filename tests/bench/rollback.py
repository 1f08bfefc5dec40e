"""How late a fault is proved to be gone: read back from the kernel, counted from its deadline."""

import os

from bench.many import agent, percentile

COUNT = 1000


def measure():
    for load, goal in (("idle", 5), ("all CPUs burned, memory short", 20)):
        with agent() as crowd:
            hog = None
            if goal == 20:
                burn = crowd.send("cpu.burn", {"load_percent": 100, "mode": "contend"}, 240)
                crowd.wait(burn, "armed")
                hog = crowd.rig.host.sh(f"stress-ng --vm 1 --vm-bytes 70% --vm-keep -t 240s -q >/dev/null 2>&1 & echo $!")
            errors = [fact["error_ms"] for fact in crowd.many(COUNT, 4, 0.6)]
            del hog
        yield {"what": f"rollback error p50 of {COUNT}, {load}", "unit": "ms", "ours": percentile(errors, 50)}
        yield {"what": f"rollback error p99 of {COUNT}, {load}", "unit": "ms", "ours": percentile(errors, 99), "goal": goal}
        yield {"what": f"rollback error, worst of {COUNT}, {load} ({os.cpu_count()} CPUs)", "unit": "ms",
               "ours": max(errors)}
