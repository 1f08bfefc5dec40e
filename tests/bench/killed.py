"""SIGKILL of the whole agent while a zone is blocked, to the next packet that comes through."""

import statistics

from executor_rig import ExecutorRig
from lab.host import Lab

COUNT = 15


def measure():
    taken = []
    for _ in range(COUNT):
        with Lab() as lab:
            rig = ExecutorRig(lab)
            rig.start(20000)
            at = rig.signal("executor", "holder", "sweep")
            taken.append(rig.wait_back(at, 5))
    yield {"what": f"traffic restored (a packet every 2 ms), median of {COUNT}", "unit": "ms",
           "ours": statistics.median(taken), "goal": 1}
    yield {"what": "worst", "unit": "ms", "ours": max(taken)}
